"""A frozen model trains nothing: the jobs that run are compared exactly."""

import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from dynaclr.inference.bundle import write_bundle
from dynaclr.io.artifacts import digest_path
from tests.workflow.conftest import Workflow, jobs_in
from tests.workflow.finished_project import OF_EVALUATION, REPORTED, finished, project
from tests.workflow.test_reruns import planned

__all__ = ["finished", "project"]
pytestmark = pytest.mark.slow


def freeze_training_of_a(project: Workflow, **more: object) -> Path:
    """Add the model `frozen` to a project: a training that was moved elsewhere."""
    elsewhere = project.folder / "elsewhere"
    shutil.copytree(project.folder / "results/models/a/seed0", elsewhere)
    config = project.config
    config["models"]["frozen"] = {"pretrained": "elsewhere", "threads": 1, **more}
    project.config = config
    return elsewhere


def of_frozen(experiments: tuple[str, ...], scored: tuple[str, ...]) -> list[str]:
    """Jobs of the frozen model."""
    return [
        "freeze model=frozen seed=0",
        *(f"embed_only_seeds_0 model=frozen experiment={name}" for name in experiments),
        "fit_evaluation model=frozen",
        *(f"score model=frozen experiment={name}" for name in scored),
        *(f"{rule} model=frozen" for rule in OF_EVALUATION),
    ]


def test_a_frozen_model_embeds_and_scores_without_a_training(project):
    elsewhere = freeze_training_of_a(project, collection="first")
    jobs = of_frozen(("one", "two", "alone"), ("alone",))
    assert project.jobs() == sorted([*jobs, *REPORTED])
    results = project.folder / "results"
    for name in ("one", "alone"):
        stores = [results / f"embeddings/{model}/seed0/{name}.zarr" for model in ("a", "frozen")]
        first, second = map(ad.read_zarr, stores)
        np.testing.assert_array_equal(first.X, second.X)
    assert digest_path(results / "models/frozen/seed0/best.ckpt") == digest_path(
        results / "models/a/seed0/best.ckpt"
    )
    assert "Nothing to be done" in project.run()

    # Moved again, with the same content: the report shows the configuration.
    elsewhere.rename(project.folder / "moved")
    config = project.config
    config["models"]["frozen"]["pretrained"] = "moved"
    project.config = config
    assert planned(project) == sorted(REPORTED)

    # Other weights: this model alone.
    checkpoint = project.folder / "moved/best.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    content["state_dict"] = {k: v * 2 for k, v in content["state_dict"].items()}
    torch.save(content, checkpoint)
    (project.folder / "moved/best.ckpt.digest").unlink()
    assert planned(project) == sorted([*jobs, *REPORTED])


def test_a_bundle_is_judged_by_the_classifiers_and_maps_in_it(project, monkeypatch):
    monkeypatch.chdir(project.folder)
    results, bundle = project.folder / "results", project.folder / "shared/bundle"
    trained = results / "models/a/seed0"
    write_bundle(trained, bundle, results / "experiments/one", results / "evaluation/a")
    config = project.config
    config["models"]["frozen"] = {"pretrained": "shared/bundle", "threads": 1}
    project.config = config
    jobs = [job for job in of_frozen(("alone",), ("alone",)) if "fit_evaluation" not in job]
    jobs.append("take_reference model=frozen")
    assert project.jobs() == sorted([*jobs, *REPORTED])
    assert "Nothing to be done" in project.run()

    keys = ["variant", "task", "estimate", "experiment", "metric"]
    first, second = (scores_of(results, model).set_index(keys) for model in ("a", "frozen"))
    assert {"alone", "one"} <= {*second.index.get_level_values("experiment")}
    shared = second.index.intersection(first.index)
    assert len(shared) == len(second) > 100
    np.testing.assert_array_equal(first.loc[shared, "value"], second.loc[shared, "value"])
    maps = [ad.read_h5ad(results / f"evaluation/{model}/maps.h5ad") for model in ("a", "frozen")]
    places = [map.to_df().index.str.cat(map.obsm["X_umap"].astype(str)[:, 0]) for map in maps]
    assert {*places[0]} == {*places[1]}, "cells lie where they lay on the map of the training"

    # Moved, the report alone shows it; another classifier scores again.
    bundle.rename(project.folder / "moved")
    config["models"]["frozen"]["pretrained"] = "moved"
    project.config = config
    assert planned(project) == sorted(REPORTED)
    file = project.folder / "moved/reference/reference.json"
    file.write_text(file.read_text() + "\n")
    changed = {job.split()[0] for job in planned(project)}
    assert {"take_reference", "score", "evaluate", "map_cells"} <= changed
    assert not changed & {"freeze", "embed_only_seeds_0", "fit_evaluation"}


def scores_of(results: Path, model: str) -> pd.DataFrame:
    """Metrics of one experiment alone, and of what was trained on; of the trained encoder."""
    table = pd.read_csv(results / f"evaluation/{model}/metrics.csv", keep_default_na=False)
    trained = table["variant"].str.partition("+")[0] == "seed0"
    return table[trained & table["experiment"].isin(["one", "two", "alone"])]


def test_a_checkpoint_alone_is_used_with_the_settings_that_are_named(project):
    shutil.copy(
        project.folder / "results/models/b/seed0/best.ckpt", project.folder / "weights.ckpt"
    )
    config = project.config
    config["models"]["frozen"] = {
        "pretrained": "weights.ckpt",
        "training": "own.yaml",
        "threads": 1,
    }
    project.config = config
    # Without a collection, classifiers are cross-validated within what is embedded.
    assert planned(project) == sorted([*of_frozen(("alone",), ("alone",)), *REPORTED])
    project.run("--until", "embed_only_seeds_0")
    stores = [
        project.folder / f"results/embeddings/{model}/seed0/alone.zarr" for model in ("b", "frozen")
    ]
    np.testing.assert_array_equal(*(ad.read_zarr(store).X for store in stores))


def test_a_model_of_this_project_is_trained_first(project):
    config = project.config
    config["models"]["frozen"] = {"pretrained": "results/models/b/seed0", "threads": 1}
    config["models"]["b"]["overrides"] = {"model.learning_rate": 0.002}
    project.config = config
    ran = jobs_in(project.run("--dry-run", "results/models/frozen/seed0/best.ckpt"))
    assert ran == ["freeze model=frozen seed=0", "train model=b seed=0"]


def test_evaluation_without_baselines(project):
    config = project.config
    config["evaluation"] |= {"untrained": False, "baselines": False}
    del config["models"]["b"]
    project.config = config
    said = planned(project)
    assert not [job for job in said if "baselines" in job or "fit_pixels" in job]
    project.run()
    table = (project.folder / "results/evaluation/a/metrics.csv").read_text()
    assert "seed0" in table
    assert not [word for word in ("untrained", "intensity", "pixels") if word in table]


def test_check_finds_what_is_wrong_with_a_frozen_model(project):
    def message_of(**model: object) -> str:
        config = project.config
        config["models"]["frozen"] = model
        project.config = config
        return project.run("--dry-run", fails=True)

    assert "models.frozen.pretrained: no checkpoint" in message_of(pretrained="nowhere")
    weights = project.folder / "weights.ckpt"
    shutil.copy(project.folder / "results/models/a/seed0/best.ckpt", weights)
    assert "config.yaml that says how weights.ckpt is used" in message_of(pretrained="weights.ckpt")
    wide = {
        "class_path": "dynaclr.models.SmallEncoder",
        "init_args": {"in_channels": 1, "width": 16},
    }
    content = {"inherits": "training.yaml", "model": {"encoder": wide}}
    (project.folder / "wide.yaml").write_text(yaml.safe_dump(content))
    assert "holds another encoder" in message_of(pretrained="weights.ckpt", training="wide.yaml")
    entry = project.folder / "experiments/alone.yaml"
    entry.write_text(entry.read_text().replace("marker: phase", "marker: reporter"))
    said = message_of(pretrained="weights.ckpt", training="training.yaml")
    assert "marker 'phase': no experiment of alone has it" in said
