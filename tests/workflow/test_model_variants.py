"""What the demo leaves out: a timm backbone, validation by fields of view, workers, W&B."""

import copy
import json
from pathlib import Path

import anndata
import pandas as pd
import pytest
import yaml

from dynaclr.config import ExperimentConfig
from dynaclr.simulation import simulate
from tests.workflow.conftest import Workflow, entry_of
from tests.workflow.finished_project import TRAINING

CONVNEXT = {
    "class_path": "dynaclr.models.ContrastiveEncoder",
    "init_args": {
        "backbone": "convnext_atto",
        "in_channels": 1,
        "in_stack_depth": 1,
        "stem_kernel_size": [1, 2, 2],
        "stem_stride": [1, 2, 2],
        "embedding_dim": 64,
        "projection_dim": 16,
    },
}
SMALL_FEATURES = 64
OFFLINE = {
    "class_path": "lightning.pytorch.loggers.WandbLogger",
    "init_args": {"offline": True, "save_dir": "wandb-runs", "project": "dynaclr"},
}


def wells_of(name: str) -> dict:
    """An entry with two wells a condition, so that fields of view can be held back."""
    return entry_of(name) | {
        "condition_wells": {"mock": ["A/1", "A/2"], "infected": ["B/1", "B/2"]}
    }


@pytest.fixture
def project(workflow) -> Workflow:
    """Two experiments, of which a part of the fields of view validates; two models."""
    for seed, name in enumerate(("one", "two")):
        size = {"seed": seed, "frames": 6, "height": 64, "width": 64, "cells": 5}
        entry = wells_of(name) | {"simulation": size}
        simulate(ExperimentConfig.model_validate(entry, context={"base": workflow.folder}))
    convnext = copy.deepcopy(TRAINING)
    convnext["model"]["encoder"] = CONVNEXT
    convnext["data"]["num_workers"] = 1
    write(workflow.folder / "convnext.yaml", convnext)
    logged = copy.deepcopy(TRAINING)
    logged["trainer"]["logger"] = OFFLINE
    write(workflow.folder / "logged.yaml", logged)
    workflow.config = {
        "experiments": [wells_of("one")],
        "collections": {"fields": {"train": ["one"], "validation_fov_fraction": 0.5}},
        "models": {
            "convnext": {"collection": "fields", "training": "convnext.yaml", "threads": 2},
            "logged": {"collection": "fields", "training": "logged.yaml", "threads": 1},
        },
        "evaluation": {
            "experiments": ["two"],
            "tasks": [{"name": "response", "label": "responding", "source": "truth"}],
            "bootstrap": 10,
            "shuffles": 0,
        },
        "comparison": {"metrics": ["auroc", "effective_rank"]},
    }
    return workflow


def write(file: Path, content: dict) -> None:
    file.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.mark.slow
def test_backbone_field_validation_workers_and_wandb(project):
    # Only the command line knows the second experiment: jobs must see it.
    both = json.dumps([wells_of("one"), wells_of("two")])
    jobs = project.jobs("--config", f"experiments={both}")
    assert jobs.count("train model=convnext seed=0") == 1
    assert jobs.count("compare") == 1
    assert (project.folder / "results/report.html").stat().st_size > 100_000

    split = project.json("results/collections/fields/manifest.json")["split"]
    assert split["by"] == "fov"
    assert len(split["validation_fovs"]["one"]) == 2, "half of the four, from both conditions"
    assert_trained_and_embedded(project.folder, "convnext", features=320)
    assert_trained_and_embedded(project.folder, "logged", features=SMALL_FEATURES)
    compared = pd.read_csv(project.folder / "results/comparison/differences.csv")
    assert set(compared["first"]) == {"logged"}
    assert compared["verdict"].notna().all()
    figures = project.folder / "results/comparison/figures"
    assert {figure.name for figure in figures.glob("*.svg")} == {"auroc.svg", "effective_rank.svg"}
    (run,) = (project.folder / "wandb-runs/wandb").glob("offline-run-*/*.wandb")
    assert b"loss/val" in run.read_bytes()


def assert_trained_and_embedded(folder: Path, model: str, features: int) -> None:
    history = pd.read_csv(folder / f"results/models/{model}/seed0/metrics.csv")
    assert history[["loss/train", "loss/val"]].notna().any().all()
    store = anndata.read_zarr(folder / f"results/embeddings/{model}/seed0/two.zarr")
    assert store.n_obs > 0
    assert store.n_vars == features
