"""A project whose experiments are simulated: what reruns when the simulation changes."""

import shutil
from collections import Counter
from pathlib import Path

import pytest
import yaml

from tests.workflow.conftest import Workflow, entry_of, jobs_in
from tests.workflow.finished_project import TRAINING

NAMES = ("one", "two", "three")
# Every infected cell responds, and quickly: the truth depends on where the line is drawn.
SIMULATION = {
    **{"frames": 6, "height": 64, "width": 64, "cells": 5},
    **{"infected_fraction": 1.0, "responder_fraction": 1.0, "onset_hours": 4.0, "rise_hours": 1.5},
}


def write(project: Workflow) -> None:
    """Write the project; nothing of it is run."""
    (project.folder / "training.yaml").write_text(yaml.safe_dump(TRAINING))
    project.config = {
        "experiments": [
            entry_of(name) | {"simulation": SIMULATION | {"seed": i}}
            for i, name in enumerate(NAMES)
        ],
        "collections": {"all": {"train": ["one", "two"], "validation": ["three"]}},
        "models": {"m": {"collection": "all", "training": "training.yaml", "threads": 1}},
        "evaluation": {
            "tasks": [{"name": "r", "label": "responding", "source": "truth"}],
            "bootstrap": 10,
            "shuffles": 0,
        },
    }


@pytest.fixture(scope="module")
def indexed(tmp_path_factory) -> Path:
    """The project, run up to its merged index and its statistics."""
    project = Workflow(tmp_path_factory.mktemp("simulated"))
    write(project)
    made = [f"{rule} experiment={n}" for n in NAMES for rule in ("index", "simulate", "statistics")]
    assert project.jobs(*UP_TO) == sorted([*made, "merge collection=all"])
    assert project.jobs(*UP_TO) == []
    return project.folder


UP_TO = ("--until", "merge", "statistics")


@pytest.fixture
def project(indexed, tmp_path) -> Workflow:
    """A copy of the project."""
    shutil.copytree(indexed, tmp_path / "project", symlinks=True)
    return Workflow(tmp_path / "project")


def change(project: Workflow, **values: object) -> None:
    """Change simulation parameters of the first experiment."""
    config = project.config
    config["experiments"][0]["simulation"].update(values)
    project.config = config


@pytest.mark.slow
def test_missing_plate_is_simulated_again_once(project):
    shutil.rmtree(project.folder / "data/one/plate.zarr")
    assert "simulate experiment=one" in project.jobs(*UP_TO)
    assert project.jobs(*UP_TO) == []


def test_models_of_the_same_patches_share_their_baselines(workflow):
    write(workflow)
    config, size = workflow.config, {"data.patches.size": [20, 20]}
    model = config["models"]["m"]
    config["models"] |= {
        "other": model | {"overrides": {"model.learning_rate": 0.01}},
        "small": model | {"overrides": size},
    }
    workflow.config = config
    planned = Counter(job.split()[0] for job in jobs_in(workflow.run("--dry-run")))
    assert planned["evaluate"] == 3
    assert planned["embed"] == 3 * len(NAMES)
    assert planned["fit_pixels"] == 2
    assert planned["embed_baselines"] == 2 * len(NAMES)


@pytest.mark.slow
def test_interrupted_change_is_not_forgotten(project):
    change(project, gain=3.0)
    assert project.jobs("--until", "simulate") == ["simulate experiment=one"]
    assert {"index experiment=one", "statistics experiment=one"} <= set(project.jobs(*UP_TO))


@pytest.mark.slow
def test_changed_truth_alone_reaches_the_evaluation(project):
    project.run()
    truth = (project.folder / "data/one/truth.csv").read_text()
    change(project, responding_above=0.9)
    project.run(*UP_TO)
    assert (project.folder / "data/one/truth.csv").read_text() != truth
    judged = [f"{rule} model=m" for rule in ("draw_evaluation", "evaluate", "fit_evaluation")]
    of_one = ["draw_simulation experiment=one", "score model=m experiment=three"]
    expected = ["all", *judged, *of_one, "map_cells model=m", "report"]
    assert jobs_in(project.run("--dry-run")) == sorted(expected)
