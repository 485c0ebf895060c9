"""Tracks as a graph: a field of view's GEFF store in, the columns of a tracking table out.

GEFF (Graph Exchange File Format, https://liveimagetrackingtools.org/geff) is a Zarr group with
``nodes/ids`` (N,), ``nodes/props/<name>/values`` (N,) and, where some have none, ``missing`` (N,),
and ``edges/ids`` (E, 2): from a cell in one frame to the same cell, or its daughters, in a later
one. The attribute ``geff`` names the properties that are time and position (``axes``) and,
optionally, the one that numbers tracks (``track_node_props``). That is all that is read here. The
package `geff` would read these arrays, but not judge them, and holds numcodecs back.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import zarr
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from dynaclr.config import Problems
from dynaclr.index.table_file import TableColumns
from dynaclr.index.track_names import find_columns
from dynaclr.io.artifacts import reason_of

ATTRIBUTE = "geff"
_PIXELS = {None, "pixel", "pixels", "frame", "frames"}
_MICROMETRES = {"micrometer", "micrometre", "micron", "um", "µm"}


def is_geff(path: Path) -> bool:
    """Whether a folder is a GEFF store."""
    try:
        return path.is_dir() and ATTRIBUTE in zarr.open_group(path, mode="r").attrs
    except Exception:  # Of a damaged store, zarr raises exceptions of many classes.
        return False


def read_graph(path: Path, problems: Problems) -> TableColumns | None:
    """Read nodes as rows of a tracking table.

    Tracks are numbered by the property that the store names for it, else by the id of the node in
    which they begin; a track ends where its cell divides.

    Parameters
    ----------
    path : Path
        GEFF store.
    problems : Problems
        Takes every error of the graph.

    Returns
    -------
    TableColumns or None
        ``track_id``, ``t``, ``y``, ``x``, ``z`` where the store has it, and ``parent_track_id``;
        `line` is the id of each row's node. None when there is an error.
    """
    try:
        group = zarr.open_group(path, mode="r")
        metadata = cast(dict[str, Any], group.attrs[ATTRIBUTE])
        node, ids = _ids(group, "nodes", (-1,)), _ids(group, "edges", (-1, 2))
        axes = _axes(metadata, path, problems)
        if axes is None:
            return None
        columns = {name: _property(group, of, len(node)) for name, of in axes.items()}
        tracklet = (metadata.get("track_node_props") or {}).get("tracklet")
        track = _property(group, tracklet, len(node)) if tracklet else None
    except Exception as error:  # Of a damaged store, zarr raises exceptions of many classes.
        problems.add(path, f"is no whole GEFF store ({reason_of(error)})", "Write the store again")
        return None
    edges = _edges(ids, node, columns["t"], metadata.get("directed", True), path, problems)
    if edges is None:
        return None
    columns["track_id"] = _tracks(edges, node) if track is None else track
    columns["parent_track_id"] = _parents(edges, columns["track_id"])
    units = {axis.get("unit") for axis in metadata.get("axes") or []}
    values = {name: pa.chunked_array([pa.array(given)]) for name, given in columns.items()}
    return TableColumns(values, node, "um" if units & _MICROMETRES else None)


def _array(group: zarr.Group, name: str) -> NDArray[Any]:
    return np.asarray(cast("zarr.Array[Any]", group[name])[:])


def _ids(group: zarr.Group, part: str, shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Ids of all nodes, or of the two nodes of each edge."""
    name = f"{part}/ids"
    ids = _array(group, name)
    if ids.ndim != len(shape) or (ids.size and ids.shape[1:] != shape[1:]):
        raise ValueError(f"{name} has shape {ids.shape}")
    if ids.dtype.kind not in "iu" or (ids.size and not 0 <= ids.min() <= ids.max() < 2**63):
        raise ValueError(f"{name} holds other values than whole numbers from 0 to 2**63 - 1")
    whole: NDArray[np.int64] = ids.astype(np.int64).reshape(shape)
    return whole


def _axes(metadata: dict[str, Any], path: Path, problems: Problems) -> dict[str, str] | None:
    """Property of each of t, y, x and z."""
    before = len(problems.found)
    if "position_attr" in metadata:
        problems.add(path, "is a GEFF store of a version before 1.0", "Write it with geff 1.0")
        return None
    axes = metadata.get("axes") or [{"name": name} for name in "tyx"]
    names = [axis["name"] for axis in axes]
    found, _ = find_columns(names)
    for axis in axes:
        # Programs call positions as they like, but mostly so that the last letter tells the axis.
        letter = axis["name"][-1].lower()
        if axis.get("type") == "time":
            found["t"] = axis["name"]
        elif letter in "yxz":
            found.setdefault(letter, axis["name"])
        if axis.get("unit") not in _PIXELS | _MICROMETRES and axis["name"] in found.values():
            problems.add(
                path,
                f"axis {axis['name']} is in {axis['unit']}",
                "Write frames and pixels of the image, with a `scale` if need be",
            )
    if not set("tyx") <= set(found):
        what = f"has no axes t, y and x (it has: {', '.join(names)})"
        problems.add(path, what, "Give each axis in `axes` such a name, and time its `type`")
    if len(problems.found) > before:
        return None
    return {key: found[key] for key in "tyxz" if key in found}


def _property(group: zarr.Group, name: str, n: int) -> NDArray[Any]:
    """Values of a property of n nodes, which are numbers; NaN where they are missing."""
    values = _array(group, f"nodes/props/{name}/values")
    missing = np.zeros(n, bool)
    if f"nodes/props/{name}/missing" in group:
        missing = _array(group, f"nodes/props/{name}/missing")
    if values.shape != (n,) or missing.shape != (n,):
        raise ValueError(f"{name} has {values.shape} values and {missing.shape} flags of {n} nodes")
    if values.dtype.kind not in "iuf" or missing.dtype != bool:
        raise ValueError(f"{name} holds {values.dtype}, and flags of {missing.dtype}")
    return np.where(missing, np.nan, values) if missing.any() else values


def _edges(
    ids: NDArray[np.int64],
    node: NDArray[np.int64],
    t: NDArray[Any],
    directed: bool,
    path: Path,
    problems: Problems,
) -> NDArray[np.int64] | None:
    """Edges as (parent, child) indices into `node`, each child once; None with errors added."""
    before, order = len(problems.found), np.argsort(node)

    def report(nodes: NDArray[np.int64], what: str, fix: str) -> None:
        if nodes.size:
            listed = ", ".join(map(str, np.unique(nodes)[:5]))
            problems.add(path, f"{what} (nodes {listed}{' ...' * (nodes.size > 5)})", fix)

    report(node[order][1:][np.diff(node[order]) == 0], "has nodes twice", "Number them uniquely")
    unknown = ids[~np.isin(ids, node)]
    report(unknown, "has edges of nodes that are not there", "Write the store again")
    if len(problems.found) > before:
        return None
    edges = order[np.searchsorted(node, ids, sorter=order)]
    if not directed:
        backwards = t[edges[:, 0]] > t[edges[:, 1]]
        edges[backwards] = edges[backwards][:, ::-1]
    wrong = edges[t[edges[:, 0]] >= t[edges[:, 1]]]
    report(node[wrong], "has edges that do not lead forward in time", "Lead them to later frames")
    merges = np.bincount(edges[:, 1], minlength=len(node)) > 1
    report(node[merges], "has cells that come from two", "Leave each cell one edge into it")
    return edges if len(problems.found) == before else None


def _tracks(edges: NDArray[np.int64], node: NDArray[np.int64]) -> NDArray[np.int64]:
    """Id of the node in which each node's track begins."""
    n = len(node)
    parent, child = edges[np.bincount(edges[:, 0], minlength=n)[edges[:, 0]] == 1].T
    graph = coo_array((np.ones(len(parent), np.int8), (parent, child)), shape=(n, n))
    number, label = connected_components(graph, directed=False)
    first = np.ones(n, bool)
    first[child] = False
    begin = np.empty(number, np.int64)
    begin[label[first]] = node[first]
    of_node: NDArray[np.int64] = begin[label]
    return of_node


def _parents(edges: NDArray[np.int64], track: NDArray[Any]) -> NDArray[np.float64]:
    """Track from which each row's track comes, -1 for none."""
    parent = np.full(len(track), -1.0)
    before, after = edges[track[edges[:, 0]] != track[edges[:, 1]]].T
    parent[after] = track[before]
    # Only a track's first node has an edge from elsewhere; its other rows take over the parent.
    of_track = pd.Series(parent).groupby(track).transform("max").to_numpy()
    filled: NDArray[np.float64] = np.where(parent < 0, of_track, parent)
    return filled
