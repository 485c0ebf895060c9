"""Patch stores in the workflow: built where asked for, rebuilt only when they must be."""

import pytest
import yaml

from tests.workflow.conftest import Workflow, entry_of, jobs_in
from tests.workflow.finished_project import TRAINING, make_source
from tests.workflow.test_simulated import SIMULATION

NAMES = ("one", "two")
UNTIL, TRAIN = ("--until", "patches"), ("results/models/m/seed0/best.ckpt",)


@pytest.fixture
def project(workflow: Workflow) -> Workflow:
    """Two simulated experiments, one of them with a patch store, and a model."""
    (workflow.folder / "training.yaml").write_text(yaml.safe_dump(TRAINING))
    workflow.config = {
        "experiments": [
            entry_of(name) | {"patches": name == "one", "simulation": SIMULATION | {"seed": i}}
            for i, name in enumerate(NAMES)
        ],
        "collections": {"all": {"train": list(NAMES), "validation_fov_fraction": 0.5}},
        "models": {"m": {"collection": "all", "training": "training.yaml", "threads": 1}},
    }
    return workflow


def change(project: Workflow, store: object = None, **overrides: object) -> None:
    """Change how patches are stored, or values of the training configuration."""
    config = project.config
    if store is not None:
        config["experiments"][0]["patches"] = store
    config["models"]["m"].setdefault("overrides", {}).update(
        {key.replace("__", "."): value for key, value in overrides.items()}
    )
    project.config = config


def planned(project: Workflow, *arguments: str) -> list[str]:
    """Jobs that would run."""
    return jobs_in(project.run("--dry-run", *arguments))


@pytest.mark.slow
def test_store_is_built_where_asked_for_and_rebuilt_when_it_must_be(project):
    made = ["index", "patches", "simulate", "statistics"]
    assert project.jobs(*UNTIL) == [f"{rule} experiment=one" for rule in made]
    assert project.json("results/experiments/one/patches.json")["side"] == [24, 24]
    assert project.jobs(*UNTIL) == []

    change(project, data__normalization={"center": "mean"}, model__learning_rate=0.002)
    assert project.jobs(*UNTIL) == [], "native pixels are not normalized"
    crop = {"class_path": "dynaclr.transforms.CentreCrop", "init_args": {"size": [24, 24]}}
    change(project, data__extraction_size=[30, 30], data__augmentations=[crop])
    assert project.jobs(*UNTIL) == ["patches experiment=one"]
    assert project.json("results/experiments/one/patches.json")["side"] == [30, 30]

    change(project, store={"dtype": "float16"})
    assert project.jobs(*UNTIL) == ["patches experiment=one"]
    change(project, data__normalization={"center": "median"})
    assert project.jobs(*UNTIL) == ["patches experiment=one"]


@pytest.mark.slow
def test_store_is_rebuilt_for_other_tracks_and_plate_but_not_for_what_it_does_not_hold(project):
    make_source(project.folder, "one", 0)
    config = project.config
    del config["experiments"][0]["simulation"]
    config["models"]["wide"] = config["models"]["m"] | {"overrides": {"data.batch_size": 16}}
    config["models"]["wide"]["overrides"]["data.patches.size"] = [30, 30]
    project.config = config
    assert "patches experiment=one" in project.jobs(*UNTIL)

    change(project, data__patches__projection="max", data__patches__bag_of_channels=True)
    assert planned(project, *UNTIL) == []
    config = project.config
    config["models"] = dict(reversed(config["models"].items()))
    project.config = config
    assert planned(project, *UNTIL) == []

    table = project.folder / "data/one/tracks/A/1/0/tracks.csv"
    text = table.read_text()
    table.write_text("\n".join(text.splitlines()[:-1]) + "\n")
    assert planned(project, *UNTIL) == ["index experiment=one", "patches experiment=one"]
    table.write_text(text)
    assert planned(project, *UNTIL) == []
    metadata = project.folder / "data/one/plate.zarr/A/1/0/.zattrs"
    metadata.write_text(metadata.read_text() + "\n")
    assert planned(project, *UNTIL) == []
    metadata.write_text(metadata.read_text().replace("0.6", "0.7"))
    made = [f"{rule} experiment=one" for rule in ("index", "patches", "statistics")]
    assert planned(project, *UNTIL) == made


def test_training_reads_from_the_store(project):
    jobs = project.jobs(*TRAIN)
    assert {"patches experiment=one", "plate_alone experiment=two"} <= set(jobs)
    assert jobs[-1] == "train model=m seed=0"
    assert project.jobs(*TRAIN) == []


@pytest.mark.slow
def test_training_is_not_repeated_for_a_store_of_native_pixels(project):
    project.jobs(*TRAIN)
    change(project, store=False)
    assert project.jobs_of_all_phases(*TRAIN) == ["plate_alone experiment=one"]
    assert not (project.folder / "results/experiments/one/patches.zarr").exists()
    change(project, store=True)
    assert project.jobs_of_all_phases(*TRAIN) == ["patches experiment=one"]
    assert project.jobs(*TRAIN) == []
    # Other pixels, or other patches, are trained on anew.
    both = ["patches experiment=one", "train model=m seed=0"]
    change(project, data__patches__size=[28, 28])
    assert planned(project, *TRAIN) == both
    change(project, data__patches__size=[24, 24], store={"dtype": "uint8"})
    assert planned(project, *TRAIN) == both


def test_models_that_one_store_cannot_serve_are_reported_before_any_job(project):
    config = project.config
    other = {"overrides": {"data.normalization": {"center": "mean"}}}
    config["models"]["other"] = config["models"]["m"] | other
    project.config = config
    change(project, store={"dtype": "uint8"})
    said = project.run("--dry-run", fails=True)
    assert "experiment one: the models that use it normalize differently" in said
