"""Positives against exhaustive search on random forests, and the frequencies of draws."""

import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampling_forests import Forest, random_forest
from scipy.stats import chisquare

from dynaclr.sampling import ColumnPositiveSampler, PositiveSampler, offset_weights

few = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
offset_lists = st.sampled_from(
    [[1], [2, 3, 4], [5, 9, 14], [-3, -2, -1], [-12], [-2, -1, 1, 2], list(range(1, 20)), [0]]
)
seeds = st.integers(0, 2**32 - 1)


def make(forest: Forest, offsets: list, **chosen) -> PositiveSampler:
    columns = forest.t, forest.branch, forest.branch_end, forest.experiment
    return PositiveSampler(*columns, [np.array(own) for own in offsets], **chosen)


def all_candidates(forest: Forest, offsets: list, allowed: np.ndarray) -> list[dict]:
    """Return, for each row, the candidates at each of its offsets that has any."""
    found = []
    for row in range(forest.t.size):
        own = offsets[forest.experiment[row]]
        if own == [0]:
            of_row = {0: [row] if allowed[row] else []}
        else:
            of_row = {
                offset: [other for other in forest.candidates(row, offset) if allowed[other]]
                for offset in own
            }
        found.append({offset: rows for offset, rows in of_row.items() if rows})
    return found


@few
@given(seeds, st.lists(offset_lists, min_size=1, max_size=3), st.booleans())
def test_positives_are_those_of_an_exhaustive_search(seed, offsets, restricted):
    rng = np.random.default_rng(seed)
    forest = random_forest(rng, n_roots=int(rng.integers(1, 6)), n_experiments=len(offsets))
    allowed = rng.random(forest.t.size) < 0.6 if restricted else np.ones(forest.t.size, bool)
    sampler = make(forest, offsets, candidates=allowed if restricted else None, seed=seed)
    expected = all_candidates(forest, offsets, allowed)
    np.testing.assert_array_equal(sampler.has_positive, [bool(of_row) for of_row in expected])
    rows = rng.permutation(np.flatnonzero(sampler.has_positive))
    for epoch in range(4):
        for row, positive in zip(rows, sampler.sample(rows, epoch), strict=True):
            offset = forest.t[positive] - forest.t[row]
            assert positive in expected[row][offset]


@few
@given(seeds, offset_lists)
def test_a_draw_depends_on_seed_epoch_and_row_alone(seed, offsets):
    rng = np.random.default_rng(seed)
    forest = random_forest(rng, n_roots=5)
    sampler = make(forest, [offsets], seed=seed)
    rows = np.flatnonzero(sampler.has_positive)
    together = sampler.sample(rows, 3)
    shuffled = rng.permutation(rows.size)
    np.testing.assert_array_equal(sampler.sample(rows[shuffled], 3), together[shuffled])
    copy = pickle.loads(pickle.dumps(sampler))
    one_by_one = [int(copy.sample(row[None], 3)[0]) for row in rows]
    np.testing.assert_array_equal(one_by_one, together)


def test_epochs_and_seeds_draw_differently():
    forest = random_forest(np.random.default_rng(1), n_roots=30)
    sampler = make(forest, [list(range(1, 12))])
    rows = np.flatnonzero(sampler.has_positive)
    draws = sampler.sample(rows, 0)
    assert np.mean(draws != sampler.sample(rows, 1)) > 0.2
    assert np.mean(draws != make(forest, [list(range(1, 12))], seed=1).sample(rows, 0)) > 0.2


def one_lineage_each(n: int, length: int, missing: tuple[int, ...] = ()) -> tuple:
    """Return t, branch, branch_end, experiment of `n` single tracks; row of frame 0 first."""
    frames = np.array([frame for frame in range(length) if frame not in missing])
    branch = np.repeat(np.arange(n), frames.size)
    return np.tile(frames, n), branch, branch + 1, np.zeros(branch.size, dtype=int)


@pytest.mark.parametrize("missing", [(), (2, 3)])
@pytest.mark.parametrize("sign", [1, -1])
def test_offsets_are_drawn_by_their_weights_among_those_that_exist(missing, sign):
    n, offsets = 20_000, sign * np.array([1, 2, 3, 4, 5, 6])
    t, branch, branch_end, experiment = one_lineage_each(n, 7, missing)
    if sign < 0:
        t = 6 - t
    sampler = PositiveSampler(t, branch, branch_end, experiment, [offsets])
    anchors = np.flatnonzero(t == (0 if sign > 0 else 6))
    drawn = t[sampler.sample(anchors, 0)] - t[anchors]
    kept = ~np.isin(np.abs(offsets), missing)
    weights = offset_weights(offsets)[kept]
    counts = [np.count_nonzero(drawn == offset) for offset in offsets[kept]]
    assert sum(counts) == n
    assert chisquare(counts, n * weights / weights.sum()).pvalue > 1e-4


def test_given_weights_replace_the_default():
    t, branch, branch_end, experiment = one_lineage_each(8000, 4)
    sampler = PositiveSampler(
        t, branch, branch_end, experiment, [np.array([3, 1])], weights=[np.array([9.0, 1.0])]
    )
    anchors = np.flatnonzero(t == 0)
    share = np.mean(t[sampler.sample(anchors, 0)] == 3)
    assert share == pytest.approx(0.9, abs=0.02)


def test_daughters_are_drawn_evenly():
    # Each mother (frame 0) has three daughters at frame 2.
    n = 6000
    t = np.tile([0, 2, 2, 2], n)
    branch = np.arange(4 * n)
    branch_end = branch + np.tile([4, 1, 1, 1], n)
    sampler = PositiveSampler(t, branch, branch_end, np.zeros(4 * n, int), [np.array([1, 2])])
    mothers = np.arange(0, 4 * n, 4)
    np.testing.assert_array_equal(sampler.has_positive, np.tile([True, False, False, False], n))
    which = sampler.sample(mothers, 5) - mothers
    assert chisquare(np.bincount(which, minlength=4)[1:]).pvalue > 1e-4


def test_offset_zero_is_the_observation_itself_even_beside_a_daughter():
    t, branch = np.array([3, 3]), np.array([0, 1])
    sampler = PositiveSampler(t, branch, np.array([2, 2]), np.zeros(2, int), [np.array([0])])
    np.testing.assert_array_equal(sampler.sample(np.array([1, 0, 1]), 0), [1, 0, 1])


def test_rows_without_positive_are_errors():
    t, branch, branch_end, experiment = one_lineage_each(2, 3)
    sampler = PositiveSampler(t, branch, branch_end, experiment, [np.array([2])])
    with pytest.raises(ValueError, match=r"2 row\(s\) have no positive .* first is row 1"):
        sampler.sample(np.array([0, 1, 4]), 0)
    assert sampler.sample(np.array([], dtype=int), 0).size == 0


def test_many_rows_and_few_rows_are_looked_up_alike():
    # Few keys are searched for in two stages; around 64 keys and their multiples ends meet.
    for n in (1, 63, 64, 65, 128, 1000):
        t, branch, branch_end, experiment = one_lineage_each(n, 2)
        sampler = PositiveSampler(t, branch, branch_end, experiment, [np.array([1])])
        first = np.flatnonzero(t == 0)
        np.testing.assert_array_equal(sampler.sample(first, 0), first + 1)
        repeated = np.resize(first, 20_000)
        np.testing.assert_array_equal(sampler.sample(repeated, 0), repeated + 1)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"t": np.array([0.0, 1.0])}, TypeError, "t must hold integers"),
        ({"branch": np.array([0])}, ValueError, r"branch has the shape \(1,\), not \(2,\)"),
        ({"branch_end": np.array([0, 1])}, ValueError, "Row 0 has branch 0 and branch_end 0"),
        ({"experiment": np.array([0, 1])}, ValueError, "codes from 0 to 1, .* for 1 experiments"),
        ({"offsets": [np.array([], dtype=int)]}, ValueError, r"offsets\[0\] must hold distinct"),
        ({"offsets": [np.array([2, 2])]}, ValueError, r"offsets\[0\] must hold distinct"),
        ({"offsets": [np.array([0, 1])]}, ValueError, r"offsets\[0\] holds 0 among others"),
        ({"offsets": [np.array([0.5])]}, TypeError, r"offsets\[0\] must hold integers"),
        ({"offsets": []}, ValueError, "for 0 experiments"),
        ({"candidates": np.array([True])}, ValueError, "candidates must be a mask of 2 rows"),
        ({"candidates": np.array([0, 1])}, ValueError, "candidates must be a mask of 2 rows"),
        ({"weights": [np.array([0.0])]}, ValueError, r"weights\[0\] must hold one positive"),
        ({"weights": []}, ValueError, "weights are given for 0 experiments, but offsets for 1"),
        ({"branch_end": np.array([1, 2**62])}, ValueError, "exceed 64 bits"),
        (
            {"t": np.array([3, 3]), "branch_end": np.array([2, 2]), "offsets": [np.array([-1])]},
            ValueError,
            "Rows 0 and 1 are of one line of descent and share frame 3",
        ),
    ],
)
def test_wrong_arrays_are_errors_at_construction(changed, error, message):
    good = {
        "t": np.array([0, 1]),
        "branch": np.array([0, 1]),
        "branch_end": np.array([1, 2]),
        "experiment": np.array([0, 0]),
        "offsets": [np.array([1])],
    }
    with pytest.raises(error, match=message):
        PositiveSampler(**{**good, **changed})


@few
@given(seeds, st.booleans())
def test_column_positives_agree_on_all_columns_and_are_others(seed, restricted):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 60))
    columns = pd.DataFrame(
        {"condition": rng.choice(["mock", "infected"], n), "hour": rng.integers(0, 6, n)}
    )
    allowed = rng.random(n) < 0.5 if restricted else np.ones(n, bool)
    sampler = ColumnPositiveSampler(columns, candidates=allowed if restricted else None, seed=seed)
    same = (columns.to_numpy()[:, None] == columns.to_numpy()[None]).all(axis=2)
    same &= ~np.eye(n, dtype=bool) & allowed
    np.testing.assert_array_equal(sampler.has_positive, same.any(axis=1))
    rows = np.flatnonzero(sampler.has_positive)
    for epoch in range(3):
        assert same[rows, sampler.sample(rows, epoch)].all()


def test_column_positives_are_drawn_evenly_from_all_others():
    sampler = ColumnPositiveSampler({"condition": np.array(["a"] * 5 + ["b"])})
    for row in range(5):
        counts = np.bincount(
            [sampler.sample(np.array([row]), epoch)[0] for epoch in range(1200)], minlength=6
        )
        assert counts[row] == counts[5] == 0
        assert chisquare(np.delete(counts, [row, 5])).pvalue > 1e-4
    with pytest.raises(ValueError, match="agree with no other row, the first is row 5"):
        sampler.sample(np.arange(6), 0)
    with pytest.raises(ValueError, match="columns is empty"):
        ColumnPositiveSampler({})
