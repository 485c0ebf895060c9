"""The lineage forest: tracks from rows, links from tracks, and one pass over the forest.

Everything here is arrays in, arrays out, and vectorised: no loop runs over rows or tracks. The one
loop runs over the depth of the forest, which no movie can drive beyond its number of frames,
because a daughter starts after its parent has ended.

Words
-----
A *track* is a run of observations with one id in one field of view. A *link* joins a track to the
track it came from. Two or more daughters are a *division*; a single daughter is a *continuation*
of the same cell under a new id (the tracker missed it for a while). A *lineage* is everything that
descends from one track without a parent.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# (fov, track_id) is packed into one int64, which leaves room for 2**22 fields of view.
TRACK_ID_LIMIT = 2**40


@dataclass(frozen=True)
class TrackTable:
    """Tracks in the order of (fov, track_id); arrays of one entry a track.

    Attributes
    ----------
    fov : ndarray of int64
        Number of the field of view.
    track_id : ndarray of int64
        Id inside the field of view.
    parent_track_id : ndarray of int64
        Id of the parent as the rows give it, -1 for none.
    first, last : ndarray of int64
        First and last frame.
    length : ndarray of int64
        Number of observations.
    of_row : ndarray of int64
        Track number of each row that went in.
    """

    fov: NDArray[np.int64]
    track_id: NDArray[np.int64]
    parent_track_id: NDArray[np.int64]
    first: NDArray[np.int64]
    last: NDArray[np.int64]
    length: NDArray[np.int64]
    of_row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.track_id)


@dataclass(frozen=True)
class Links:
    """Parents as track numbers, and what stood against a link.

    Attributes
    ----------
    parent : ndarray of int64, one a track
        Track number of the parent, -1 for none.
    own_parent, parent_missing, starts_after_child, overlaps_child : ndarray of int64
        Numbers of the *child* tracks whose link was removed: the parent is the track itself, is not
        in the field of view, starts no earlier than the child, or ends no earlier than the child
        starts.
    cycles : list of ndarray
        Track numbers of each circle of links; such links are left in `parent`.
    """

    parent: NDArray[np.int64]
    own_parent: NDArray[np.int64]
    parent_missing: NDArray[np.int64]
    starts_after_child: NDArray[np.int64]
    overlaps_child: NDArray[np.int64]
    cycles: list[NDArray[np.int64]]


@dataclass(frozen=True)
class Forest:
    """The lineage forest; arrays of one entry a track.

    Track `b` is track `a` or one of its descendants exactly if
    ``branch[a] <= branch[b] < branch_end[a]``.

    Attributes
    ----------
    lineage : ndarray of int64
        0 to L - 1, numbered in the order of the roots.
    root : ndarray of int64
        Track number of the lineage's first track.
    generation : ndarray of int64
        Divisions between the root and the track; a continuation adds none.
    branch, branch_end : ndarray of int64
        Depth-first preorder number, and one past the last one of the subtree.
    n_daughters : ndarray of int64
        Tracks linked to this one as their parent.
    """

    lineage: NDArray[np.int64]
    root: NDArray[np.int64]
    generation: NDArray[np.int64]
    branch: NDArray[np.int64]
    branch_end: NDArray[np.int64]
    n_daughters: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.lineage)


def group_tracks(
    fov: NDArray[np.integer],
    track_id: NDArray[np.integer],
    t: NDArray[np.integer],
    parent_track_id: NDArray[np.integer],
) -> TrackTable:
    """Gather rows into tracks.

    Parameters
    ----------
    fov, track_id, t, parent_track_id : ndarray of int, shape (N,)
        One row an observation, in any order. `fov` counts from 0; `track_id` lies in
        [0, ``TRACK_ID_LIMIT``); `parent_track_id` is -1 for none. Where the rows of a track
        disagree on the parent, the largest id counts.

    Returns
    -------
    TrackTable

    Raises
    ------
    ValueError
        When an id or field of view lies outside the allowed range.
    """
    track_id = np.asarray(track_id, np.int64)
    if track_id.size and (track_id.min() < 0 or track_id.max() >= TRACK_ID_LIMIT):
        raise ValueError(f"`track_id` must lie in [0, {TRACK_ID_LIMIT})")
    if len(fov) and (np.min(fov) < 0 or np.max(fov) >= 2**22):
        raise ValueError(f"`fov` must lie in [0, {2**22})")
    codes, keys = pd.factorize(np.asarray(fov, np.int64) * TRACK_ID_LIMIT + track_id)
    order = np.argsort(keys)
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    of_row, keys = number[codes], keys[order]

    frames = np.asarray(t, np.int64)
    parent = np.full(len(keys), -1, np.int64)
    np.maximum.at(parent, of_row, np.asarray(parent_track_id, np.int64))
    first = np.full(len(keys), np.iinfo(np.int64).max)
    np.minimum.at(first, of_row, frames)
    last = np.full(len(keys), np.iinfo(np.int64).min)
    np.maximum.at(last, of_row, frames)
    return TrackTable(
        fov=keys // TRACK_ID_LIMIT,
        track_id=keys % TRACK_ID_LIMIT,
        parent_track_id=parent,
        first=first,
        last=last,
        length=np.bincount(of_row, minlength=len(keys)),
        of_row=of_row,
    )


def resolve_links(tracks: TrackTable) -> Links:
    """Find each track's parent in its own field of view and remove the links that cannot be.

    A link is kept when the parent ended before the child started. A cell that is still there has
    not become its daughters; were the link kept, both would count as one cell in the same frame.

    Parameters
    ----------
    tracks : TrackTable

    Returns
    -------
    Links
    """
    parent = np.full(len(tracks), -1, np.int64)
    own = tracks.parent_track_id == tracks.track_id
    linked = np.flatnonzero((tracks.parent_track_id >= 0) & ~own)
    keys = tracks.fov * TRACK_ID_LIMIT + tracks.track_id
    wanted = tracks.fov[linked] * TRACK_ID_LIMIT + tracks.parent_track_id[linked]
    match = np.searchsorted(keys, wanted)
    found = match < len(keys)
    found[found] = keys[match[found]] == wanted[found]
    parent[linked[found]] = match[found]
    cycles = find_cycles(parent)

    child = np.flatnonzero(parent >= 0)
    late = tracks.first[parent[child]] >= tracks.first[child]
    overlap = (tracks.last[parent[child]] >= tracks.first[child]) & ~late
    if not cycles:
        parent[child[late | overlap]] = -1
    return Links(
        parent=parent,
        own_parent=np.flatnonzero(own),
        parent_missing=linked[~found],
        starts_after_child=child[late],
        overlaps_child=child[overlap],
        cycles=cycles,
    )


def find_cycles(parent: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """Circles among the links.

    Parameters
    ----------
    parent : ndarray of int, shape (n,)
        Number of each track's parent, -1 for none.

    Returns
    -------
    list of ndarray
        Members of each circle, ascending; circles in the order of their first member.
    """
    child = np.flatnonzero(parent >= 0)
    n = len(parent)
    graph = coo_array((np.ones(len(child), np.int8), (child, parent[child])), shape=(n, n))
    _, component = connected_components(graph, directed=True, connection="strong")
    in_cycle = np.bincount(component, minlength=1)[component] > 1
    in_cycle[child[parent[child] == child]] = True
    members = np.flatnonzero(in_cycle)
    members = members[np.argsort(component[members], kind="stable")]
    bounds = np.flatnonzero(np.diff(component[members])) + 1
    cycles = np.split(members, bounds) if members.size else []
    return sorted(cycles, key=lambda cycle: cycle[0])


def build_forest(parent: NDArray[np.integer]) -> Forest:
    """Give every track its numbers in the forest, in one pass up and one down its levels.

    Parameters
    ----------
    parent : ndarray of int, shape (n,)
        Number of each track's parent, -1 for none.

    Returns
    -------
    Forest
        Roots, and the daughters of a track, follow each other in the order of their numbers.

    Raises
    ------
    ValueError
        When the links run in circles; see `find_cycles`.
    """
    parent = np.asarray(parent, np.int64)
    n = len(parent)
    by_parent = np.argsort(parent, kind="stable")
    n_roots = int(np.count_nonzero(parent < 0))
    roots, daughters = by_parent[:n_roots], by_parent[n_roots:]
    counts = np.bincount(parent[daughters], minlength=n)
    levels = _levels(roots, daughters, counts)
    if n_roots + sum(len(level.nodes) for level in levels) < n:
        cycles = [cycle.tolist() for cycle in find_cycles(parent)]
        raise ValueError(f"`parent` has cycles among the tracks {cycles}")

    size = np.ones(n, np.int64)
    for level in reversed(levels):
        size[level.parents] += np.add.reduceat(size[level.nodes], level.starts)

    branch, generation, lineage = (np.zeros(n, np.int64) for _ in range(3))
    branch[roots] = np.cumsum(size[roots]) - size[roots]
    lineage[roots] = np.arange(n_roots)
    for level in levels:
        before = np.cumsum(size[level.nodes]) - size[level.nodes]
        first = branch[level.parents] + 1 - before[level.starts]
        branch[level.nodes] = before + np.repeat(first, level.counts)
        divided = generation[level.parents] + (level.counts > 1)
        generation[level.nodes] = np.repeat(divided, level.counts)
        lineage[level.nodes] = np.repeat(lineage[level.parents], level.counts)
    return Forest(lineage, roots[lineage], generation, branch, branch + size, counts)


@dataclass(frozen=True)
class _Level:
    """Tracks of one depth, siblings side by side, and the parents that have any."""

    nodes: NDArray[np.int64]
    parents: NDArray[np.int64]
    counts: NDArray[np.int64]
    starts: NDArray[np.int64]


def _levels(
    roots: NDArray[np.int64], daughters: NDArray[np.int64], counts: NDArray[np.int64]
) -> list[_Level]:
    offset = np.cumsum(counts) - counts
    levels = []
    parents = roots[counts[roots] > 0]
    while parents.size:
        number = counts[parents]
        starts = np.cumsum(number) - number
        nodes = daughters[np.repeat(offset[parents] - starts, number) + np.arange(number.sum())]
        levels.append(_Level(nodes, parents, number, starts))
        parents = nodes[counts[nodes] > 0]
    return levels


def division_frame(forest: Forest, last: NDArray[np.integer]) -> NDArray[np.int64]:
    """Frame in which each track's cell is last seen before it divides.

    Parameters
    ----------
    forest : Forest
    last : ndarray of int, shape (n,)
        Last frame of each track.

    Returns
    -------
    ndarray of int64, shape (n,)
        Continuations are followed to the division; -1 where the cell is not seen to divide.
    """
    n = len(forest)
    order = np.empty(n, np.int64)
    order[forest.branch] = np.arange(n)
    # In preorder a single daughter stands right behind its parent, so that one cell's tracks are
    # a run, and its last track closes the run.
    closes = forest.n_daughters[order] != 1
    ends = np.flatnonzero(closes)
    run = np.cumsum(closes) - closes
    final = order[ends[run]]
    frame = np.where(forest.n_daughters[final] > 1, np.asarray(last)[final], -1)
    result = np.empty(n, np.int64)
    result[order] = frame
    return result
