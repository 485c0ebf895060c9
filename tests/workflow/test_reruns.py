"""What reruns after which change: the jobs that ran are compared exactly."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml

from dynaclr.config import ExperimentConfig
from dynaclr.io.artifacts import digest_path
from dynaclr.simulation import simulate
from tests.workflow.conftest import Workflow, entry_of, jobs_in

pytestmark = pytest.mark.slow

NAMES = ("one", "two", "three", "four", "alone")

TRAINING = {
    "model": {
        "encoder": {
            "class_path": "dynaclr.models.SmallEncoder",
            "init_args": {"in_channels": 1, "width": 8},
        },
        "learning_rate": 0.001,
    },
    "data": {
        "patches": {"markers": ["phase"], "size": [24, 24]},
        "tau_range": [0.5, 1.0],
        "batch_size": 32,
    },
    "trainer": {"max_epochs": 1},
}
# An encoder of the user's own, in a module beside the project file.
OWN = {
    "inherits": "training.yaml",
    "model": {"encoder": {"class_path": "my_encoder.Mine", "init_args": {"in_channels": 1}}},
}
MY_ENCODER = """from dynaclr.models import SmallEncoder


class Mine(SmallEncoder):
    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, width=8)
"""


def make_source(folder: Path, name: str, seed: int) -> None:
    """Make plate, tracks and truth by simulation; the project knows nothing of that."""
    entry = entry_of(name) | {
        "simulation": {"seed": seed, "frames": 8, "height": 96, "width": 96, "cells": 8}
    }
    simulate(ExperimentConfig.model_validate(entry, context={"base": folder}))


@pytest.fixture(scope="session")
def finished(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A project of 4 experiments, 2 models and 1 evaluation-only experiment, run to its end."""
    return made_once("finished", finish)


def finish(folder: Path) -> None:
    """Make the project and run it; everything runs once."""
    (folder / "experiments").mkdir()
    for seed, name in enumerate(NAMES):
        make_source(folder, name, seed)
        entry = {
            key: f"../{value}" if key in ("data_path", "tracks_path", "truth") else value
            for key, value in entry_of(name).items()
        }
        (folder / "experiments" / f"{name}.yaml").write_text(yaml.safe_dump(entry))
    (folder / "training.yaml").write_text(yaml.safe_dump(TRAINING))
    (folder / "own.yaml").write_text(yaml.safe_dump(OWN))
    (folder / "my_encoder.py").write_text(MY_ENCODER)
    project = Workflow(folder)
    project.config = {
        "experiments": ["experiments/*.yaml"],
        "collections": {
            "first": {"train": ["one", "two"], "validation": ["three"]},
            "second": {"train": ["three", "four"], "validation": ["two"]},
        },
        "models": {
            "a": {"collection": "first", "training": "training.yaml", "threads": 1},
            "b": {"collection": "second", "training": "own.yaml", "threads": 1},
        },
        "evaluation": {
            "experiments": ["alone"],
            "tasks": [{"name": "response", "label": "responding", "source": "truth"}],
            "bootstrap": 20,
        },
    }
    ran = project.jobs()
    assert ran == sorted(
        [
            *(f"{rule} experiment={n}" for n in NAMES for rule in OF_EXPERIMENT),
            *(f"{rule} collection={c}" for c in ("first", "second") for rule in OF_COLLECTION),
            *of_model("a", OF_A),
            *of_model("b", OF_B),
            *(f"inspect_batches model={name}" for name in ("a", "b")),
            *baselines_of(FIRST, OF_A),
            *baselines_of(SECOND, OF_B),
            "report",
            "all",
        ]
    )


def of_model(model: str, experiments: tuple[str, ...], trains: bool = True) -> list[str]:
    """Jobs of a model from training to evaluation."""
    embedded = [f"embed model={model} experiment={name}" for name in experiments]
    trained = [f"{rule} model={model} seed=0" for rule in OF_TRAINING] if trains else []
    scored = [name for name in experiments if name in HELD_OUT]
    # The fits read every experiment that is not held out.
    evaluated = evaluated_of(model, scored, fits=len(scored) < len(experiments))
    return [*trained, *embedded, *evaluated]


def evaluated_of(model: str, scored: Iterable[str] = ("alone",), fits: bool = True) -> list[str]:
    """Jobs of a model's evaluation: fits, the scores of held-out experiments, joins, figures."""
    fitted = [f"fit_evaluation model={model}"] if fits else []
    joined = [f"{rule} model={model}" for rule in OF_EVALUATION]
    return [*fitted, *(f"score model={model} experiment={name}" for name in scored), *joined]


def baselines_of(collection: str, experiments: tuple[str, ...], fits: bool = True) -> list[str]:
    """Jobs of the baselines that no training touches."""
    embedded = [f"embed_baselines {collection} experiment={name}" for name in experiments]
    return [*([f"fit_pixels {collection}"] if fits else []), *embedded]


OF_EXPERIMENT = ("index", "statistics", "plate_alone", "thumbnails", "draw_experiment")
OF_TRACKS = ("index", "thumbnails", "draw_experiment")
OF_PIXELS = ("index", "statistics", "thumbnails", "draw_experiment")
OF_COLLECTION = ("merge", "draw_collection")
OF_TRAINING = ("train", "draw_training")
OF_EVALUATION = ("evaluate", "map_cells", "draw_evaluation")
HELD_OUT = ("alone", "new")
FIRST, SECOND = "collection=first", "collection=second"
OF_A = ("one", "two", "three", "alone")
OF_B = ("two", "three", "four", "alone")
REPORTED = ["report", "all"]


@pytest.fixture
def project(finished, tmp_path) -> Workflow:
    """A copy of the finished project, time stamps and Snakemake's records included."""
    shutil.copytree(finished, tmp_path / "project", symlinks=True)
    return Workflow(tmp_path / "project")


def digests(project: Workflow) -> dict[str, str]:
    """Digest of every product; TensorBoard names its files by time and process."""
    files = sorted((project.folder / "results").rglob("*"))
    return {
        str(file.relative_to(project.folder)): digest_path(file)
        for file in files
        if file.is_file()
        and file.name != ".snakemake_timestamp"
        and file.parent.name != "tensorboard"
    }


def test_second_run_has_nothing_to_do(project):
    assert "Nothing to be done" in project.run()


def test_touched_inputs_rerun_nothing(project):
    for folder in ("data", "experiments"):
        for file in (project.folder / folder).rglob("*"):
            if file.is_file():
                file.touch()
    for name in ("config.yaml", "training.yaml"):
        (project.folder / name).touch()
    assert "Nothing to be done" in project.run()


def test_edited_tracks_rerun_their_experiment_and_its_models(project):
    table = project.folder / "data/one/tracks/A/1/0/tracks.csv"
    text = table.read_text().splitlines()
    table.write_text("\n".join(text[:-1]) + "\n")
    assert project.jobs() == sorted(
        [
            *(f"{rule} experiment=one" for rule in OF_TRACKS),
            *(f"{rule} collection=first" for rule in OF_COLLECTION),
            "inspect_batches model=a",
            *of_model("a", OF_A),
            *baselines_of(FIRST, OF_A),
            *REPORTED,
        ]
    )
    assert "Nothing to be done" in project.run()


def test_edited_entry_reruns_its_experiment_and_its_models(project):
    entry = project.folder / "experiments/one.yaml"
    entry.write_text(entry.read_text().replace("start_hpi: 4", "start_hpi: 5"))
    assert planned(project) == sorted(
        [
            *(f"{rule} experiment=one" for rule in OF_TRACKS),
            *(f"{rule} collection=first" for rule in OF_COLLECTION),
            "inspect_batches model=a",
            *of_model("a", OF_A),
            *baselines_of(FIRST, OF_A),
            *REPORTED,
        ]
    )


def test_changed_plate_metadata_rerun_its_experiment_and_its_models(project):
    metadata = project.folder / "data/four/plate.zarr/A/1/0/.zattrs"
    content = json.loads(metadata.read_text())
    scale = content["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    scale[-2:] = [0.7, 0.7]
    metadata.write_text(json.dumps(content))
    assert planned(project) == sorted(
        [
            *(f"{rule} experiment=four" for rule in OF_PIXELS),
            *(f"{rule} collection=second" for rule in OF_COLLECTION),
            "inspect_batches model=b",
            *of_model("b", OF_B),
            *baselines_of(SECOND, OF_B),
            *REPORTED,
        ]
    )


def planned(project: Workflow) -> list[str]:
    """Jobs that would run."""
    return jobs_in(project.run("--dry-run"))


def test_new_evaluation_experiment_trains_nothing(project):
    make_source(project.folder, "new", 9)
    entry = yaml.safe_load((project.folder / "experiments/alone.yaml").read_text())
    text = yaml.safe_dump(entry).replace("alone", "new")
    (project.folder / "experiments/new.yaml").write_text(text)
    config = project.config
    config["evaluation"]["experiments"].append("new")
    project.config = config
    assert project.jobs() == sorted(
        [
            *(f"{rule} experiment=new" for rule in OF_EXPERIMENT),
            *of_model("a", ("new",), trains=False),
            *of_model("b", ("new",), trains=False),
            *baselines_of(FIRST, ("new",), fits=False),
            *baselines_of(SECOND, ("new",), fits=False),
            *REPORTED,
        ]
    )


def test_changed_learning_rate_retrains_that_model_alone(project):
    config = project.config
    config["models"]["b"]["overrides"] = {"model.learning_rate": 0.002}
    project.config = config
    assert planned(project) == sorted([*of_model("b", OF_B), *REPORTED])


def starting_from_each_other(project: Workflow) -> None:
    """Let b distil a into an encoder from elsewhere, and a new model c classify with b's."""
    elsewhere = project.folder / "elsewhere.ckpt"
    shutil.copy(project.folder / "results/models/b/seed0/best.ckpt", elsewhere)
    encoder = TRAINING["model"]["encoder"]
    distilled = {
        "class_path": "dynaclr.training.MultiModalContrastiveModule",
        "init_args": {
            "encoder": encoder,
            "teacher": encoder,
            "channels": ["phase"],
            "teacher_channels": ["phase"],
            "teacher_mode": "frozen",
            "encoder_checkpoint": "elsewhere.ckpt",
            "teacher_checkpoint": "results/models/a/seed0/best.ckpt",
        },
    }
    classifier = {
        "class_path": "dynaclr.training.ClassificationModule",
        "init_args": {
            "encoder": encoder,
            "label": "condition",
            "num_classes": 2,
            "encoder_checkpoint": "results/models/b/seed0/best.ckpt",
        },
    }
    for name, model in (("distilled", distilled), ("classifier", classifier)):
        content = {"inherits": "training.yaml", "model": model, "data": {"carry": ["condition"]}}
        (project.folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    config = project.config
    config["models"]["b"]["training"] = "distilled.yaml"
    config["models"]["c"] = config["models"]["b"] | {"training": "classifier.yaml"}
    project.config = config


def test_models_follow_those_that_they_start_from(project):
    starting_from_each_other(project)
    assert trained_in_order(project.run(*TRAINED)) == ["b", "c"]
    recorded = project.json("results/models/b/seed0/provenance.json")["checkpoints"]
    assert recorded == {
        "encoder_checkpoint": digest_path(project.folder / "elsewhere.ckpt"),
        "teacher_checkpoint": digest_path(project.folder / "results/models/a/seed0/best.ckpt"),
    }
    (project.folder / "elsewhere.ckpt").touch()
    assert jobs_in(project.run(*TRAINED)) == []

    config = project.config
    config["models"]["a"]["overrides"] = {"model.learning_rate": 0.002}
    project.config = config
    assert jobs_in(project.run("--dry-run")) == sorted(
        [
            *(job for name in "abc" for job in of_model(name, OF_A if name == "a" else OF_B)),
            # Data with other columns to b; c is new, but has the baselines of b.
            *(f"inspect_batches model={name}" for name in "bc"),
            *REPORTED,
        ]
    )
    assert trained_in_order(project.run(*TRAINED)) == ["a", "b", "c"]

    retrained = project.folder / "results/models/a/seed0/best.ckpt"
    shutil.copy(retrained, project.folder / "elsewhere.ckpt")
    assert trained_in_order(project.run(*TRAINED, "--dry-run")) == ["b", "c"]


# (With `--until train`, Snakemake 9 does not start a training that waits for another.)
TRAINED = ("results/models/c/seed0/best.ckpt",)


def trained_in_order(said: str) -> list[str]:
    """Models that were trained, in the order in which they started; nothing else may have run."""
    trained = re.findall(
        r"^(?:local)?rule train:\n(?:    .*\n)*?    wildcards: model=(\w+)", said, re.MULTILINE
    )
    assert jobs_in(said) == sorted(f"train model={name} seed=0" for name in trained)
    return trained


def test_rebuilt_identical_index_stops_the_wave(project):
    before = digests(project)
    table = project.folder / "data/one/tracks/A/1/0/tracks.csv"
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([head, *reversed(rows)]) + "\n")
    assert project.jobs_of_all_phases() == ["index experiment=one", "merge collection=first"]
    assert digests(project) == before


def test_killed_run_leaves_nothing_that_is_taken_for_a_result(project):
    reference = digests(project)
    retrained = project.config
    retrained["models"]["a"]["overrides"] = {"model.weight_decay": 0.02, "trainer.max_epochs": 3}
    project.config = retrained
    running = subprocess.Popen(
        project.command(),
        cwd=project.folder,
        env=project.environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    kill_when_training(running, project.folder / "results/models/a/seed0")
    assert not (project.folder / "results/models/a/seed0/best.ckpt").exists()
    said = project.run("--unlock") + project.run("--rerun-incomplete")
    assert jobs_in(said) == sorted([*of_model("a", OF_A), *REPORTED])
    assert "resuming from" in (project.folder / "logs/train/a.seed0.log").read_text()
    assert (project.folder / "results/models/a/seed0/metrics.csv").read_text().count("\n") == 4
    after = digests(project)
    assert after.keys() == reference.keys(), "nothing is missing, nothing half made is left"
    untouched = [path for path in reference if "/a/" not in path and "report.html" not in path]
    assert [path for path in untouched if after[path] != reference[path]] == []
    assert "Nothing to be done" in project.run()


def kill_when_training(running: subprocess.Popen, folder: Path) -> None:
    """Kill Snakemake and all of its jobs when a training has finished its first epoch."""
    deadline = time.monotonic() + 180
    while not list(folder.glob(".work/*/last.ckpt")) and time.monotonic() < deadline:
        time.sleep(0.02)
        assert running.poll() is None, "the run ended before it could be killed"
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def test_a_seed_more_is_embedded_with_those_there_are(project):
    before = digests(project)
    config = project.config
    config["models"]["a"]["seeds"] = [0, 1]
    project.config = config
    # Each set of seeds is that of one model: the rule of the first keeps its name.
    embedded = [f"embed_seeds_0_1 model=a experiment={name}" for name in OF_A]
    trained = [f"{rule} model=a seed=1" for rule in OF_TRAINING]
    assert planned(project) == sorted([*trained, *embedded, *evaluated_of("a"), *REPORTED])
    assert project.jobs("--until", "embed_seeds_0_1") == sorted([trained[0], *embedded])
    after = digests(project)
    assert {f"results/embeddings/a/seed1/{name}.zarr.digest" for name in OF_A} <= after.keys()
    kept = [path for path in before if path.startswith("results/embeddings/a/seed0")]
    assert kept
    assert [path for path in kept if after[path] != before[path]] == []


def test_plans_may_be_longer_than_a_command_line(project):
    config = project.config
    # Linux takes 131,072 bytes in one argument, and a rule's command is one.
    config["evaluation"]["tasks"][0]["where"] = "hours >= 0" + 140_000 * " "
    project.config = config
    fitted = [f"fit_evaluation model={name}" for name in ("a", "b")]
    assert project.jobs("--until", "fit_evaluation") == fitted


def test_edited_checkpoint_is_noticed(project):
    checkpoint = project.folder / "results/models/a/seed0/best.ckpt"
    time.sleep(1)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1] + b"x")
    said = project.run("--dry-run")
    assert [job for job in jobs_in(said) if job.startswith("embed ")] == sorted(
        f"embed model=a experiment={name}" for name in OF_A
    )
    failed = project.run("--keep-going", fails=True)
    assert "embed" in failed
    assert "was changed after it was made" in project.logs()
