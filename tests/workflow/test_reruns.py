"""What reruns after which change: the jobs that ran are compared exactly."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

from dynaclr.io.artifacts import digest_path
from tests.workflow.conftest import Workflow, jobs_in
from tests.workflow.finished_project import (
    FIRST,
    OF_A,
    OF_B,
    OF_COLLECTION,
    OF_EXPERIMENT,
    OF_PIXELS,
    OF_TRACKS,
    OF_TRAINING,
    REPORTED,
    SECOND,
    TRAINING,
    baselines_of,
    evaluated_of,
    finished,  # noqa: F401
    make_source,
    of_model,
    project,  # noqa: F401
)

# ruff: noqa: F811
pytestmark = pytest.mark.slow


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
    metadata = project.folder / "data/three/plate.zarr/A/1/0/.zattrs"
    content = json.loads(metadata.read_text())
    scale = content["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"]
    scale[-2:] = [0.7, 0.7]
    metadata.write_text(json.dumps(content))
    assert planned(project) == sorted(
        [
            *(f"{rule} experiment=three" for rule in OF_PIXELS),
            *(f"{rule} collection=second" for rule in OF_COLLECTION),
            "labels experiment=three column=cell_state",
            "inspect_batches model=b",
            *of_model("b", OF_B),
            # It validates: the baselines are not fitted on it.
            *baselines_of(SECOND, ("three",), fits=False),
            *REPORTED,
        ]
    )


def planned(project: Workflow) -> list[str]:
    """Jobs that would run."""
    return jobs_in(project.run("--dry-run"))


def hold_out_new(project: Workflow) -> None:
    """Add a further held-out experiment."""
    make_source(project.folder, "new", 9)
    entry = yaml.safe_load((project.folder / "experiments/alone.yaml").read_text())
    text = yaml.safe_dump(entry).replace("alone", "new")
    (project.folder / "experiments/new.yaml").write_text(text)
    config = project.config
    config["evaluation"]["experiments"].append("new")
    project.config = config


def test_new_evaluation_experiment_trains_nothing(project):
    hold_out_new(project)
    assert planned(project) == sorted(
        [
            *(f"{rule} experiment=new" for rule in OF_EXPERIMENT),
            *of_model("a", ("new",), trains=False),
            *of_model("b", ("new",), trains=False),
            *baselines_of(FIRST, ("new",), fits=False),
            *baselines_of(SECOND, ("new",), fits=False),
            *REPORTED,
        ]
    )
    project.run("results/evaluation/a/metrics.csv")
    metrics = pd.read_csv(project.folder / "results/evaluation/a/metrics.csv")
    assert {"alone", "new"} <= set(metrics["experiment"])


TASKS = ("response", "state")


def test_ceilings_are_trained_once_and_not_for_another_held_out_experiment(project):
    config = project.config
    config["evaluation"]["ceiling"] = True
    project.config = config
    models = {"a": OF_A, "b": OF_B}
    assert project.jobs() == sorted(
        [
            *(f"fit_ceiling model={name} task={task}" for name in models for task in TASKS),
            *(f"embed_ceilings model={n} experiment={e}" for n, of in models.items() for e in of),
            *(job for name in models for job in evaluated_of(name)),
            *REPORTED,
        ]
    )
    headline = project.json("results/evaluation/a/headline.json")
    assert headline["ceiling"]["mean"] is not None
    assert "supervised ceiling" in headline["text"]
    hold_out_new(project)
    assert planned(project) == sorted(
        [
            *(f"{rule} experiment=new" for rule in OF_EXPERIMENT),
            *(job for name in models for job in of_model(name, ("new",), trains=False)),
            *(f"embed_ceilings model={name} experiment=new" for name in models),
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
    assert planned(project) == sorted(
        [
            *(job for name in "abc" for job in of_model(name, OF_A if name == "a" else OF_B)),
            # Data with other columns to b; c is new, but has the baselines of b.
            *(f"inspect_batches model={name}" for name in "bc"),
            *REPORTED,
        ]
    )
    assert trained_in_order(project.run(*TRAINED, "--dry-run")) == ["a", "b", "c"]
    del config["models"]["a"]["overrides"]
    project.config = config
    assert jobs_in(project.run(*TRAINED, "--dry-run")) == []

    other = project.folder / "results/models/a/seed0/best.ckpt"
    shutil.copy(other, project.folder / "elsewhere.ckpt")
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
    project.run("--unlock")
    said = project.run("--dry-run", "--rerun-incomplete")
    assert jobs_in(said) == sorted([*of_model("a", OF_A), *REPORTED])
    trained = "results/models/a/seed0/best.ckpt"
    assert project.jobs("--rerun-incomplete", trained) == ["train model=a seed=0"]
    assert "resuming from" in (project.folder / "logs/train/a.seed0.log").read_text()
    assert (project.folder / "results/models/a/seed0/metrics.csv").read_text().count("\n") == 4
    # What a resume needs is removed with the report; until then it is of this training alone.
    after = digests(project)
    work = {path: after.pop(path) for path in [*after] if "/.work/" in path}
    (run,) = {Path(path).parent for path in work}
    assert run.parent == Path("results/models/a/seed0/.work")
    names = {Path(path).name.removesuffix(".digest") for path in work}
    assert names == {"best.ckpt", "last.ckpt"}
    assert after.keys() == reference.keys(), "nothing is missing, nothing half made is left"
    untouched = [path for path in reference if "/a/" not in path and "report.html" not in path]
    assert [path for path in untouched if after[path] != reference[path]] == []
    assert "Nothing to be done" in project.run(trained)


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
    # Each set of seeds is that of one model: the rule of the largest is called `embed`.
    embedded = [f"embed model=a experiment={name}" for name in OF_A]
    trained = [f"{rule} model=a seed=1" for rule in OF_TRAINING]
    assert planned(project) == sorted([*trained, *embedded, *evaluated_of("a"), *REPORTED])
    assert project.jobs("--until", "embed") == sorted([trained[0], *embedded])
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
    assert project.jobs("results/evaluation/a/reference") == ["fit_evaluation model=a"]


def test_edited_checkpoint_is_noticed(project):
    checkpoint = project.folder / "results/models/a/seed0/best.ckpt"
    time.sleep(1)
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1] + b"x")
    said = project.run("--dry-run")
    assert [job for job in jobs_in(said) if job.startswith("embed ")] == sorted(
        f"embed model=a experiment={name}" for name in OF_A
    )
    failed = project.run(f"results/embeddings/a/seed0/{OF_A[0]}.zarr", fails=True)
    assert "embed" in failed
    assert "was changed after it was made" in project.logs()
