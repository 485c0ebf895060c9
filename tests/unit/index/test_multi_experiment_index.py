"""The index over experiments: columns, anchors, markers, pickling."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from index_examples import FAMILY, TWO_WELLS, make_experiment

from dynaclr.config import ExperimentRegistry, UserError
from dynaclr.index import (
    MarkerPairs,
    MultiExperimentIndex,
    border_shift,
    build_index,
    merge_indexes,
    pixel_of,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("multi")


@pytest.fixture(scope="module")
def entries(root):
    phase = {"name": "Phase", "marker": "phase"}
    return [
        make_experiment(
            root, TWO_WELLS, "a", condition_wells={"mock": ["A/1"], "infected": ["B/1"]}
        ),
        make_experiment(
            root,
            TWO_WELLS,
            "b",
            start_hpi=10,
            channels=[phase, {"name": "GFP", "marker": "virus", "wells": ["B/1"]}],
            condition_wells={"mock": ["A/1"], "treated": ["B/1"]},
        ),
    ]


@pytest.fixture(scope="module")
def results(root, entries):
    for entry in entries:
        build_index(entry, root / "results" / entry.name)
    return root / "results"


@pytest.fixture(scope="module")
def index(root, results):
    folders = [results / "a", results / "b"]
    merge_indexes(folders, root / "collection", ["a", "b"], validation_fov_fraction=0.25)
    return MultiExperimentIndex.from_merged(root / "collection")


def test_columns_are_views_of_the_file(index):
    assert len(index) == 144
    assert index.experiments == ["a", "b"]
    for name in ("t", "hours", "lineage_id", "y", "moi"):
        column = index.column(name)
        assert len(column) == len(index)
        assert not column.flags.owndata
        assert not column.flags.writeable
    codes, categories = index.codes("condition")
    assert categories == ["infected", "mock", "treated"]
    assert not codes.flags.owndata
    frame = index.tracks
    assert frame["condition"].tolist() == [categories[code] for code in codes]
    assert np.shares_memory(frame["hours"].to_numpy(), index.column("hours"))
    assert index.table.num_rows == len(index)


def test_asking_for_the_wrong_column(index):
    with pytest.raises(UserError, match=r"no column 'hour'\. Did you mean 'hours'"):
        index.column("hour")
    with pytest.raises(UserError, match="is text"):
        index.column("well")
    with pytest.raises(UserError, match="holds numbers"):
        index.codes("t")


def test_pickle_opens_the_file_again(index, monkeypatch):
    index.tracks  # noqa: B018
    data = pickle.dumps(index)
    assert len(data) < 400
    monkeypatch.chdir("/")
    again = pickle.loads(data)
    pd.testing.assert_frame_equal(again.tracks, index.tracks)
    assert again.markers == index.markers


def test_sources_agree(index, entries, results):
    registry = ExperimentRegistry(entries)
    others = [
        MultiExperimentIndex.from_registry(registry),
        MultiExperimentIndex.from_registry(registry, results),
        MultiExperimentIndex.from_parquet([results / "b", results / "a/cells.parquet"], registry),
    ]
    expected = index.tracks.drop(columns="split")
    for other in others:
        pd.testing.assert_frame_equal(other.tracks, expected)
        assert other.markers == index.markers
        again = pickle.loads(pickle.dumps(other))
        pd.testing.assert_frame_equal(again.tracks, expected)
        with pytest.raises(UserError, match="no split"):
            other.rows("train")


def test_sources_that_are_wrong(results, tmp_path):
    with pytest.raises(UserError, match=r"2 problems(.|\n)*given twice(.|\n)*no such file"):
        MultiExperimentIndex.from_parquet([results / "a", results / "a", results / "c.parquet"])
    with pytest.raises(UserError, match="no experiment is given"):
        MultiExperimentIndex.from_parquet([])
    with pytest.raises(UserError, match="no such file"):
        MultiExperimentIndex.from_merged(tmp_path / "none")
    broken = tmp_path / "broken.arrow"
    broken.write_bytes(b"ARROW1 and nothing else")
    with pytest.raises(UserError, match=r"broken.arrow: cannot be read"):
        MultiExperimentIndex.from_merged(broken)
    with pytest.raises(UserError, match=r"broken.arrow: cannot be read"):
        MultiExperimentIndex.from_parquet([broken])
    empty = [make_experiment(tmp_path, {"A/1/0": ""}, name) for name in "ab"]
    with pytest.raises(UserError, match="2 problems"):
        MultiExperimentIndex.from_registry(ExperimentRegistry(empty))
    other = ExperimentRegistry(empty[1:])
    with pytest.raises(UserError, match="registry has no experiment a"):
        MultiExperimentIndex.from_parquet([results / "a"], other).markers  # noqa: B018
    with pytest.raises(UserError, match="entries are not known"):
        MultiExperimentIndex.from_parquet([results / "a"]).markers  # noqa: B018


def test_split_rows(index):
    train, validation = index.rows("train"), index.rows("validation")
    assert sorted([*train, *validation]) == list(range(len(index)))
    assert set(index.tracks["split"].to_numpy()[validation]) == {"validation"}
    assert len(validation) == 2 * len(FAMILY)
    with pytest.raises(UserError, match="no side 'val'"):
        index.rows("val")


def test_filters_touch_what_they_name(index):
    tracks = index.tracks
    a, b = (tracks["experiment"] == "a"), (tracks["experiment"] == "b")

    def expect(rows, passes):
        assert rows.rows.tolist() == np.flatnonzero(passes).tolist()

    assert len(index.valid_anchors()) == len(index)
    expect(index.valid_anchors(include_wells={"a": ["B/1"]}), b | (tracks["well"] == "B/1"))
    expect(index.valid_anchors(exclude_fovs={"b": ["A/1/1"]}), a | (tracks["fov"] != "A/1/1"))
    expect(index.valid_anchors(query="condition == 'mock' and t > 3"),
           (tracks["condition"] == "mock") & (tracks["t"] > 3))  # fmt: skip
    expect(index.valid_anchors(split="train"), tracks["split"] == "train")
    mask = np.arange(len(index)) % 3 == 0
    expect(index.valid_anchors(has_positive=mask, query="t == 4"), mask & (tracks["t"] == 4))


def test_what_filters_left_out_is_counted(index):
    anchors = index.valid_anchors(
        include_wells={"a": ["A/1"]}, query="t < 5", patch_size=(18, 18), max_border_shift=0
    )
    kept = index.tracks[(index.tracks["experiment"] == "b") | (index.tracks["well"] == "A/1")]
    early = kept[kept["t"] < 5]
    fits = early["y"].between(9, 31) & early["x"].between(9, 51)
    assert anchors.left_out == {
        "include_wells": 36,
        "query": len(kept) - len(early),
        "border": int((~fits).sum()),
    }
    assert len(anchors) == fits.sum()


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"include_wells": {"aa": ["A/1"]}}, "include_wells: no experiment 'aa'"),
        ({"include_wells": {"a": ["A/2"]}}, "include_wells: experiment a: no well A/2"),
        ({"exclude_fovs": {"a": ["A/1/9"]}}, "no field of view A/1/9. Did you mean 'A/1/"),
        ({"query": "hourz > 1"}, "query: .hourz > 1.: no column .hourz.. Did you mean .hours."),
        ({"query": "@pytest"}, "query .@pytest. is no condition"),
        ({"query": "t + 1"}, "not true or false for each row"),
        ({"patch_size": (41, 10)}, "experiment a, field of view A/1/0: the image of 40 x 60"),
        ({"patch_size": (8, 8), "image_shapes": {}}, "nothing for a A/1/0"),
        ({"split": "test"}, "no side 'test'"),
        ({"include_wells": {"a": "A/1"}}, "experiment a: 'A/1' is no list. Give a list"),
        ({"include_wells": {"a": [1]}}, "include_wells: experiment a: no well 1"),
        ({"exclude_fovs": {"a": None}}, "exclude_fovs: experiment a: None is no list"),
        ({"exclude_fovs": ["A/1/0"]}, r"exclude_fovs: \['A/1/0'\] is no mapping"),
        ({"max_border_shift": 3}, "max_border_shift: there is no patch_size to move"),
        ({"patch_size": (8, 8), "max_border_shift": -1}, "max_border_shift: it is -1 pixels"),
        ({"patch_size": (0, 0)}, r"A/1/0: patch_size is \[0, 0\]. Give .* 1 pixel or more"),
        ({"patch_size": (8, -8)}, r"patch_size is \[8, -8\]"),
        ({"patch_size": 8}, "patch_size: 8 is no pair"),
    ],
)
def test_filters_that_are_wrong(index, filters, message):
    with pytest.raises(UserError, match=message):
        index.valid_anchors(**filters)


@pytest.mark.parametrize("mask", [np.ones(3, bool), np.ones(144)])
def test_a_mask_that_is_wrong(index, mask):
    with pytest.raises(ValueError, match="has_positive"):
        index.valid_anchors(has_positive=mask)


def test_patches_move_inside(index):
    anchors = index.valid_anchors(patch_size=(24, 16), max_border_shift=3)
    frame = anchors.frame(["experiment", "y", "x", "shift_y", "shift_x"])
    assert list(frame) == ["experiment", "y", "x", "shift_y", "shift_x"]
    assert frame["experiment"].cat.categories.tolist() == ["a", "b"]
    top = pixel_of(frame["y"]) + frame["shift_y"] - 12
    left = pixel_of(frame["x"]) + frame["shift_x"] - 8
    assert top.between(0, 40 - 24).all()
    assert left.between(0, 60 - 16).all()
    assert frame["shift_y"].abs().max() == 2
    all_rows = index.valid_anchors(patch_size=(24, 16))
    assert len(all_rows) == len(index) > len(anchors)
    beyond = (np.abs(all_rows.shift_y) > 3) | (np.abs(all_rows.shift_x) > 3)
    assert anchors.left_out == {"border": int(beyond.sum())}


def test_image_shapes_may_be_given(index):
    shapes = {(e, f): (400, 600) for e in "ab" for f in TWO_WELLS}
    anchors = index.valid_anchors(
        patch_size=(16, 16), max_border_shift=0, image_shapes=shapes, query="t == 0"
    )
    assert len(anchors) == 8


@settings(max_examples=200, deadline=None)
@given(st.floats(-0.5, 99.5), st.integers(1, 100))
def test_border_shift_is_the_smallest_that_fits(position, patch):
    (shift,) = border_shift([position], patch, 100)
    start = int(np.floor(position + 0.5)) - patch // 2
    fitting = [s for s in range(-150, 151) if 0 <= start + s <= 100 - patch]
    assert shift == min(fitting, key=abs)


def test_markers_by_experiment_and_well(index):
    both = ["phase", "reporter"]
    assert index.markers == {
        "a": {"A/1": both, "B/1": both},
        "b": {"A/1": ["phase"], "B/1": ["phase", "virus"]},
    }


def test_pairs_of_rows_and_markers(index):
    rows = index.rows("train")[::3]
    pairs = index.marker_pairs(rows)
    tracks = index.tracks.iloc[rows]
    expected = {
        (row, marker)
        for row, e, w in zip(rows, tracks["experiment"], tracks["well"], strict=True)
        for marker in index.markers[e][w]
    }
    found_rows, found = pairs[np.arange(len(pairs))]
    listed = [(row, pairs.markers[m]) for row, m in zip(found_rows, found, strict=True)]
    assert set(listed) == expected
    assert len(listed) == len(expected) == len(pairs)
    assert len(index.marker_pairs()) == 36 * 4 + 36 + 72
    with pytest.raises(IndexError):
        pairs[[len(pairs)]]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 4), st.data())
def test_pairs_equal_the_written_out_list(group, n_markers, data):
    has = np.array(data.draw(st.lists(
        st.lists(st.booleans(), min_size=n_markers, max_size=n_markers), min_size=4, max_size=4
    )))  # fmt: skip
    rows = np.arange(len(group)) * 2
    pairs = MarkerPairs(rows, np.array(group, int), has, list("abcd")[:n_markers])
    expected = [(2 * i, m) for i, g in enumerate(group) for m in range(n_markers) if has[g, m]]
    found = pairs[np.arange(len(pairs))]
    assert list(zip(*(part.tolist() for part in found), strict=True)) == expected


def test_summary(index):
    table = index.summary()
    assert table.index.tolist() == ["a", "b"]
    assert table.loc["b"].to_dict() == {
        "rows": 72, "tracks": 16, "lineages": 8, "fovs": 4, "wells": 2, "frames": 10,
        "first_hour": 10.0, "last_hour": 14.5, "conditions": "mock, treated",
        "train": 54, "validation": 18,
    }  # fmt: skip
