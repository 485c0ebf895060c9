"""Merged indexes: numbering, types, split, digests."""

import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_examples import FAMILY, TWO_WELLS, make_experiment

from dynaclr.config import UserError
from dynaclr.config.columns import UNKNOWN
from dynaclr.index import build_index, merge_indexes
from dynaclr.index.columns import DICTIONARY, SCHEMA, text_column
from dynaclr.index.lineage import build_forest
from dynaclr.index.merge import collate
from dynaclr.io.artifacts import digest_path, read_digest, read_json, write_digest

CONDITIONS = {"mock": ["A/1"], "infected": ["B/1"]}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Folder of three experiments' results; the last has one field of view and other columns."""
    root = tmp_path_factory.mktemp("merge")
    for entry in [
        make_experiment(root, TWO_WELLS, "b", condition_wells=CONDITIONS, metadata={"rep": 1}),
        make_experiment(root, TWO_WELLS, "a", condition_wells=CONDITIONS, start_hpi=-3, moi=5),
        make_experiment(
            root, {"A/1/0": FAMILY}, "c", organelle="ER", metadata={"rep": "x", "dose": 2.5}
        ),
    ]:
        build_index(entry, root / "results" / entry.name)
    return root / "results"


@pytest.fixture
def built(results, tmp_path):
    """Folders of the results, free to be changed."""
    copy = shutil.copytree(results, tmp_path / "results")
    return [copy / name for name in "bac"]


def read(folder):
    return pa.ipc.open_file(pa.memory_map(str(folder / "index.arrow")))


def test_products_and_manifest(built, tmp_path):
    out = tmp_path / "collection"
    manifest = merge_indexes(built, out, train=["a", "b"], validation=["c"])
    assert sorted(path.name for path in out.iterdir()) == [
        "index.arrow", "index.arrow.digest", "manifest.json", "registry.json"
    ]  # fmt: skip
    assert read_json(out / "manifest.json") == manifest
    assert (
        manifest["digest"] == read_digest(out / "index.arrow") == digest_path(out / "index.arrow")
    )
    whole = {"rows": 72, "tracks": 16, "lineages": 8, "fovs": 4}
    none = dict.fromkeys(whole, 0)
    assert manifest["rows"] == 162
    assert manifest["experiments"]["a"] == {
        "digest": digest_path(built[1] / "cells.parquet"), "train": whole, "validation": none
    }  # fmt: skip
    assert manifest["experiments"]["c"]["validation"] == {
        "rows": 18, "tracks": 4, "lineages": 2, "fovs": 1
    }  # fmt: skip
    assert str(tmp_path) not in (out / "manifest.json").read_text()
    assert [entry["name"] for entry in read_json(out / "registry.json")] == ["a", "b", "c"]


def test_rows_numbers_and_types(built, tmp_path):
    merge_indexes(built, tmp_path / "out", train=["a", "b"], validation=["c"])
    reader = read(tmp_path / "out")
    assert reader.num_record_batches == 1
    batch = reader.get_batch(0)
    assert batch.schema.names == [*SCHEMA.names, "dose", "rep", "split"]
    assert all(column.null_count == 0 for column in batch.columns)
    for name in batch.schema.names:
        if batch.schema.field(name).type == DICTIONARY:
            categories = batch[name].dictionary.to_pylist()
            assert categories == sorted(categories)
        else:
            batch[name].to_numpy(zero_copy_only=True)
    cells = batch.to_pandas()
    start = 0
    lineages = tracks = 0
    for name in ("a", "b", "c"):
        source = pq.read_table(tmp_path / "results" / name / "cells.parquet").to_pandas()
        part = cells.iloc[start : start + len(source)]
        assert (part["experiment"] == name).all()
        for column in ("fov", "condition", "t", "hours", "track_id", "y", "frames_to_division"):
            assert part[column].tolist() == source[column].tolist()
        assert (part["lineage_id"].to_numpy() == source["lineage_id"] + lineages).all()
        assert (part["branch"].to_numpy() == source["branch"] + tracks).all()
        assert (part["branch_end"].to_numpy() == source["branch_end"] + tracks).all()
        lineages += source["lineage_id"].nunique()
        tracks += source["branch"].nunique()
        start += len(source)
    assert start == len(cells)
    assert cells.groupby("lineage_id")["experiment"].nunique().max() == 1


def test_what_an_experiment_does_not_say(built, tmp_path):
    merge_indexes(built, tmp_path / "out", train=["a", "b"], validation=["c"])
    cells = read(tmp_path / "out").get_batch(0).to_pandas().groupby("experiment", observed=True)
    first = cells.first()
    assert first["organelle"].tolist() == [UNKNOWN, UNKNOWN, "ER"]
    assert first["rep"].tolist() == [UNKNOWN, "1", "x"]
    np.testing.assert_array_equal(first["moi"], [5, np.nan, np.nan])
    np.testing.assert_array_equal(first["dose"], [np.nan, np.nan, 2.5])


def test_bytes_do_not_depend_on_the_order_of_folders(built, tmp_path):
    split = {"validation_fov_fraction": 0.5, "seed": 4}
    merge_indexes(built, tmp_path / "one", train=["a", "b", "c"], **split)
    merge_indexes(built[::-1], tmp_path / "two", train=["c", "b", "a"], **split)
    assert digest_path(tmp_path / "one") == digest_path(tmp_path / "two")


def test_split_by_fields_of_view(built, tmp_path):
    manifest = merge_indexes(
        built, tmp_path / "out", train=["a", "b", "c"], validation_fov_fraction=0.5
    )
    cells = read(tmp_path / "out").get_batch(0).to_pandas()
    sides = cells.groupby(["experiment", "lineage_id"], observed=True)["split"].nunique()
    assert (sides == 1).all()
    validating = cells[cells["split"] == "validation"]
    found = validating.groupby("experiment", observed=True)["fov"].unique().map(sorted).to_dict()
    assert found == manifest["split"]["validation_fovs"]
    assert set(found) == {"a", "b"}
    balance = validating.groupby(["experiment", "condition"], observed=True)["fov"].nunique()
    assert balance.tolist() == [1, 1, 1, 1]


def test_split_by_lineages(built, tmp_path):
    names = ["a", "b", "c"]
    by = {"train": names, "validation_lineage_fraction": 0.5}
    manifest = merge_indexes(built, tmp_path / "out", **by)
    cells = read(tmp_path / "out").get_batch(0).to_pandas()
    sides = cells.groupby(["experiment", "lineage_id"], observed=True)["split"].nunique()
    assert (sides == 1).all(), "no lineage is on both sides"
    shares = cells.drop_duplicates("lineage_id").groupby("experiment", observed=True)["split"]
    assert shares.apply(lambda s: abs((s == "validation").sum() - 0.5 * len(s)) <= 0.5).all()
    assert set(cells["experiment"]) == set(manifest["split"]["validation_lineages"]) == set(names)
    roots = cells[(cells["split"] == "validation") & (cells["generation"] == 0)]
    found = (roots["fov"].astype(str) + "/" + roots["track_id"].astype(str)).groupby(
        roots["experiment"], observed=True
    )
    assert found.unique().map(sorted).to_dict() == manifest["split"]["validation_lineages"]
    merge_indexes(
        built[::-1], tmp_path / "again", train=names[::-1], validation_lineage_fraction=0.5
    )
    assert digest_path(tmp_path / "again") == digest_path(tmp_path / "out")
    chosen = {
        str(merge_indexes(built, tmp_path / "n", **by, seed=seed)["split"]["validation_lineages"])
        for seed in range(5)
    }
    assert len(chosen) > 1


def test_an_edited_table_is_an_error(built, tmp_path):
    path = built[0] / "cells.parquet"
    pq.write_table(pq.read_table(path).slice(1), path)
    with pytest.raises(UserError, match=r"b/cells\.parquet: was changed after it was made"):
        merge_indexes(built, tmp_path / "out", train=["a", "b"], validation=["c"])
    write_digest(path)
    with pytest.raises(UserError, match="was changed after it was made"):
        merge_indexes(built, tmp_path / "out", train=["a", "b"], validation=["c"])


def test_missing_and_double_indexes(built, tmp_path):
    (built[2] / "cells.parquet.digest").unlink()
    with pytest.raises(UserError, match="3 problems") as error:
        merge_indexes([*built, built[0], tmp_path / "no"], tmp_path / "out", ["a"], ["b"])
    for what in ("no digest file", "experiment b is given twice", "no such file"):
        assert what in str(error.value)
    assert not (tmp_path / "out").exists()


@st.composite
def experiments(draw):
    """Cell tables of random forests, each numbered from 0, as an experiment's index has them."""
    cells = {}
    for name in draw(st.lists(st.sampled_from("abcdef"), min_size=1, unique=True)):
        parent = [-1] + [draw(st.integers(-1, i)) for i in range(draw(st.integers(0, 6)))]
        forest = build_forest(np.array(parent))
        n = len(parent)
        columns = {
            field.name: np.zeros(n, field.type.to_pandas_dtype())
            for field in SCHEMA
            if not pa.types.is_dictionary(field.type)
        }
        columns |= {
            "lineage_id": forest.lineage,
            "branch": forest.branch,
            "branch_end": forest.branch_end,
        }
        text = {
            field.name: text_column(np.zeros(n), [name])
            for field in SCHEMA
            if pa.types.is_dictionary(field.type)
        }
        cells[name] = pa.table(columns | text)
    return cells


@settings(max_examples=60, deadline=None)
@given(experiments())
def test_descent_holds_across_the_collection(cells):
    merged = collate(cells)
    expected = pd.concat(
        [cells[name].to_pandas() for name in sorted(cells)], keys=sorted(cells), names=["of"]
    ).reset_index()
    found = merged.to_pandas()
    for key in ("lineage_id", "branch"):
        assert found[key].nunique() == len(expected[["of", key]].drop_duplicates())
        assert sorted(found[key].unique()) == list(range(found[key].nunique()))

    def descends(frame):
        branch = frame["branch"].to_numpy()
        inside = branch[:, None] <= branch
        return inside & (branch < frame["branch_end"].to_numpy()[:, None])

    of = expected["of"].to_numpy()
    np.testing.assert_array_equal(
        descends(found), descends(expected) & (of[:, None] == of), err_msg="descendants"
    )
