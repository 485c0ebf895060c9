"""Columns of tables appended to stores; stores in other readers."""

import json
import shutil
import warnings

import anndata
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dynaclr.config import UserError
from dynaclr.evaluation import append_columns
from dynaclr.evaluation.annotate import _write_all
from dynaclr.io.artifacts import digest_path, read_digest, write_digest
from dynaclr.io.label_tables import read_label_table

KEY = ["experiment", "fov", "track_id", "t"]


@pytest.fixture
def stores(synthetic, tmp_path):
    """Copies of the stores of experiments a and b."""
    made = [tmp_path / f"{name}.zarr" for name in "ab"]
    for path in made:
        shutil.copytree(synthetic.stores["seed0"][path.stem], path)
    return made


def obs_of(path):
    return anndata.read_zarr(path).obs


def table_of(stores, folder, **columns):
    """A table of all observations of the stores, shuffled, and some that no store has."""
    rows = pd.concat([obs_of(path)[KEY] for path in stores]).assign(**columns)
    extra = rows.head(3).assign(track_id=9999)
    shuffled = pd.concat([rows, extra]).sample(frac=1, random_state=0)
    shuffled.to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def test_values_reach_their_observations(stores, tmp_path):
    rows = pd.concat([obs_of(path)[KEY] for path in stores])
    score = rows["track_id"].to_numpy() * 100.0 + rows["t"].to_numpy()
    state = np.where(rows["t"] > 2, "late", "early")
    table = table_of(stores, tmp_path, score=score, state=state)
    matched = append_columns(stores, table)
    for path in stores:
        obs = obs_of(path)
        assert matched[str(path)] == len(obs)
        np.testing.assert_array_equal(obs["score"], obs["track_id"] * 100.0 + obs["t"])
        assert (obs["state"].astype(str) == np.where(obs["t"] > 2, "late", "early")).all()
        appended = json.loads(anndata.read_zarr(path).uns["dynaclr"])["appended"]
        assert [(one["table"], one["key"], one["columns"]) for one in appended] == [
            ("table.csv", KEY, ["score", "state"])
        ]
        assert appended[0]["digest"] == digest_path(table)


def test_blank_lines_leave_whole_numbers_whole(stores, tmp_path):
    (tmp_path / "table.csv").write_text("fov,track_id,n\n\nA/1/0, 1, 2\n\nA/1/0,9999,3\n\n")
    assert append_columns(stores[:1], tmp_path / "table.csv")[str(stores[0])] > 1
    labels = read_label_table(tmp_path / "table.csv").labels
    assert labels["n"].to_dict() == {3: 2, 5: 3}
    assert labels["n"].dtype == np.int64


def test_a_table_of_tracks_gives_all_their_frames_a_value_and_others_none(stores, tmp_path):
    table = tmp_path / "tracks.csv"
    table.write_text("experiment,fov,track_id,fate\na,A/1/0,1,divides\n")
    append_columns(stores[:1], table)
    obs = obs_of(stores[0])
    mine = (obs["fov"] == "A/1/0") & (obs["track_id"] == 1)
    assert mine.sum() > 1
    assert (obs.loc[mine, "fate"] == "divides").all()
    assert obs.loc[~mine, "fate"].isna().all()


def test_predictions_bring_their_provenance(stores, tmp_path):
    rows = obs_of(stores[0])[KEY].assign(predicted="x", probability_x=0.5)
    provenance = json.dumps({"classifier": "0123"}).encode()
    arrow = pa.Table.from_pandas(rows.reset_index(drop=True), preserve_index=False)
    arrow = arrow.replace_schema_metadata({**arrow.schema.metadata, b"dynaclr": provenance})
    pq.write_table(arrow, tmp_path / "p.parquet")
    append_columns(stores[:1], tmp_path / "p.parquet", columns=["predicted"])
    store = anndata.read_zarr(stores[0])
    assert "predicted" in store.obs
    assert "probability_x" not in store.obs
    provenance = json.loads(store.uns["dynaclr"])
    assert provenance["appended"][0]["provenance"] == {"classifier": "0123"}
    assert provenance["checkpoint"] == "0123", "what was there before stays"


def test_an_error_in_one_store_leaves_all_untouched(stores, tmp_path):
    before = [digest_path(path) for path in stores]
    table = tmp_path / "table.csv"
    table.write_text("experiment,fov,track_id,fate\na,A/1/0,1,divides\n")
    with pytest.raises(UserError, match=r"none of its 1 rows.*b\.zarr"):
        append_columns(stores, table)
    assert [digest_path(path) for path in stores] == before


def test_a_store_that_cannot_be_written_leaves_all_untouched(stores):
    before = [digest_path(path) for path in stores]
    opened = {path: anndata.read_zarr(path) for path in stores}
    opened[stores[1]].uns["unwritable"] = object()
    with pytest.raises(Exception, match="unwritable"):
        _write_all(opened, {})
    assert [digest_path(path) for path in stores] == before
    assert sorted(path.name for path in stores[0].parent.iterdir()) == ["a.zarr", "b.zarr"]


def test_digest_file_follows_the_store(stores, tmp_path):
    write_digest(stores[0])
    append_columns(stores, table_of(stores, tmp_path, score=1.0))
    assert read_digest(stores[0]) == digest_path(stores[0])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "fov,track_id,x\nA/1/0,1,2\nA/1/0,1,3\n",
            r"row 3: fov A/1/0, track_id 1 is in row 2 already \(1 rep",
        ),
        ("fov,track_id,hours\nA/1/0,1,2\n", r"obs has hours already"),
        ("fov,track_id,x\nA/1/0,one,2\n", r"row 2: track_id is 'one', not a whole number"),
        ("fov,track_id,x\nA/1/0,1,2\n\nA/1/0,one,2\n", r"row 4: track_id is 'one'"),
        ("fov,track_id\nA/1/0,1\n", r"has no column besides its key"),
        ("fov,x\n", r"has no value of x. Label some rows"),
        ("fov,area/um2\nA/1/0,3\n", r"column 'area/um2' cannot be the name of a column in AnnData"),
        ("fov,track_id,x\nA/1/0,99999999999999999999,3\n", r"row 2: track_id is '9+', not a whole"),
        ("track_id,t,x\n1,0,3\n", r"no column 'fov' or 'fov_name'.*a\.zarr has 4 fields of view"),
        ("place,x\nA/1/0,1\n", r"has none of experiment, fov, track_id, t, only place, x"),
    ],
)
def test_error_messages(stores, tmp_path, text, message):
    (tmp_path / "table.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        append_columns(stores[:1], tmp_path / "table.csv")


def test_a_table_without_experiments_is_of_one(stores, tmp_path):
    (tmp_path / "table.csv").write_text("fov,track_id,x\nA/1/0,1,2\n")
    with pytest.raises(UserError, match=r"no column .experiment..* 2 experiments"):
        append_columns(stores, tmp_path / "table.csv")


def test_text_is_stored_as_typed_and_values_are_counted(stores, tmp_path):
    text = "fov_name,track_id,t,fate,empty\n/A/1/0,1,0,NA,\n/A/1/0,1,1,007,\n/A/1/0,1,2,,\n"
    (tmp_path / "table.csv").write_text(text)
    assert append_columns(stores[:1], tmp_path / "table.csv") == {str(stores[0]): 2}
    obs = obs_of(stores[0])
    assert obs["fate"].dropna().astype(str).tolist() == ["NA", "007"]
    assert set(obs.loc[obs["fate"].notna(), "fov"]) == {"A/1/0"}


def test_columns_are_replaced_only_when_asked(stores, tmp_path):
    append_columns(stores, table_of(stores, tmp_path, score=1.0))
    again = table_of(stores, tmp_path, score=2.0)
    with pytest.raises(UserError, match="obs has score already"):
        append_columns(stores, again)
    append_columns(stores, again, replace=True)
    assert (obs_of(stores[0])["score"] == 2.0).all()
    hours = table_of(stores, tmp_path, hours=0.0)
    with pytest.raises(UserError, match="obs has hours already"):
        append_columns(stores, hours, columns=["hours"], replace=True)


def test_stores_and_maps_work_in_scanpy(stores, evaluated, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import scanpy as sc

        store = anndata.read_zarr(stores[0])
        sc.pp.neighbors(store, n_neighbors=5, use_rep="X")
        maps = sc.read_h5ad(evaluated / "maps.h5ad")
        # Neighbours of the principal components that are there, by the name that scanpy expects.
        sc.pp.neighbors(maps, n_neighbors=5)
        assert maps.uns["neighbors"]["params"].get("use_rep", "X_pca") == "X_pca"
        colors = ["experiment", "condition", "hours", "responder (truth)"]
        sc.pl.umap(maps, color=colors, show=False)
    assert store.obsp["connectivities"].nnz > 0


def test_maps_follow_what_cellxgene_reads(evaluated):
    """Its ``launch`` needs unique names and maps of finite numbers under ``X_``."""
    maps = anndata.read_h5ad(evaluated / "maps.h5ad")
    assert maps.obs_names.is_unique
    assert maps.var_names.is_unique
    assert {"X_pca", "X_umap", "X_umap_untrained", "X_umap_intensity"} <= set(maps.obsm)
    for name, map_ in maps.obsm.items():
        assert name.startswith("X_")
        assert map_.shape[1] >= 2
        assert np.isfinite(map_).all()
    text = maps.obs.select_dtypes(exclude="number")
    assert all(isinstance(kind, pd.CategoricalDtype) for kind in text.dtypes)
