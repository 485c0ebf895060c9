"""Embedding reads each chunk once, and goes on where pixels cannot be read."""

import shutil
import threading

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
import zarr
from tests.counting import opened_by

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.data import NormalizationConfig, PatchConfig, compute_statistics
from dynaclr.index import build_index
from dynaclr.inference.baselines import embed_baselines, fit_pixels
from dynaclr.inference.observations import Observations
from dynaclr.inference.thumbnails import write_thumbnails
from dynaclr.io.artifacts import read_json, write_digest
from dynaclr.io.embeddings import provenance_of, read_store

PATCHES = PatchConfig(("phase", "reporter"), (24, 24))


def test_an_experiment_is_read_in_one_pass(collection, monkeypatch):
    opened = opened_by(monkeypatch)
    cells = Observations(collection.experiments / "one", PATCHES, NormalizationConfig())
    # Frames hold eight cells and more: every batch begins in the middle of one.
    n = sum(len(batch["patch"]) for batch in cells.batches(5))
    assert n == len(cells) > 0
    assert len(opened) == len(set(opened)) > 0


@pytest.mark.parametrize(("most", "size"), [(30 << 20, 5), (3 * 2304 + 1, 3), (1, 1)])
def test_batches_are_filled_and_of_large_patches_smaller(most, size, collection, monkeypatch):
    monkeypatch.setattr("dynaclr.inference.observations._BATCH_BYTES", most)
    cells = Observations(collection.experiments / "one", PATCHES, NormalizationConfig())
    # Two channels of 24 x 24 pixels of 16 bits.
    assert cells.reader.patch_bytes == cells.read(slice(0, 1))["patch"].nbytes == 2304
    batches = list(cells.batches(5))
    sizes = [len(batch["patch"]) for batch in batches]
    assert set(sizes[:-1]) == {size}
    assert 0 < sizes[-1] <= size
    # All of them at once: none may lie in memory that a later one was read into.
    whole = cells.read(slice(0, len(cells)))
    for name, values in whole.items():
        assert torch.equal(torch.cat([batch[name] for batch in batches]), values), name


def test_the_next_batch_and_no_more_is_read_while_one_is_encoded(collection, monkeypatch):
    cells = Observations(collection.experiments / "one", PATCHES, NormalizationConfig())
    read, begun, second_begun = cells.read, [], threading.Event()

    def counted(selection):
        begun.append(selection.start)
        if len(begun) == 2:
            second_begun.set()
        return read(selection)

    monkeypatch.setattr(cells, "read", counted)
    batches = cells.batches(5)
    next(batches)
    assert second_begun.wait(60)
    assert begun == [0, 5]
    batches.close()


@pytest.fixture
def damaged(collection, tmp_path):
    """An experiment's results and how many cells are in the frame whose pixels are unreadable."""
    entry = ExperimentConfig.model_validate(
        read_json(collection.experiments / "one/summary.json")["entry"]
    )
    shutil.copytree(entry.data_path, tmp_path / "plate.zarr")
    entry = entry.model_copy(update={"data_path": tmp_path / "plate.zarr", "simulation": None})
    shutil.rmtree(tmp_path / "plate.zarr/A/1/0/0/2")

    def make(policy):
        chosen = entry.model_copy(update={"unreadable": policy})
        build_index(chosen, tmp_path / "results/one")
        compute_statistics(chosen, tmp_path / "results/one")
        table = pd.read_parquet(tmp_path / "results/one/cells.parquet")
        return tmp_path / "results/one", int(((table["t"] == 2) & (table["fov"] == "A/1/0")).sum())

    return make


def test_observations_that_cannot_be_read_are_left_out_of_evaluation(damaged, tmp_path, caplog):
    folder, n_bad = damaged("skip")
    normalization = NormalizationConfig()
    fit_pixels(PATCHES, normalization, [folder], tmp_path / "pixels.npz", n_components=2)
    embed_baselines(PATCHES, normalization, folder, tmp_path, tmp_path / "pixels.npz")
    for variant in ("intensity", "texture", "pixels"):
        path = tmp_path / variant / "one.zarr"
        store = ad.read_zarr(path)
        unknown = np.isnan(store.X).all(axis=1)
        assert unknown.sum() == n_bad > 0
        assert (store.obs["t"][unknown] == 2).all()
        assert provenance_of(store)["unreadable"] == np.flatnonzero(unknown).tolist()
        read = read_store(path)
        assert read.n_obs == store.n_obs - n_bad
        assert np.isfinite(read.X).all()
        # Another row without features is not unreadable, but an error.
        group = zarr.open_group(path, mode="r+")
        group["X"][int(np.flatnonzero(~unknown)[0])] = np.nan
        with pytest.raises(UserError, match="was changed after it was made"):
            read_store(path)
        write_digest(path)
        with pytest.raises(UserError, match=f"1 of {store.n_obs - n_bad} rows have no usable"):
            read_store(path)
    assert f"{n_bad} of {store.n_obs} observations cannot be read" in caplog.text
    write_thumbnails(PATCHES, normalization, folder, tmp_path / "pictures.parquet")
    assert len(pd.read_parquet(tmp_path / "pictures.parquet")) == store.n_obs


def test_by_default_what_cannot_be_read_ends_the_stage(damaged):
    with pytest.raises(UserError, match=r"cannot read frame 2 .*unreadable: skip"):
        damaged("error")
