"""An experiment's index: content, bytes, rules that need the plate, and the summary."""

import json
import re

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from index_examples import FAMILY, SHAPE, make_experiment

from dynaclr.config import UserError
from dynaclr.index import build_index, index_experiment
from dynaclr.index.columns import SCHEMA
from dynaclr.io.artifacts import digest_path, read_digest, read_json

MISSING_PARENT = FAMILY.assign(parent_track_id=FAMILY["parent_track_id"].replace(1, 99))


def edited(**columns):
    """The family with changed values, each a list of (row, value)."""
    table = FAMILY.copy()
    for name, changes in columns.items():
        for row, value in changes:
            table.loc[row, name] = value
    return table


def test_the_table_of_one_family(experiment):
    entry = experiment({"A/1/0": FAMILY}, organelle="ER", moi=2, metadata={"rep": 1, "fixed": True})
    table, summary = index_experiment(entry)
    assert table.schema.names == [*SCHEMA.names, "fixed", "rep"]
    assert table.schema.field("y").type == "float"
    cells = table.to_pandas().set_index(["track_id", "t"])
    assert cells.index.get_level_values("t").is_monotonic_increasing
    assert len(cells) == len(FAMILY)
    assert cells["hours"].tolist() == [2 + t / 2 for t in cells.index.get_level_values("t")]
    by_track = cells.groupby("track_id").first()
    assert by_track["lineage_id"].tolist() == [0, 0, 0, 1]
    assert by_track["generation"].tolist() == [0, 1, 1, 0]
    assert by_track["branch"].tolist() == [0, 1, 2, 3]
    assert by_track["branch_end"].tolist() == [3, 2, 3, 4]
    assert by_track["parent_track_id"].tolist() == [-1, 1, 1, -1]
    assert by_track["track_length"].tolist() == [4, 6, 4, 4]
    assert cells.loc[1, "frames_to_division"].tolist() == [3, 2, 1, 0]
    assert (cells.loc[[2, 3, 7], "frames_to_division"] == -1).all()
    constants = ["experiment", "well", "fov", "condition", "organelle", "moi", "rep", "fixed"]
    assert cells[constants].drop_duplicates().to_numpy().tolist() == [
        ["one", "A/1", "A/1/0", "mock", "ER", 2.0, 1, "true"]
    ]
    assert cells["microscope"].isna().all()
    assert summary["counts"]["per_fov"]["A/1/0"] == {
        "rows": 18, "tracks": 4, "lineages": 2, "divisions": 1, "fovs": 1
    }  # fmt: skip


def test_rows_are_sorted_and_numbers_run_over_all_fields_of_view(experiment):
    entry = experiment({"B/1/0": FAMILY, "A/1/1": FAMILY, "A/1/0": FAMILY})
    cells = index_experiment(entry)[0].to_pandas()
    order = list(zip(cells["fov"].astype(str), cells["t"], cells["branch"], strict=True))
    assert order == sorted(order)
    assert sorted(cells["branch"].unique()) == list(range(12))
    assert sorted(cells["lineage_id"].unique()) == list(range(6))
    assert cells.groupby("lineage_id")["fov"].nunique().max() == 1
    assert (cells.groupby("fov", observed=True)["lineage_id"].min() == [0, 2, 4]).all()


def test_written_products(experiment, tmp_path):
    (tmp_path / "truth.csv").touch()
    entry = experiment(
        {"A/1/0": FAMILY},
        truth=tmp_path / "truth.csv",
        pixel_size_um=1.0,
        simulation={"seed": 3, "infected_conditions": []},
    )
    summary = build_index(entry, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "cells.parquet", "cells.parquet.digest", "summary.json"
    ]  # fmt: skip
    assert read_json(tmp_path / "out" / "summary.json") == json.loads(json.dumps(summary))
    assert summary["digest"] == read_digest(tmp_path / "out" / "cells.parquet")
    assert not {"annotations", "truth", "simulation"} & set(summary["entry"])
    assert summary["plate"] == {
        "zarr_format": 2,
        "channels": ["Phase", "GFP"],
        "shape_tczyx": list(SHAPE),
        "pixel_size_um": 1.0,
        "image_shapes": {"A/1/0": [40, 60]},
    }
    written = pq.read_table(tmp_path / "out" / "cells.parquet")
    assert written.to_pandas().equals(index_experiment(entry)[0].to_pandas())


def test_bytes_depend_on_content_alone(tmp_path):
    """Neither row order, file name, column order, folder nor Zarr format changes a byte."""
    first = make_experiment(tmp_path / "x", {"A/1/0": FAMILY, "A/2/0": FAMILY})
    shuffled = FAMILY.sample(frac=1, random_state=0)[list(FAMILY.columns)[::-1]]
    second = make_experiment(
        tmp_path / "elsewhere", {"A/2/0": shuffled, "A/1/0": shuffled}, version="0.5"
    )
    table = second.tracks_path / "A/1/0/tracks.csv"
    table.rename(table.with_name("other.csv"))
    moved = make_experiment(tmp_path / "y", {"A/1/0": edited(y=[(3, 11.0)]), "A/2/0": FAMILY})
    for entry, name in ((first, "first"), (first, "again"), (second, "second"), (moved, "moved")):
        build_index(entry, tmp_path / name)
    for product in ("cells.parquet", "summary.json"):
        digests = {digest_path(tmp_path / name / product) for name in ("first", "again")}
        assert len(digests) == 1
    cells = {name: digest_path(tmp_path / name / "cells.parquet") for name in ("first", "second")}
    assert cells["first"] == cells["second"] != digest_path(tmp_path / "moved/cells.parquet")
    assert read_json(tmp_path / "second/summary.json")["plate"]["zarr_format"] == 3


@pytest.mark.parametrize(
    ("table", "rule", "lines", "parents"),
    [
        (MISSING_PARENT, "parent_missing", [6, 12], {1: -1, 2: -1, 3: -1, 7: -1}),
        (edited(parent_track_id=[(r, 7) for r in range(14, 18)]), "own_parent", [16],
         {1: -1, 2: 1, 3: 1, 7: -1}),
        (edited(parent_track_id=[(5, -1)]), "parent_on_some_rows", [6],
         {1: -1, 2: 1, 3: 1, 7: -1}),
        (edited(parent_track_id=[(r, 3) for r in range(14, 18)]), "parent_starts_after_child",
         [16], {1: -1, 2: 1, 3: 1, 7: -1}),
        (edited(parent_track_id=[(r, 1) for r in range(14, 18)]), "parent_overlaps_child",
         [16], {1: -1, 2: 1, 3: 1, 7: -1}),
    ],
)  # fmt: skip
def test_links_that_are_removed(experiment, table, rule, lines, parents):
    cells, summary = index_experiment(experiment({"A/1/0": table}))
    assert list(summary["repairs"]) == [rule]
    assert summary["repairs"][rule] == {
        "count": len(lines),
        "examples": [{"file": "A/1/0/tracks.csv", "line": line} for line in lines],
    }
    found = cells.to_pandas().groupby("track_id")["parent_track_id"]
    assert (found.nunique() == 1).all()
    assert found.first().to_dict() == parents


def test_a_cycle_names_its_members(experiment):
    table = edited(parent_track_id=[(r, 3) for r in range(4)])
    with pytest.raises(UserError, match=r"tracks\.csv, lines 2, 12: the tracks 1, 3 descend"):
        index_experiment(experiment({"A/1/0": FAMILY, "A/2/0": table}))


def test_two_parents_in_one_track(experiment):
    table = edited(parent_track_id=[(5, 7)])
    with pytest.raises(UserError, match=r"line 6: .* more than one parent_track_id"):
        index_experiment(experiment({"A/1/0": table}))


def test_errors_of_all_files_are_reported_at_once(experiment):
    cycle = edited(parent_track_id=[(r, 3) for r in range(4)])
    entry = experiment({"A/1/0": edited(t=[(0, 99)]), "A/2/0": cycle, "A/3/0": "", "A/4/0": FAMILY})
    (entry.tracks_path / "A/4/0/second.csv").write_text(FAMILY.to_csv(index=False))
    with pytest.raises(UserError, match="4 problems") as error:
        index_experiment(entry)
    for what in ("beyond the movie", "in a circle", "empty", "2 tables"):
        assert what in str(error.value)


def test_fields_of_view_without_tracks_are_counted(experiment):
    entry = experiment({"A/1/0": FAMILY, "A/1/1": None, "A/2/0": "track_id,t,y,x\n"})
    stray = entry.tracks_path / "A/1/7"
    stray.mkdir()
    (stray / "tracks.csv").write_text(FAMILY.to_csv(index=False))
    table, summary = index_experiment(entry)
    assert table["fov"].unique().to_pylist() == ["A/1/0"]
    repairs = {
        rule: [example["file"] for example in found["examples"]]
        for rule, found in summary["repairs"].items()
    }
    assert repairs == {
        "fov_without_tracks": ["A/1/1"],
        "tracks_without_fov": ["A/1/7"],
        "fov_empty": ["A/2/0/tracks.csv"],
        "no_parent_column": ["A/2/0/tracks.csv"],
    }


def test_a_folder_without_table_is_an_error(experiment):
    entry = experiment({"A/1/0": FAMILY, "A/1/1": None})
    (entry.tracks_path / "A/1/1").mkdir()
    with pytest.raises(UserError, match=r"A/1/1: holds no tracking table"):
        index_experiment(entry)


def test_tables_that_match_no_field_of_view(experiment):
    entry = experiment({"A/1/0": FAMILY})
    (entry.tracks_path / "A/1/0").rename(entry.tracks_path / "A/1/000")
    with pytest.raises(UserError, match=r"\(A/1/0\); it has tables for A/1/000"):
        index_experiment(entry)


def test_no_observation_at_all(experiment):
    with pytest.raises(UserError, match="hold no observation"):
        index_experiment(experiment({"A/1/0": "track_id,t,y,x,parent_track_id\n"}))


def test_wells_and_fields_that_are_not_used(experiment):
    fovs = {f"{well}/{i}": FAMILY for well in ("A/1", "A/2", "B/1", "B/2") for i in range(2)}
    entry = experiment(
        fovs,
        condition_wells={"mock": ["A/1", "A/2"], "infected": ["B/1"]},
        include_wells=["A/1", "B/1"],
        exclude_fovs=["A/1/1"],
    )
    table, summary = index_experiment(entry)
    assert table["fov"].unique().to_pylist() == ["A/1/0", "B/1/0", "B/1/1"]
    assert summary["left_out"] == {
        "wells_without_condition": ["B/2"],
        "wells_not_included": ["A/2"],
        "fovs_excluded": ["A/1/1"],
    }
    rows = {name: found["rows"] for name, found in summary["counts"]["per_condition"].items()}
    assert rows == {"infected": 36, "mock": 18}
    assert summary["counts"]["per_well"]["B/1"]["fovs"] == 2
    cells = table.to_pandas()
    assert cells.groupby("condition", observed=True)["well"].unique().map(list).to_dict() == {
        "infected": ["B/1"], "mock": ["A/1"]
    }  # fmt: skip


def test_unreadable_tables_of_unused_fields_do_not_matter(experiment):
    entry = experiment({"A/1/0": FAMILY, "A/1/1": "nonsense"}, exclude_fovs=["A/1/1"])
    assert index_experiment(entry)[1]["repairs"] == {}


def test_everything_excluded(experiment):
    with pytest.raises(UserError, match="no field of view is left"):
        index_experiment(experiment({"A/1/0": FAMILY}, exclude_fovs=["A/1/0"]))


def test_an_unknown_channel(experiment):
    entry = experiment({"A/1/0": FAMILY}, channels=[{"name": "Phse", "marker": "phase"}])
    with pytest.raises(UserError, match=r"no channel 'Phse' in A/1/0 of .*\. Did you mean 'Phase'"):
        index_experiment(entry)


def test_a_channel_that_one_field_of_view_lacks(experiment):
    entry = experiment({"A/1/0": FAMILY, "A/2/0": FAMILY})
    path = entry.data_path / "A/2/0/.zattrs"
    path.write_text(re.sub(r'"GFP"', '"RFP"', path.read_text()))
    with pytest.raises(UserError, match=r"no channel 'GFP' in A/2/0"):
        index_experiment(entry)
    channels = [
        {"name": "Phase", "marker": "phase"},
        {"name": "GFP", "marker": "reporter", "wells": ["A/1"]},
    ]
    entry = entry.model_validate(entry.model_dump() | {"channels": channels})
    assert len(index_experiment(entry)[0]) == 36


def test_positions_may_be_three_dimensional(experiment):
    table = FAMILY.assign(z=np.arange(len(FAMILY)) % 5)
    entry = experiment({"A/1/0": table}, shapes={"A/1/0": (10, 2, 5, 40, 60)})
    cells = index_experiment(entry)[0].to_pandas()
    joined = cells.merge(table, on=["track_id", "t"], suffixes=("", "_source"))
    assert (joined["z"] == joined["z_source"]).all()


def test_movies_of_different_length(experiment):
    entry = experiment({"A/1/0": FAMILY, "A/2/0": FAMILY}, shapes={"A/2/0": (5, 2, 1, 40, 60)})
    with pytest.raises(UserError, match=r"A/2/0/tracks\.csv.*last frame is 4"):
        index_experiment(entry)
    (entry.tracks_path / "A/2/0/tracks.csv").write_text(
        pd.DataFrame(FAMILY[FAMILY["t"] < 5]).to_csv(index=False)
    )
    shapes = index_experiment(entry)[1]["plate"]["shape_tczyx"]
    assert shapes == [[5, 2, 1, 40, 60], [10, 2, 1, 40, 60]]
