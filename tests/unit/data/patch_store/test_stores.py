"""Patch stores: the same patches as from the plate, each chunk read once, whole or not at all."""

import json
import shutil

import numpy as np
import pytest
import torch
import zarr

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.data import (
    FieldsOfView,
    MultiExperimentDataModule,
    NormalizationConfig,
    ObservationReader,
    PatchConfig,
    PatchSpec,
    at_common_size,
    build_patches,
    compute_statistics,
    read_statistics,
)
from dynaclr.data.patch_store import builder
from dynaclr.data.patch_store.writer import ShardWriter
from dynaclr.index import MultiExperimentIndex, build_index
from dynaclr.simulation import simulate
from dynaclr.transforms import Normalize

PATCHES = PatchConfig(("phase", "reporter"), (23, 20))
SPEC = PatchSpec(PATCHES, (32, 33), NormalizationConfig())


@pytest.fixture
def folder(collection, tmp_path):
    """Results of one experiment, to which a store can be added."""
    shutil.copytree(collection.experiments / "one", tmp_path / "one")
    return tmp_path / "one"


def entry_of(folder, **store) -> ExperimentConfig:
    content = json.loads((folder / "summary.json").read_text())["entry"]
    return ExperimentConfig.model_validate(content | {"patches": store or True})


def reader_of(folder, patches=PATCHES, extraction_size=None, stores=True) -> ObservationReader:
    return ObservationReader(
        FieldsOfView(MultiExperimentIndex.from_parquet([folder]), {"one": entry_of(folder)}),
        read_statistics(folder.parent, ["one"]),
        patches,
        NormalizationConfig(),
        extraction_size=extraction_size,
        stores=folder.parent if stores else None,
    )


def read(reader) -> dict:
    return reader.read(np.arange(len(reader.index)))


@pytest.mark.parametrize("compressor", ["none", "zstd", "lz4"])
def test_patches_are_those_of_the_plate_to_the_bit(folder, compressor, monkeypatch):
    monkeypatch.setattr("dynaclr.data.patch_store.writer._SHARD_BYTES", 100_000)
    build_patches(entry_of(folder, compressor=compressor), folder, [SPEC])
    for options in (
        {"extraction_size": (32, 33)},
        {},
        {"patches": PatchConfig(("reporter",), (11, 9))},
        {"patches": PatchConfig(("reporter", "phase"), (20, 20), reference_pixel_size_um=0.5)},
    ):
        plate, store = (reader_of(folder, stores=which, **options) for which in (False, True))
        assert store._stores, "the store is used"
        wanted, found = read(plate), read(store)
        assert wanted.keys() == found.keys()
        for name in wanted:
            assert torch.equal(found[name], wanted[name]), name
    # The store is plain Zarr: any reader finds the pixels.
    pixels = zarr.open(folder / "patches.zarr/pixels", mode="r")
    slots = np.load(folder / "patches.zarr/slots.npy")
    patches = PatchConfig(("phase", "reporter"), pixels.shape[-2:])
    whole = read(reader_of(folder, patches, stores=False))["patch"].numpy()
    np.testing.assert_array_equal(pixels[...][slots], whole)


def test_observations_of_a_lineage_lie_together_in_the_order_of_time(folder):
    build_patches(entry_of(folder), folder, [SPEC])
    slots = np.load(folder / "patches.zarr/slots.npy")
    cells = MultiExperimentIndex.from_parquet([folder]).tracks.iloc[np.argsort(slots)]
    assert sorted(slots) == list(range(len(cells)))
    assert (cells["lineage_id"].diff().fillna(0) != 0).sum() == cells["lineage_id"].nunique() - 1
    assert (cells.groupby("branch")["t"].diff().dropna() > 0).all()


def test_rounded_pixels_are_as_close_as_is_said(folder):
    plain = reader_of(folder, extraction_size=(32, 33), stores=False)
    wanted = read(plain)
    wanted = Normalize()(at_common_size(wanted), wanted["center"], wanted["spread"])
    for dtype, bound in (("float16", 0.01), ("uint8", 20 / 255 / 2 + 1e-4)):
        report = build_patches(entry_of(folder, dtype=dtype), folder, [SPEC])
        found = read(reader_of(folder, extraction_size=(32, 33)))
        assert found["patch"].dtype == getattr(torch, dtype)
        found = Normalize()(found["patch"], found["center"], found["spread"])
        difference = (found - wanted).abs().max()
        assert 0 < difference <= report["loss"]["largest"] + 1e-5
        assert report["loss"]["rms"] < report["loss"]["largest"] < bound
        assert json.loads((folder / "patches.json").read_text()) == report


def test_store_that_does_not_hold_what_is_needed_is_not_used(folder, caplog):
    build_patches(entry_of(folder), folder, [SPEC])
    reader = reader_of(folder, PatchConfig(("phase",), (50, 50)))
    assert not reader._stores
    assert "crops are" in caplog.text
    assert reader_of(folder)._stores


@pytest.mark.parametrize("product", ["cells", "statistics"])
def test_store_of_another_index_or_statistics_is_not_used(folder, caplog, product):
    build_patches(entry_of(folder), folder, [SPEC])
    (folder / f"{product}.parquet.digest").write_text("of another one\n")
    assert not reader_of(folder)._stores
    assert f"is not used: {product} changed since it was made" in caplog.text


def test_store_that_is_not_asked_for_is_not_used(folder, caplog):
    report = build_patches(entry_of(folder, dtype="uint8"), folder, [SPEC])
    for asked in (None, report | {"dtype": "float16"}, report | {"compressor": "zstd"}):
        caplog.clear()
        (folder / "patches.json").write_text(json.dumps(asked))
        assert not reader_of(folder)._stores
        assert "is not used: the experiment's entry does not ask for it" in caplog.text
    (folder / "patches.json").write_text(json.dumps(report))
    assert reader_of(folder)._stores
    (folder / "patches.json").unlink()
    assert not reader_of(folder)._stores
    (folder / "patches.json").write_text(json.dumps(report))
    shutil.rmtree(folder / "patches.zarr")
    assert not reader_of(folder)._stores
    assert "patches.zarr is gone" in caplog.text


def test_store_of_as_many_other_cells_is_reported(folder, caplog):
    build_patches(entry_of(folder), folder, [SPEC])
    for file in ("patches.zarr/zarr.json", "patches.json"):
        path, n = folder / file, len(reader_of(folder).index)
        path.write_text(path.read_text().replace(f'"n": {n}', f'"n": {n + 1}'))
    assert not reader_of(folder)._stores
    assert "observations, the index has" in caplog.text


def test_store_of_another_version_is_not_used(folder, caplog):
    build_patches(entry_of(folder), folder, [SPEC])
    path = folder / "patches.zarr/zarr.json"
    path.write_text(path.read_text().replace('"leading"', '"led"'))
    assert not reader_of(folder)._stores
    assert "another version" in caplog.text


@pytest.mark.parametrize("compressor", ["none", "zstd"])
def test_damaged_store_is_reported_with_the_cell_that_needs_it(folder, compressor):
    build_patches(entry_of(folder, compressor=compressor), folder, [SPEC])
    reader = reader_of(folder, PatchConfig(("reporter",), (20, 20)))
    next((folder / "patches.zarr/pixels/c").rglob("0")).parent.rename(folder / "absent")
    cells = reader.index.tracks
    row = int(np.flatnonzero((cells["fov"].str.startswith("A/1")) & (cells["t"] == 3))[0])
    with pytest.raises(UserError) as raised:
        reader.read(np.array([row]))
    plate = reader_of(folder)._reader.chunks.paths[0].split("/A/")[0]
    where = f"cannot read frame 3 of field of view {cells['fov'][row]}, channel reporter, of"
    assert f"{folder / 'patches.zarr'}: {where} {plate} (the chunk is missing)" in str(raised.value)


def test_models_that_one_store_cannot_serve_are_reported(folder):
    other = PatchSpec(PATCHES, (32, 33), NormalizationConfig(center="mean"))
    build_patches(entry_of(folder), folder, [SPEC, other])
    with pytest.raises(UserError, match="experiment one: the models that use it normalize"):
        build_patches(entry_of(folder, dtype="uint8"), folder, [SPEC, other])


def test_dry_run_shows_bytes_and_writes_nothing(folder):
    before = sorted(folder.iterdir())
    planned = build_patches(entry_of(folder), folder, [SPEC], dry_run=True)
    assert sorted(folder.iterdir()) == before
    report = build_patches(entry_of(folder), folder, [SPEC])
    assert planned == report
    pixels = zarr.open(folder / "patches.zarr/pixels", mode="r")
    (shard,) = (file for file in (folder / "patches.zarr/pixels/c").rglob("*") if file.is_file())
    index = 16 * pixels.shape[0] + 4
    assert report["bytes"] == pixels.nbytes == shard.stat().st_size - index


@pytest.mark.parametrize("compressor", ["none", "zstd"])
def test_killed_build_goes_on_where_it_was(folder, compressor, monkeypatch):
    entry = entry_of(folder, compressor=compressor)
    build_patches(entry, folder, [SPEC])
    wanted = read(reader_of(folder, extraction_size=(32, 33)))["patch"]
    shutil.rmtree(folder / "patches.zarr")
    stored, original = [], builder._Builder._store

    def failing(self, number, slots):
        if number == 1 and len(stored) == 1:
            raise KeyboardInterrupt
        stored.append(number)
        return original(self, number, slots)

    monkeypatch.setattr(builder._Builder, "_store", failing)
    with pytest.raises(KeyboardInterrupt):
        build_patches(entry, folder, [SPEC], threads=1)
    assert not (folder / "patches.zarr").exists()
    stored.append("stopped")
    # It is stopped again when all is there but the last shard is not finished.
    finished, finish = [], ShardWriter.finish

    def failing_finish(self, shard):
        finish(self, shard)
        finished.append(shard)
        if len(finished) == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(ShardWriter, "finish", failing_finish)
    with pytest.raises(KeyboardInterrupt):
        build_patches(entry, folder, [SPEC], threads=1)
    build_patches(entry, folder, [SPEC], threads=1)
    assert stored == [0, "stopped", 1], "no field of view is stored twice"
    assert torch.equal(read(reader_of(folder, extraction_size=(32, 33)))["patch"], wanted)
    assert not list(folder.glob(".patches*"))


@pytest.mark.parametrize("deep", [False, True])
def test_build_that_was_killed_while_it_cleaned_up_is_done_again(folder, monkeypatch, deep):
    build_patches(entry_of(folder), folder, [SPEC])
    wanted = read(reader_of(folder, extraction_size=(32, 33)))["patch"]
    shutil.rmtree(folder / "patches.zarr")
    original = shutil.rmtree

    def failing(path, *arguments, **options):
        files = [file for file in sorted(path.rglob("*")) if file.is_file()]
        for file in files[:1] if deep else ():
            file.unlink()
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", failing)
    with pytest.raises(KeyboardInterrupt):
        build_patches(entry_of(folder), folder, [SPEC])
    monkeypatch.setattr(shutil, "rmtree", original)
    build_patches(entry_of(folder), folder, [SPEC])
    assert torch.equal(read(reader_of(folder, extraction_size=(32, 33)))["patch"], wanted)
    assert not list(folder.glob(".patches*"))


def test_training_batches_are_the_same_with_a_store(collection, tmp_path):
    shutil.copytree(collection.experiments, tmp_path / "results")
    options = {"extraction_size": (32, 32), "batch_size": 16, "tau_range": (0.5, 1.0)}
    made = []
    for stored in (False, True):
        if stored:
            spec = PatchSpec(PATCHES, (32, 32), NormalizationConfig())
            build_patches(entry_of(tmp_path / "results/one"), tmp_path / "results/one", [spec])
        module = MultiExperimentDataModule(
            collection.folder, tmp_path / "results", PATCHES, **options
        )
        module.setup()
        assert len(module._datasets["train"].reader._stores) == stored
        made.append(list(module.train_dataloader()))
    for plain, stored in zip(*made, strict=True):
        for view in ("anchor", "positive"):
            for name, values in plain[view].items():
                assert torch.equal(values, stored[view][name]), name


@pytest.mark.parametrize("store", [{}, {"compressor": "zstd", "dtype": "uint8"}])
def test_observations_that_cannot_be_read_are_not_in_a_store(folder, tmp_path, store):
    summary = json.loads((folder / "summary.json").read_text())
    plate = shutil.copytree(summary["entry"]["data_path"], tmp_path / "plate.zarr")
    summary["entry"] |= {"data_path": str(plate), "unreadable": "skip"}
    (folder / "summary.json").write_text(json.dumps(summary))
    cells = reader_of(folder, stores=False).index.tracks
    fov, frame = cells["fov"][0], int(cells["t"][0])
    array = zarr.open_group(plate / fov, mode="r")["0"]
    key = array.metadata.encode_chunk_key((frame // array.chunks[0], 0, 0, 0, 0))
    (plate / fov / "0" / key).unlink()
    build_patches(entry_of(folder, **store), folder, [SPEC])
    reader = reader_of(folder, extraction_size=(32, 33))
    assert reader._stores
    damaged = np.zeros(len(cells), bool)
    with_store = reader.read(np.arange(len(cells)), unreadable=damaged)["patch"]
    absent = np.zeros(len(cells), bool)
    plain = reader_of(folder, extraction_size=(32, 33), stores=False)
    from_plate = plain.read(np.arange(len(cells)), unreadable=absent)["patch"]
    assert 0 < absent.sum() < len(absent)
    np.testing.assert_array_equal(damaged, absent)
    if "dtype" not in store:
        np.testing.assert_array_equal(with_store, from_plate)
    how = "could not be read" if "dtype" in store else ", channel"
    with pytest.raises(UserError, match=f"frame {frame} of field of view {fov}.*{how}"):
        reader.read(np.arange(len(cells)))


def with_missing_chunk(folder, plate, channel=0, **entry) -> tuple:
    """Copy the plate and remove a channel of the first cell's frame: field of view and chunk."""
    summary = json.loads((folder / "summary.json").read_text())
    shutil.copytree(summary["entry"]["data_path"], plate)
    summary["entry"] |= {"data_path": str(plate)} | entry
    (folder / "summary.json").write_text(json.dumps(summary))
    cell = MultiExperimentIndex.from_parquet([folder]).tracks.iloc[0]
    array = zarr.open_group(plate / cell["fov"], mode="r")["0"]
    index = cell["t"] // array.chunks[0], channel // array.chunks[1], 0, 0, 0
    return plate / cell["fov"] / "0" / array.metadata.encode_chunk_key(index)


def test_model_that_needs_a_whole_marker_reads_it_beside_a_damaged_one(folder, tmp_path):
    chunk = with_missing_chunk(folder, tmp_path / "plate.zarr", unreadable="skip")
    chunk.unlink()
    build_patches(entry_of(folder), folder, [SPEC])
    assert (np.load(folder / "patches.zarr/slots.npy") < 0).any()
    for options in ({}, {"extraction_size": (32, 33)}):
        patches = PatchConfig(("reporter",), (23, 20))
        plate, store = (reader_of(folder, patches, stores=s, **options) for s in (False, True))
        assert store._stores
        assert torch.equal(read(store)["patch"], read(plate)["patch"])


@pytest.mark.parametrize("finished", [False, True])
def test_what_could_not_be_read_is_asked_for_again_after_a_kill(
    folder, tmp_path, monkeypatch, finished
):
    monkeypatch.setattr("dynaclr.data.patch_store.writer._SHARD_BYTES", 100_000)
    chunk = with_missing_chunk(folder, tmp_path / "plate.zarr", unreadable="skip")
    chunk.rename(tmp_path / "away")
    finish = ShardWriter.finish

    def failing(self, shard):
        if finished and shard == 0:
            finish(self, shard)
        raise KeyboardInterrupt

    monkeypatch.setattr(ShardWriter, "finish", failing)
    with pytest.raises(KeyboardInterrupt):
        build_patches(entry_of(folder), folder, [SPEC], threads=1)
    (tmp_path / "away").rename(chunk)
    monkeypatch.setattr(ShardWriter, "finish", finish)
    build_patches(entry_of(folder), folder, [SPEC])
    assert (np.load(folder / "patches.zarr/slots.npy") >= 0).all()
    plate, store = (reader_of(folder, stores=which) for which in (False, True))
    assert torch.equal(read(store)["patch"], read(plate)["patch"])


def test_only_fields_with_unreadable_rows_are_read_again_after_a_kill(tmp_path, monkeypatch):
    entry = ExperimentConfig(
        name="one",
        data_path=tmp_path / "plate.zarr",
        tracks_path=tmp_path / "tracks",
        channels=[{"name": "Phase2D", "marker": "phase"}],
        condition_wells={"mock": ["A/1"]},
        interval_minutes=30,
        start_hpi=0,
        pixel_size_um=0.6,
        simulation={
            "frames": 3,
            "height": 64,
            "width": 64,
            "cells": 4,
            "fovs_per_well": 3,
            "infected_conditions": [],
        },
        unreadable="skip",
        patches=True,
    )
    simulate(entry)
    folder = tmp_path / "results" / "one"
    build_index(entry, folder)
    compute_statistics(entry, folder)
    spec = PatchSpec(PatchConfig(("phase",), (23, 20)), (32, 33), NormalizationConfig())
    names = MultiExperimentIndex.from_parquet([folder]).tracks["fov"].unique().tolist()
    array = zarr.open_group(tmp_path / "plate.zarr" / names[1], mode="r")["0"]
    (array.store.root / array.path / array.metadata.encode_chunk_key((0,) * 5)).unlink()
    read_fields, original, finish = [], builder._Builder._store, ShardWriter.finish

    def counting(self, number, slots):
        read_fields.append(number)
        return original(self, number, slots)

    def killed(self, shard):
        raise KeyboardInterrupt

    monkeypatch.setattr(builder._Builder, "_store", counting)
    monkeypatch.setattr(ShardWriter, "finish", killed)
    for read_again in ([0, 1, 2], [1], [1]):
        read_fields.clear()
        with pytest.raises(KeyboardInterrupt):
            build_patches(entry, folder, [spec], threads=1)
        assert read_fields == read_again
    monkeypatch.setattr(ShardWriter, "finish", finish)
    build_patches(entry, folder, [spec], threads=1)
    slots = np.load(folder / "patches.zarr/slots.npy")
    tracks = MultiExperimentIndex.from_parquet([folder]).tracks
    assert (tracks["fov"][slots < 0] == names[1]).all()
    pixels = zarr.open(folder / "patches.zarr/pixels", mode="r")[...]
    assert 0 < (slots < 0).sum() < len(slots) / 3
    assert (pixels[slots[slots >= 0]].reshape((slots >= 0).sum(), -1).std(axis=1) > 0).all()
