"""A supervised ceiling is trained on labelled rows of training experiments, and embeds others."""

import copy
import shutil

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from tests.unit.training.test_training import CONFIGURATION

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.evaluation import fit_linear_classifier
from dynaclr.inference import embed_ceilings, train_ceiling
from dynaclr.inference.ceiling import _choose
from dynaclr.io.artifacts import read_digest, read_json
from dynaclr.io.embeddings import provenance_of, read_store

TRAINING = {key: CONFIGURATION[key] for key in ("model", "data")}


@pytest.fixture(autouse=True)
def small_budget(monkeypatch):
    monkeypatch.setattr("dynaclr.inference.ceiling.N_PASSES", 10)


def conditions(obs):
    """The condition as the class, unknown in the first two frames."""
    return obs["condition"].astype(object).where(obs["t"] > 1, None).to_numpy(dtype=object)


def folders(collection, *names):
    return [collection.experiments / name for name in names]


@pytest.fixture(scope="module")
def ceiling(collection, tmp_path_factory):
    """A ceiling that was trained on the conditions of two experiments."""
    out = tmp_path_factory.mktemp("ceiling") / "state.ckpt"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("dynaclr.inference.ceiling.N_PASSES", 10)
        train_ceiling(TRAINING, folders(collection, "one", "two"), conditions, out, threads=1)
    return out


def embedded(ceiling, collection, out, name):
    folder = collection.experiments / name
    embed_ceilings(TRAINING, {"state": ceiling}, folder, out, threads=1)
    return read_store(out / "ceiling-state" / f"{name}.zarr")


def test_its_features_tell_the_classes_of_a_held_out_experiment_apart(
    ceiling, collection, tmp_path
):
    train = embedded(ceiling, collection, tmp_path, "one")
    test = embedded(ceiling, collection, tmp_path, "three")
    provenance = provenance_of(test)
    assert provenance["variant"] == "ceiling"
    assert provenance["checkpoint"] == read_digest(ceiling)
    groups = train.obs["lineage_id"].to_numpy()
    classifier, _ = fit_linear_classifier(
        np.asarray(train.X), train.obs["condition"].to_numpy(), groups
    )
    score = classifier.predict_proba(np.asarray(test.X))[:, 1]
    assert roc_auc_score(test.obs["condition"] == classifier.classes[1], score) > 0.95


def test_rows_are_those_of_the_index(ceiling, collection, tmp_path):
    store = embedded(ceiling, collection, tmp_path, "three")
    cells = pd.read_parquet(collection.experiments / "three" / "cells.parquet")
    key = ["fov", "track_id", "t"]
    found = store.obs[key].astype({"fov": str}).to_numpy()
    np.testing.assert_array_equal(found, cells[key].astype({"fov": str}).to_numpy())


def test_the_same_seed_gives_the_same_weights_and_another_one_others(ceiling, collection, tmp_path):
    again, other = tmp_path / "again.ckpt", tmp_path / "other.ckpt"
    given = (TRAINING, folders(collection, "one", "two"), conditions)
    train_ceiling(*given, again, threads=1)
    train_ceiling(*given, other, seed=1, threads=1)
    assert read_digest(again) == read_digest(ceiling) != read_digest(other)
    content = torch.load(again, weights_only=True)
    assert content["classes"] == ["infected", "mock"]


def test_several_ceilings_embed_in_one_pass(ceiling, collection, tmp_path):
    experiment = collection.experiments / "three"
    both = {"state": ceiling, "other": ceiling}
    embed_ceilings(TRAINING, both, experiment, tmp_path, threads=1)
    first, second = (
        ad.read_zarr(tmp_path / f"ceiling-{task}/three.zarr") for task in ("state", "other")
    )
    np.testing.assert_array_equal(first.X, second.X)


def test_a_bag_of_channels_is_trained_on_labels_of_single_markers(collection, tmp_path):
    training = copy.deepcopy(TRAINING)
    training["data"]["patches"]["bag_of_channels"] = True
    training["model"]["encoder"]["init_args"]["in_channels"] = 1
    seen = []

    def of_phase(obs):
        seen.append(set(obs["marker"]))
        classes = obs["condition"].astype(object)
        return classes.where(obs["marker"] == "phase", None).to_numpy(dtype=object)

    out = tmp_path / "state.ckpt"
    train_ceiling(training, folders(collection, "one"), of_phase, out, threads=1)
    assert seen == [{"phase", "reporter"}]
    embed_ceilings(training, {"state": out}, collection.experiments / "three", tmp_path, threads=1)
    store = read_store(tmp_path / "ceiling-state/three.zarr")
    assert set(store.obs["marker"]) == {"phase", "reporter"}


def test_what_cannot_be_read_is_not_trained_on(collection, tmp_path, caplog):
    folder = tmp_path / "results" / "one"
    shutil.copytree(collection.experiments / "one", folder)
    summary = read_json(folder / "summary.json")
    entry = ExperimentConfig.model_validate(summary["entry"])
    shutil.copytree(entry.data_path, tmp_path / "plate.zarr")
    shutil.rmtree(tmp_path / "plate.zarr/A/1/0/0/2")
    changes = {"data_path": str(tmp_path / "plate.zarr"), "unreadable": "skip"}
    (folder / "summary.json").write_text(
        pd.Series(summary | {"entry": summary["entry"] | changes}).to_json()
    )
    cells = pd.read_parquet(folder / "cells.parquet")
    labelled = cells["t"] > 1
    lost = (cells["t"] == 2) & (cells["fov"] == "A/1/0")
    with caplog.at_level("INFO"):
        train_ceiling(TRAINING, [folder], conditions, tmp_path / "a.ckpt", threads=1)
    assert 0 < lost.sum() < labelled.sum()
    assert f"training on {labelled.sum() - lost.sum()} labelled patches" in caplog.text


@pytest.mark.parametrize(
    ("label", "message"),
    [(None, "nothing is labelled"), ("mock", "only 'mock' is labelled")],
)
def test_fewer_than_two_classes_are_refused(label, message, collection, tmp_path):
    def labels_of(obs):
        return np.full(len(obs), label, dtype=object)

    with pytest.raises(UserError, match=f"in the training experiments {message}. Label"):
        train_ceiling(TRAINING, folders(collection, "one"), labels_of, tmp_path / "a.ckpt")
    assert not (tmp_path / "a.ckpt").exists()


@given(
    codes=st.lists(st.integers(0, 2), min_size=1, max_size=60),
    most=st.integers(1, 70),
    seed=st.integers(0, 9),
)
def test_of_too_many_patches_as_many_of_each_class_are_drawn(codes, most, seed):
    codes = np.array(codes)
    chosen = _choose(codes, most, seed)
    assert len(chosen) == min(most, len(codes))
    assert (np.diff(chosen) > 0).all()
    drawn, given_ = (np.bincount(part, minlength=3) for part in (codes[chosen], codes))
    # A class with fewer rows than another that is drawn has all of its own.
    for a in range(3):
        for b in range(3):
            assert drawn[a] >= min(given_[a], drawn[b] - 1)
