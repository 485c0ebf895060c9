"""Pictures of cells: which cells, which pixels."""

import io
import itertools
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image

from dynaclr.data import NormalizationConfig, PatchConfig
from dynaclr.inference import write_thumbnails
from dynaclr.inference.observations import Observations
from dynaclr.io.artifacts import read_digest
from dynaclr.io.subsample import whole_lineages

PATCHES = PatchConfig(("phase", "reporter"), (24, 24))


def written(collection, path, patches=PATCHES, **options):
    folder = collection.experiments / "one"
    write_thumbnails(patches, NormalizationConfig(), folder, path, **options)
    table = pq.read_table(path)
    return table.to_pandas(), json.loads(table.schema.metadata[b"dynaclr"])


def pixels_of(image):
    return np.asarray(Image.open(io.BytesIO(image)).convert("L"), dtype=float)


def test_every_cell_has_its_own_pixels_and_absent_markers_are_grey(collection, tmp_path):
    table, facts = written(collection, tmp_path / "t.parquet")
    cells = Observations(collection.experiments / "one", PATCHES, NormalizationConfig())
    assert facts["shape"] == [24, 24]
    assert facts["height_um"] == pytest.approx(24 * 0.6)
    assert facts["n_cells"] == len(table) == len(cells.index)
    patch = cells.reader.read(np.arange(len(table)))["patch"].numpy()[:, :, 0]
    well = cells.index.tracks["well"].to_numpy()
    for row in (0, len(table) // 2, len(table) - 1):
        phase, reporter = np.split(pixels_of(table["image"][row]), 2, axis=1)
        assert np.corrcoef(phase.ravel(), patch[row, 0].ravel())[0, 1] > 0.95
        if well[row] == "B/1":
            np.testing.assert_allclose(reporter, 128, atol=2)
        else:
            assert np.corrcoef(reporter.ravel(), patch[row, 1].ravel())[0, 1] > 0.95


def test_the_same_cells_give_the_same_bytes(collection, tmp_path):
    for name in ("a", "b"):
        written(collection, tmp_path / f"{name}.parquet")
    assert read_digest(tmp_path / "a.parquet") == read_digest(tmp_path / "b.parquet")


def test_large_patches_are_scaled_down(collection, tmp_path):
    table, facts = written(collection, tmp_path / "t.parquet", PatchConfig(("phase",), (80, 60)))
    assert facts["shape"] == [40, 30]
    assert pixels_of(table["image"][0]).shape == (40, 30)


def test_fewer_pictures_are_whole_lineages_of_the_same_choice(collection, tmp_path):
    whole, _ = written(collection, tmp_path / "whole.parquet")
    few, _ = written(collection, tmp_path / "few.parquet", max_cells=20)
    assert 0 < len(few) <= 20
    tracks = Observations(collection.experiments / "one", PATCHES, NormalizationConfig()).index
    rows = tracks.tracks.reset_index(drop=True)
    chosen = rows.iloc[whole_lineages(rows, 20)]
    assert (few["track_id"].to_numpy() == chosen["track_id"]).all()
    sizes = rows.groupby(["fov", "lineage_id"], observed=True).size()
    for position, part in chosen.groupby(["fov", "lineage_id"], observed=True):
        assert len(part) == sizes[position]
    assert len(whole) == len(rows)


def test_who_takes_more_takes_all_that_the_others_took():
    table = pd.DataFrame({"experiment": "e", "fov": "f", "lineage_id": np.arange(300) // 7})
    chosen = [set(whole_lineages(table, n)) for n in (1, 50, 120, 300)]
    assert [len(rows) for rows in chosen] == [7, 49, 119, 300]
    assert all(few <= more for few, more in itertools.pairwise(chosen))
    shuffled = table.sample(frac=1, random_state=0)
    assert set(shuffled.index[whole_lineages(shuffled, 50)]) == chosen[1]
