"""Reading embedding stores, and variants of the same observations."""

import numpy as np
import pandas as pd
import pytest

from dynaclr.config import UserError
from dynaclr.io.embedding_rows import EmbeddingRows, open_variants, read_embeddings
from dynaclr.io.embeddings import (
    KEY,
    concatenate_stores,
    open_anndata,
    provenance_of,
    read_store,
)


def test_a_store_comes_back_with_plain_strings_and_provenance(tmp_path, make, observations):
    path = make.store(tmp_path / "a.zarr", observations, np.ones((len(observations), 3)))
    store = read_store(path)
    assert store.obs["experiment"].dtype == object
    assert provenance_of(store) == {"checkpoint": "0123"}
    assert store.X.shape == (len(observations), 3)


@pytest.mark.filterwarnings("ignore:Observation names are not unique")
def test_errors_of_a_store(tmp_path, make, observations):
    n = len(observations)
    with pytest.raises(UserError, match="no such embedding store"):
        read_store(tmp_path / "absent.zarr")
    (tmp_path / "empty.zarr").mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        read_store(tmp_path / "empty.zarr")
    lacking = make.store(tmp_path / "b.zarr", observations.drop(columns="hours"), np.ones((n, 2)))
    with pytest.raises(UserError, match="obs lacks hours"):
        read_store(lacking)
    twice = pd.concat([observations, observations.iloc[[3]]])
    repeated = make.store(tmp_path / "c.zarr", twice, np.ones((n + 1, 2)))
    with pytest.raises(UserError, match="fov A/1/0, track 1, frame 3 is there twice"):
        read_store(repeated)
    twice = twice.assign(marker="phase")
    repeated = make.store(tmp_path / "m.zarr", twice, np.ones((n + 1, 2)))
    with pytest.raises(UserError, match="track 1, frame 3, marker phase is there twice"):
        read_store(repeated)
    features = np.ones((n, 2))
    features[4] = np.nan
    features[9, 0] = np.inf
    diverged = make.store(tmp_path / "d.zarr", observations, features)
    with pytest.raises(UserError, match=r"2 of 120 rows have no usable features.*track 1, frame 4"):
        read_store(diverged)


def test_stores_of_experiments_are_written_as_one(tmp_path, make, observations):
    rng, paths = np.random.default_rng(0), []
    for name in "ab":
        features = rng.normal(size=(len(observations), 3))
        paths.append(tmp_path / f"{name}.zarr")
        make.store(paths[-1], observations.assign(experiment=name), features)
    for out in (tmp_path / "all.zarr", tmp_path / "all.h5ad"):
        concatenate_stores(paths, out)
        joined = read_store(out) if out.suffix == ".zarr" else open_anndata(out)
        assert joined.n_obs == 2 * len(observations)
        assert joined.obs_names.is_unique
        assert joined.obs_names[0].startswith("a/")
        np.testing.assert_array_equal(joined.X[len(observations) :], read_store(paths[1]).X)
    with pytest.raises(UserError, match="in two of the stores"):
        concatenate_stores([paths[0], paths[0]], tmp_path / "twice.zarr")
    wider = make.store(tmp_path / "w.zarr", observations, rng.normal(size=(len(observations), 4)))
    with pytest.raises(UserError, match="has 4 features that differ from the 3"):
        concatenate_stores([paths[1], wider], tmp_path / "wide.zarr")


def test_variants_are_lined_up_whatever_the_order_of_their_rows(tmp_path, make, observations):
    n = len(observations)
    number = np.arange(n, dtype=float)[:, None]
    order = np.random.default_rng(0).permutation(n)
    first = make.store(tmp_path / "x" / "a.zarr", observations, number)
    second = make.store(tmp_path / "y" / "a.zarr", observations.iloc[order], number[order])
    opened = open_variants({"x": first, "y": second}, "a")
    rows = np.random.default_rng(1).permutation(n)[:20]
    found = [store.features(rows) for store in opened.values()]
    np.testing.assert_array_equal(*found)
    obs = opened["x"].obs
    assert obs[KEY].equals(obs[KEY].sort_values(KEY))
    few = opened["y"].take(rows)
    np.testing.assert_array_equal(few.features(np.arange(20)), found[0])
    assert few.obs["t"].tolist() == obs["t"].iloc[rows].tolist()


def test_variants_with_other_rows_are_turned_away(tmp_path, make, observations):
    n = len(observations)
    first = make.store(tmp_path / "x" / "a.zarr", observations, np.ones((n, 2)))
    second = make.store(tmp_path / "y" / "a.zarr", observations[:-1], np.ones((n - 1, 2)))
    with pytest.raises(UserError, match="y lacks 1 and has 0 more, for example experiment a"):
        open_variants({"x": first, "y": second}, "a")
    marked = observations.assign(marker="phase")
    of_markers = make.store(tmp_path / "z" / "a.zarr", marked, np.ones((n, 2)))
    with pytest.raises(UserError, match="x and z: one has a row per marker"):
        open_variants({"x": first, "z": of_markers}, "a")
    with pytest.raises(UserError, match="holds experiment a, but was given as b"):
        EmbeddingRows(first, "b")
    other = observations.assign(experiment="b")
    wider = make.store(tmp_path / "x" / "b.zarr", other, np.ones((n, 5)))
    with pytest.raises(UserError, match="has 5 features that differ from the 2"):
        read_embeddings({"a": first, "b": wider})
