"""The lineage pass against a slow recursive one, on random forests."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.index.lineage import (
    TRACK_ID_LIMIT,
    build_forest,
    division_frame,
    find_cycles,
    group_tracks,
    resolve_links,
)


@st.composite
def forests(draw, max_size=40):
    """Parents of a random forest whose numbering has nothing to do with its order."""
    n = draw(st.integers(0, max_size))
    names = draw(st.permutations(range(n)))
    parent = np.full(n, -1)
    for number in range(n):
        choice = draw(st.integers(-1, number - 1))
        parent[names[number]] = -1 if choice < 0 else names[choice]
    return parent


def children_of(parent, track):
    return [child for child in range(len(parent)) if parent[child] == track]


def walk(parent, track, generation, lineage, root, out):
    """Depth-first by recursion: the definition of what the vectorised pass computes."""
    out["branch"][track] = out["next"]
    out["next"] += 1
    out["generation"][track], out["lineage"][track], out["root"][track] = generation, lineage, root
    children = children_of(parent, track)
    for child in children:
        walk(parent, child, generation + (len(children) > 1), lineage, root, out)
    out["branch_end"][track] = out["next"]


def oracle(parent):
    names = ("branch", "branch_end", "generation", "lineage", "root")
    out = {name: np.full(len(parent), -1) for name in names} | {"next": 0}
    for lineage, root in enumerate(children_of(parent, -1)):
        walk(parent, root, 0, lineage, root, out)
    return {name: out[name] for name in names}


@settings(max_examples=150, deadline=None)
@given(forests())
def test_forest_equals_the_recursive_walk(parent):
    forest = build_forest(parent)
    for name, expected in oracle(parent).items():
        np.testing.assert_array_equal(getattr(forest, name), expected, err_msg=name)
    counts = [len(children_of(parent, track)) for track in range(len(parent))]
    np.testing.assert_array_equal(forest.n_daughters, counts)


@settings(max_examples=60, deadline=None)
@given(forests(max_size=20))
def test_branch_interval_holds_exactly_the_descendants(parent):
    forest = build_forest(parent)
    for a in range(len(parent)):
        for b in range(len(parent)):
            ancestor = b
            while ancestor not in (a, -1):
                ancestor = parent[ancestor]
            inside = forest.branch[a] <= forest.branch[b] < forest.branch_end[a]
            assert inside == (ancestor == a)


@settings(max_examples=100, deadline=None)
@given(forests(), st.data())
def test_division_frame_follows_continuations(parent, data):
    last = np.array(
        data.draw(st.lists(st.integers(0, 99), min_size=len(parent), max_size=len(parent))),
        dtype=int,
    )
    found = division_frame(build_forest(parent), last)
    for track in range(len(parent)):
        cell = track
        while len(children_of(parent, cell)) == 1:
            (cell,) = children_of(parent, cell)
        assert found[track] == (last[cell] if len(children_of(parent, cell)) > 1 else -1)


def test_a_single_daughter_is_the_same_cell():
    parent = np.array([-1, 0, 1, 1, 2])
    forest = build_forest(parent)
    assert forest.generation.tolist() == [0, 0, 1, 1, 1]
    assert division_frame(forest, np.array([2, 5, 8, 8, 9])).tolist() == [5, 5, -1, -1, -1]


def test_a_chain_deeper_than_the_recursion_limit():
    n = 3 * sys.getrecursionlimit()
    forest = build_forest(np.arange(-1, n - 1))
    np.testing.assert_array_equal(forest.branch, np.arange(n))
    assert set(forest.branch_end) == {n}
    assert not forest.generation.any()


def test_no_tracks():
    forest = build_forest(np.empty(0, int))
    assert len(forest) == 0
    assert len(division_frame(forest, np.empty(0, int))) == 0
    assert find_cycles(np.empty(0, int)) == []


@settings(max_examples=100, deadline=None)
@given(forests(max_size=25), st.data())
def test_cycles_are_found_with_all_their_members(parent, data):
    n = len(parent)
    names = data.draw(st.permutations(range(n)))
    size = data.draw(st.integers(0, min(n, 6)))
    cycle, broken = names[:size], parent.copy()
    for i, track in enumerate(cycle):
        broken[track] = cycle[(i + 1) % size]
    seen = [set(found.tolist()) for found in find_cycles(broken)]
    assert seen == ([set(cycle)] if cycle else [])
    if cycle:
        with pytest.raises(ValueError, match="cycles among the tracks"):
            build_forest(broken)


def test_two_cycles_are_separated():
    cycles = find_cycles(np.array([1, 0, -1, 4, 5, 3, 3, 7]))
    assert [cycle.tolist() for cycle in cycles] == [[0, 1], [3, 4, 5], [7]]


rows = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 8), st.integers(0, 12), st.integers(-1, 8)),
    max_size=60,
)


@settings(max_examples=100, deadline=None)
@given(rows)
def test_rows_are_gathered_into_tracks(rows):
    fov, track_id, t, parent = np.array(rows, int).reshape(-1, 4).T
    tracks = group_tracks(fov, track_id, t, parent)
    keys = sorted({(f, i) for f, i, _, _ in rows})
    assert list(zip(tracks.fov, tracks.track_id, strict=True)) == keys
    assert [keys[number] for number in tracks.of_row] == [(f, i) for f, i, _, _ in rows]
    for number, key in enumerate(keys):
        own = [(frame, given) for f, i, frame, given in rows if (f, i) == key]
        assert tracks.first[number] == min(own)[0]
        assert tracks.last[number] == max(own)[0]
        assert tracks.length[number] == len(own)
        assert tracks.parent_track_id[number] == max(given for _, given in own)


@settings(max_examples=100, deadline=None)
@given(rows)
def test_links_that_are_kept_go_forward_in_time_within_a_field_of_view(rows):
    tracks = group_tracks(*np.array(rows, int).reshape(-1, 4).T)
    links = resolve_links(tracks)
    number_of = {key: n for n, key in enumerate(zip(tracks.fov, tracks.track_id, strict=True))}
    errors = ("own_parent", "parent_missing", "starts_after_child", "overlaps_child")
    in_cycle = {track for cycle in links.cycles for track in cycle.tolist()}
    for child in range(len(tracks)):
        given = tracks.parent_track_id[child]
        parent = number_of.get((tracks.fov[child], given), -1)
        if given < 0:
            error = None
        elif given == tracks.track_id[child]:
            error = "own_parent"
        elif parent < 0:
            error = "parent_missing"
        elif tracks.first[parent] >= tracks.first[child]:
            error = "starts_after_child"
        elif tracks.last[parent] >= tracks.first[child]:
            error = "overlaps_child"
        else:
            error = None
            assert links.parent[child] == parent
        assert [name for name in errors if child in getattr(links, name)] == (
            [error] if error else []
        )
        if error and child not in in_cycle and not in_cycle:
            assert links.parent[child] == -1
    if not in_cycle:
        build_forest(links.parent)


def test_the_parent_is_sought_in_the_same_field_of_view():
    tracks = group_tracks(
        fov=np.array([0, 1, 1]),
        track_id=np.array([1, 2, 5]),
        t=np.array([0, 5, 5]),
        parent_track_id=np.array([-1, 1, -1]),
    )
    links = resolve_links(tracks)
    assert links.parent.tolist() == [-1, -1, -1]
    assert links.parent_missing.tolist() == [1]


@pytest.mark.parametrize("track_id", [-1, TRACK_ID_LIMIT])
def test_ids_that_cannot_be_packed_are_errors(track_id):
    with pytest.raises(ValueError, match="track_id"):
        group_tracks(np.zeros(1, int), np.array([track_id]), np.zeros(1, int), np.full(1, -1))


def test_the_largest_ids_stay_apart():
    big = TRACK_ID_LIMIT - 1
    tracks = group_tracks(
        fov=np.array([0, 1]),
        track_id=np.array([big, 0]),
        t=np.array([0, 1]),
        parent_track_id=np.array([-1, big]),
    )
    assert tracks.track_id.tolist() == [big, 0]
    assert resolve_links(tracks).parent_missing.tolist() == [1]
