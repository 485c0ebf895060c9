"""Patch stores in the workflow: built where asked for, rebuilt only when they must be."""

import pytest
import yaml

from tests.workflow.conftest import Workflow, entry_of
from tests.workflow.test_reruns import TRAINING
from tests.workflow.test_simulated import SIMULATION

NAMES = ("one", "two")
UNTIL = ("--until", "patches")


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


def test_training_reads_from_the_store(project):
    jobs = project.jobs("--until", "train")
    assert "patches experiment=one" in jobs
    assert "patches experiment=two" not in jobs
    assert jobs[-1] == "train model=m seed=0"
    assert project.jobs("--until", "train") == []
