"""Tracks as GEFF stores: the same observations as from a table, and every error of a graph."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from index_examples import FAMILY

from dynaclr.config import Problems, UserError
from dynaclr.index import index_experiment
from dynaclr.index.geff import is_geff
from dynaclr.index.repairs import Repairs
from dynaclr.index.tracks import find_table, read_tracks

PIXELS = [
    {"name": "frame", "type": "time", "unit": "frame"},
    {"name": "POSITION_Y", "type": "space", "unit": "pixel"},
    {"name": "POSITION_X", "type": "space", "unit": "pixel", "scale": 0.5},
]


def write_geff(
    path: Path,
    props: dict[str, Any],
    edges: Any,
    node: Any,
    missing: dict[str, Any] | None = None,
    zarr_format: int = 2,
    **facts: Any,
) -> None:
    """Write a graph as the GEFF specification lays it out."""
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    group.attrs["geff"] = {"geff_version": "1.1", "directed": True, "axes": PIXELS} | facts
    arrays = {"nodes/ids": np.asarray(node, np.uint64)}
    arrays["edges/ids"] = np.asarray(edges, np.uint64).reshape(-1, 2)
    arrays |= {f"nodes/props/{name}/values": np.asarray(v) for name, v in props.items()}
    arrays |= {f"nodes/props/{name}/missing": np.asarray(v) for name, v in (missing or {}).items()}
    for name, values in arrays.items():
        group.create_array(name, data=values)


def graph_of(table: pd.DataFrame) -> tuple[dict[str, Any], list[tuple[int, int]], np.ndarray]:
    """Properties, edges and nodes of a tracking table; a node's id is 100 times its track + t."""
    node = (100 * table["track_id"] + table["t"]).to_numpy()
    edges = []
    for _, rows in table.groupby("track_id"):
        own = sorted(node[rows.index])
        edges += list(pairwise(own))
        parent = rows["parent_track_id"].iloc[0]
        if parent >= 0:
            last = table.loc[table["track_id"] == parent, "t"].max()
            edges.append((100 * parent + last, own[0]))
    names = {"frame": "t", "POSITION_Y": "y", "POSITION_X": "x", "track": "track_id"}
    return {name: table[column].to_numpy() for name, column in names.items()}, edges, node


TRACKLETS = {"track_node_props": {"tracklet": "track"}}


@pytest.mark.parametrize("name", ["tracks.geff", "."])
@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_graph_gives_the_index_that_its_table_gives(experiment, tmp_path, name, zarr_format):
    expected, _ = index_experiment(experiment({"A/1/0": FAMILY}, name="table"))
    entry = experiment({"A/1/0": None}, name="graph")
    props, edges, node = graph_of(FAMILY)
    path = entry.tracks_path / "A/1/0" / name
    write_geff(path, props, edges, node, zarr_format=zarr_format, **TRACKLETS)
    assert is_geff(path)
    found, summary = index_experiment(entry)
    assert summary["repairs"] == {}
    columns = [name for name in found.column_names if name != "experiment"]
    assert found.select(columns).equals(expected.select(columns))


@pytest.mark.parametrize("name", ["tracks.zarr", "tracks.geff.zarr", "graph"])
@pytest.mark.parametrize(
    "axes",
    [
        [{"name": "time"}, {"name": "y"}, {"name": "x"}],
        [{"name": "Frame"}, {"name": "row", "type": "space"}, {"name": "col", "type": "space"}],
        [{"name": "n", "type": "time"}, {"name": "cell_y"}, {"name": "cell_x", "unit": "pixel"}],
    ],
)
def test_axes_and_folders_may_have_any_name(tmp_path, name, axes):
    props = {
        axis["name"]: values for axis, values in zip(axes, [(0, 1), (2, 3), (4, 5)], strict=True)
    }
    write_geff(tmp_path / name, props, [(1, 2)], [1, 2], axes=axes)
    (tmp_path / "notes.txt").write_text("made on Monday")
    problems = Problems()
    assert find_table(tmp_path, problems) == tmp_path / name
    rows = read_tracks(tmp_path / name, (10, 1, 40, 60), problems, Repairs())
    assert problems.found == []
    assert (rows.t.tolist(), rows.y.tolist(), rows.x.tolist()) == ([0, 1], [2, 3], [4, 5])


def test_micrometres_of_a_graph_are_converted(tmp_path):
    axes = [PIXELS[0], *({"name": name, "unit": "micrometer"} for name in "yx")]
    props = {"frame": [0, 1], "y": [1.0, 2.0], "x": [3.0, 4.0]}
    write_geff(tmp_path / "tracks.geff", props, [(1, 2)], [1, 2], axes=axes)
    rows = read_tracks(
        tmp_path / "tracks.geff", (10, 1, 40, 60), Problems(), Repairs(), step_um=(1, 0.5, 0.25)
    )
    assert (rows.y.tolist(), rows.x.tolist()) == ([2, 4], [12, 16])


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_tracks_are_the_runs_between_divisions(tmp_path_factory, data):
    """Against a walk from node to node, on forests in random order of nodes and edges."""
    parent = [-1]
    t = [0]
    for number in range(1, data.draw(st.integers(1, 25))):
        parent.append(data.draw(st.integers(-1, number - 1)))
        t.append(t[parent[-1]] + data.draw(st.integers(1, 3)) if parent[-1] >= 0 else 0)
    ids = np.array(data.draw(st.permutations(range(10, 10 + len(t)))))
    edges = [(ids[p], ids[child]) for child, p in enumerate(parent) if p >= 0]
    order = np.array(data.draw(st.permutations(range(len(t)))))
    directed = data.draw(st.booleans())
    if not directed:
        edges = [edge[:: data.draw(st.sampled_from([1, -1]))] for edge in edges]
    path = tmp_path_factory.mktemp("graph") / "tracks.geff"
    props = dict.fromkeys(["POSITION_Y", "POSITION_X"], np.zeros(len(t)))
    props["frame"] = np.array(t)[order]
    write_geff(path, props, edges, ids[order], directed=directed)

    begin, came_from = {}, {}
    for number, p in enumerate(parent):
        goes_on = p >= 0 and parent.count(p) == 1
        begin[number] = begin[p] if goes_on else ids[number]
        came_from[begin[number]] = came_from.get(begin[number], begin[p] if p >= 0 else -1)
    problems, repairs = Problems(), Repairs()
    rows = read_tracks(path, (100, 1, 5, 5), problems, repairs)
    assert (problems.found, repairs.as_dict()) == ([], {})
    found = dict(zip(rows.line, zip(rows.track_id, rows.parent_track_id, strict=True), strict=True))
    assert found == {ids[i]: (begin[i], came_from[begin[i]]) for i in range(len(t))}


def read(path: Path) -> tuple[Any, list[str], dict[str, Any]]:
    problems, repairs = Problems(), Repairs()
    rows = read_tracks(path, (10, 1, 40, 60), problems, repairs, "A/1/0/tracks.geff")
    return rows, problems.found, repairs.as_dict()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"edges": [(1, 2), (2, 9)]}, r"edges of nodes that are not there \(nodes 9\)"),
        ({"position_attr": "position"}, "of a version before 1.0"),
        ({"edges": [(2, 1)]}, r"do not lead forward in time \(nodes 1, 2\)"),
        ({"edges": [(1, 3), (2, 3)]}, r"cells that come from two \(nodes 3\)"),
        ({"node": [1, 2, 2]}, r"has nodes twice \(nodes 2\)"),
        ({"axes": PIXELS[:2]}, r"no axes t, y and x \(it has: frame, POSITION_Y\)"),
        (
            {"axes": [*PIXELS[:2], PIXELS[2] | {"unit": "micrometer"}]},
            "positions are in micrometres",
        ),
        ({"axes": [*PIXELS[:2], {"name": "lost_x"}]}, "is no whole GEFF store"),
        ({"track_node_props": {"tracklet": "none"}}, "is no whole GEFF store"),
        ({"track_node_props": [1]}, "is no whole GEFF store"),
        ({"axes": [1, 2, 3]}, "is no whole GEFF store"),
        ({"axes": [*PIXELS[:2], PIXELS[2] | {"unit": []}]}, "is no whole GEFF store"),
        ({"frame": [0, 1]}, r"frame has \(2,\) values and \(3,\) flags of 3 nodes"),
        ({"frame": ["0", "1", "2"]}, "frame holds <U1"),
        ({"frame": np.array([0, 1, 2], complex)}, "frame holds complex128"),
        ({"missing": {"frame": [False]}}, r"frame has \(3,\) values and \(1,\) flags"),
        ({"missing": {"frame": [0, 1, 0]}}, "flags of int64"),
        ({"node": [1, 2, 2**63]}, "nodes/ids holds other values than whole numbers from 0"),
        ({"node": [[1], [2], [3]]}, r"nodes/ids has shape \(3, 1\)"),
        ({"missing": {"frame": [False, True, False]}}, r"node 2: t is empty"),
        ({"frame": [0, 1, 10]}, r"node 3: frame is beyond the movie"),
        ({"frame": [0, 0.5, 1]}, r"node 2: t is no whole number"),
    ],
)
def test_errors_of_a_graph_name_store_and_nodes(tmp_path, changed, message):
    frames = {"frame": changed.pop("frame", [0, 1, 2])}
    positions = dict.fromkeys(["POSITION_Y", "POSITION_X"], (1.0, 2.0, 3.0))
    given = {"props": positions | frames, "edges": [(1, 2), (2, 3)], "node": [1, 2, 3]} | changed
    write_geff(tmp_path / "tracks.geff", **given)
    rows, errors, _ = read(tmp_path / "tracks.geff")
    assert rows is None
    with pytest.raises(UserError, match=rf"tracks\.geff.*{message}"):
        raise UserError(errors[0])


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_no_damage_of_a_store_raises(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("damaged") / "tracks.geff"
    props = dict.fromkeys(["POSITION_Y", "POSITION_X"], (1.0, 2.0, 3.0)) | {"frame": [0, 1, 2]}
    zarr_format = data.draw(st.sampled_from([2, 3]))
    write_geff(path, props, [(1, 2), (2, 3)], [1, 2, 3], zarr_format=zarr_format)
    file = data.draw(st.sampled_from(sorted(p for p in path.rglob("*") if p.is_file())))
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1))
    if data.draw(st.booleans()):
        del content[place:]
    else:
        content[place] ^= 1 << data.draw(st.integers(0, 7))
    file.write_bytes(content)
    is_geff(path)
    rows, errors, _ = read(path)
    assert (rows is None) == bool(errors)


def test_a_folder_that_is_no_store_is_an_error(tmp_path):
    (tmp_path / "tracks.geff").mkdir()
    assert not is_geff(tmp_path / "tracks.geff")
    rows, (error,), _ = read(tmp_path / "tracks.geff")
    assert rows is None
    assert "is no whole GEFF store" in error


def test_repairs_of_a_graph_are_counted_by_node(tmp_path):
    props = {"frame": [0, 1, 2], "POSITION_Y": [1.0, 2.0, 3.0], "POSITION_X": [1.0, 2.0, 99.0]}
    missing = {"POSITION_Y": [False, True, False]}
    write_geff(tmp_path / "tracks.geff", props, [(1, 2), (2, 3)], [1, 2, 3], missing)
    rows, errors, repairs = read(tmp_path / "tracks.geff")
    assert errors == []
    assert rows.line.tolist() == [1]
    for rule, node in (("position_missing", 2), ("position_outside", 3)):
        example = {"file": "A/1/0/tracks.geff", "node": node}
        assert repairs[rule] == {"count": 1, "examples": [example]}
