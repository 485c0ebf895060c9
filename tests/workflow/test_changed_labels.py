"""Labels of a person: models learn from them, and a changed label reruns what uses it alone."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dynaclr.config import ExperimentConfig
from dynaclr.simulation import simulate
from tests.workflow.conftest import Workflow, entry_of, jobs_in

pytestmark = pytest.mark.slow

NAMES = ("one", "two", "held_out")
ENCODER = {
    "class_path": "dynaclr.models.SmallEncoder",
    "init_args": {"in_channels": 1, "width": 8},
}
PLAIN = {
    "model": {"encoder": ENCODER},
    "data": {"patches": {"markers": ["phase"], "size": [24, 24]}, "batch_size": 16},
    "trainer": {"max_epochs": 1},
}
# Everything that may name a column of annotations names one.
LABELLED = {
    "inherits": "plain.yaml",
    "model": {"auxiliary_heads": {"cell_state": {"num_classes": 3}}},
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
OF_MODEL = ("evaluate", "map_cells", "draw_evaluation")
REPORTED = ["report", "all"]


@pytest.fixture(scope="session")
def labelled(made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A project of a model that uses annotations and one that does not, run to its end."""
    return made_once("labelled", finish)


def finish(folder: Path) -> None:
    """Make the project and run it."""
    entries = []
    for seed, name in enumerate(NAMES):
        entry = entry_of(name) | {"annotations": f"data/{name}/annotations.csv"}
        made = entry | {
            "simulation": {
                **{"seed": seed, "frames": 8, "height": 96, "width": 96, "cells": 8},
                "annotated_fraction": 1,
            }
        }
        simulate(ExperimentConfig.model_validate(made, context={"base": folder}))
        entries.append(entry)
    for name, content in (("plain", PLAIN), ("labelled", LABELLED)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
    project = Workflow(folder)
    project.config = {
        "experiments": entries,
        "collections": {"both": {"train": ["one"], "validation": ["two"]}},
        "models": {
            name: {"collection": "both", "training": f"{name}.yaml", "threads": 1}
            for name in ("plain", "labelled")
        },
        "evaluation": {
            "experiments": ["held_out"],
            "tasks": [{"name": "state", "label": "cell_state", "groups": "well"}],
            "bootstrap": 20,
        },
    }
    ran = project.jobs()
    assert [job for job in ran if job.startswith("labels")] == [
        "labels experiment=one column=cell_state",
        "labels experiment=two column=cell_state",
    ]


@pytest.fixture
def project(labelled: Path, tmp_path: Path) -> Workflow:
    """A copy of the finished project, time stamps and Snakemake's records included."""
    shutil.copytree(labelled, tmp_path / "project", symlinks=True)
    return Workflow(tmp_path / "project")


def change(path: Path, column: str) -> None:
    """Give the first observation that has one another label, and turn the rows around."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    row = next(row for row in rows if row[column])
    others = [other[column] for other in rows if other[column] not in ("", row[column])]
    row[column] = others[0]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(reversed(rows))


def test_a_changed_label_reruns_what_uses_it_alone(project):
    def planned_after(experiment: str, column: str) -> list[str]:
        path = project.folder / f"data/{experiment}/annotations.csv"
        text = path.read_text()
        change(path, column)
        jobs = jobs_in(project.run("--dry-run"))
        path.write_text(text)
        return jobs

    assert planned_after("held_out", "mitotic") == []
    models = ("plain", "labelled")
    judged = [f"{rule} model={name}" for rule in OF_MODEL for name in models]
    judged += [f"score model={name} experiment=held_out" for name in models]
    assert planned_after("held_out", "cell_state") == sorted([*judged, *REPORTED])
    assert planned_after("one", "mitotic") == []
    of_experiments = [f"embed model=labelled experiment={name}" for name in NAMES]
    retrained = [f"{rule} model=labelled seed=0" for rule in ("train", "draw_training")]
    assert planned_after("one", "cell_state") == sorted(
        [
            "labels experiment=one column=cell_state",
            "inspect_batches model=labelled",
            *(retrained + of_experiments + judged + REPORTED),
            *(f"fit_evaluation model={name}" for name in models),
        ]
    )
    assert "Nothing to be done" in project.run()


def test_labels_that_do_not_fit_are_found_before_any_job(project):
    path = project.folder / "data/one/annotations.csv"
    text = path.read_text()
    path.write_text(text.replace("cell_state", "cell/state", 1))
    said = project.run("--dry-run", fails=True)
    assert "column 'cell/state' cannot be the name of a column in AnnData" in said
    assert "Traceback" not in said
