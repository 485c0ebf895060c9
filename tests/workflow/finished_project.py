"""A small project run to its end once, of which every test of reruns changes a copy."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import yaml

from dynaclr.config import ExperimentConfig
from dynaclr.simulation import simulate
from tests.workflow.conftest import Workflow, entry_of

NAMES = ("one", "two", "three", "alone")

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
# An encoder of the user's own, in a module beside the project file, and a person's labels
# wherever a training may name a column.
OWN = {
    "inherits": "training.yaml",
    "model": {
        "encoder": {"class_path": "my_encoder.Mine", "init_args": {"in_channels": 1}},
        "auxiliary_heads": {"cell_state": {"num_classes": 3}},
    },
    "data": {
        "positives": ["condition", "cell_state"],
        "carry": ["cell_state"],
        "query": "cell_state != 'nothing'",
        "sampling": {"batch_group_by": None, "stratify_by": ["condition", "cell_state"]},
    },
    "trainer": {
        "callbacks": [
            {
                "class_path": "dynaclr.training.EmbeddingFigure",
                "init_args": {"columns": ["cell_state"], "every_n_epochs": 1},
            }
        ]
    },
}
MY_ENCODER = """from dynaclr.models import SmallEncoder


class Mine(SmallEncoder):
    def __init__(self, in_channels: int) -> None:
        super().__init__(in_channels, width=8)
"""


def make_source(folder: Path, name: str, seed: int) -> None:
    """Make plate, tracks, truth and annotations; the project knows nothing of the simulation."""
    size = {"seed": seed, "frames": 8, "height": 96, "width": 96, "cells": 8}
    entry = annotated(name) | {"simulation": size | {"annotated_fraction": 1}}
    simulate(ExperimentConfig.model_validate(entry, context={"base": folder}))


def annotated(name: str) -> dict:
    """Entry of a small experiment with annotations."""
    return entry_of(name) | {"annotations": f"data/{name}/annotations.csv"}


@pytest.fixture(scope="session")
def finished(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A project of 3 experiments, 2 models and 1 evaluation-only experiment, run to its end."""
    return made_once("finished", finish)


def finish(folder: Path) -> None:
    """Make the project and run it; everything runs once."""
    (folder / "experiments").mkdir()
    for seed, name in enumerate(NAMES):
        make_source(folder, name, seed)
        entry = {
            key: f"../{value}" if str(value).startswith("data/") else value
            for key, value in annotated(name).items()
        }
        (folder / "experiments" / f"{name}.yaml").write_text(yaml.safe_dump(entry))
    (folder / "training.yaml").write_text(yaml.safe_dump(TRAINING))
    (folder / "own.yaml").write_text(yaml.safe_dump(OWN))
    (folder / "my_encoder.py").write_text(MY_ENCODER)
    project = Workflow(folder)
    project.config = {
        "experiments": ["experiments/*.yaml"],
        "collections": {
            "first": {"train": ["one"], "validation": ["two"]},
            "second": {"train": ["two"], "validation": ["three"]},
        },
        "models": {
            "a": {"collection": "first", "training": "training.yaml", "threads": 1},
            "b": {"collection": "second", "training": "own.yaml", "threads": 1},
        },
        "evaluation": {
            "experiments": ["alone"],
            "tasks": [
                {"name": "response", "label": "responding", "source": "truth"},
                {"name": "state", "label": "cell_state", "groups": "well"},
            ],
            "bootstrap": 10,
            "shuffles": 0,
        },
    }
    ran = project.jobs()
    assert ran == sorted(
        [
            *(f"{rule} experiment={n}" for n in NAMES for rule in OF_EXPERIMENT),
            *(f"{rule} collection={c}" for c in ("first", "second") for rule in OF_COLLECTION),
            *of_model("a", OF_A),
            *of_model("b", OF_B),
            *(f"labels experiment={name} column=cell_state" for name in LABELLED),
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
OF_A = ("one", "two", "alone")
OF_B = ("two", "three", "alone")
LABELLED = ("two", "three")
REPORTED = ["report", "all"]


@pytest.fixture
def project(finished, tmp_path) -> Workflow:
    """A copy of the finished project, time stamps and Snakemake's records included."""
    shutil.copytree(finished, tmp_path / "project", symlinks=True)
    return Workflow(tmp_path / "project")
