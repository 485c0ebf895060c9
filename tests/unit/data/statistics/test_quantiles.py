"""Values at ranks equal those of sorted pixels where they must, and are close to them elsewhere."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.data.statistics.distribution import PERCENTILES, Distribution
from dynaclr.data.statistics.quantiles import values_at

N = 30_000


def normal(rng):
    return rng.normal(0, 1, N)


def counts_of_a_camera(rng):
    return rng.poisson(100, N)


def background_and_bright_cells(rng):
    return np.where(rng.random(N) < 0.97, rng.normal(100, 5, N), rng.gamma(2, 800, N))


def half_zeros(rng):
    return np.where(rng.random(N) < 0.5, 0, rng.normal(0, 1e-3, N))


def one_far_away(rng):
    return np.append(rng.normal(1000, 0.01, N), -1e30)


def of_any_size(rng):
    return rng.choice([-1, 1], N) * 10.0 ** rng.uniform(-30, 30, N)


def all_the_same(rng):
    return np.full(N, -2.5)


def whole_numbers_of_both_signs(rng):
    return rng.integers(-50, 50, N) * rng.integers(1, 1000, N)


def hundred_levels(rng):
    return rng.integers(0, 100, N)


def zeros_of_both_signs(rng):
    return np.where(rng.random(N) < 0.5, -0.0, 0.0)


KINDS = [
    normal,
    whole_numbers_of_both_signs,
    hundred_levels,
    zeros_of_both_signs,
    counts_of_a_camera,
    background_and_bright_cells,
    half_zeros,
    one_far_away,
    of_any_size,
    all_the_same,
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99), n_ranks=st.integers(1, 60))
def test_exact_ranks_are_those_of_sorted_pixels(dtype, kind, seed, n_ranks):
    rng = np.random.default_rng(seed)
    pixels = kind(rng).astype(dtype)
    ranks = np.unique(np.append(rng.integers(0, pixels.size, n_ranks), [0, pixels.size - 1]))
    exact = rng.random(ranks.size) < 0.5
    found = values_at(pixels.copy(), ranks, exact)
    wanted = np.sort(pixels)[ranks]
    assert found.dtype == dtype
    np.testing.assert_array_equal(found[exact], wanted[exact])
    assert (np.diff(found) >= 0).all()
    assert (found >= pixels.min()).all()
    assert (found <= pixels.max()).all()


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    st.integers(1, 1000),
)
def test_few_different_pixels(values, times):
    pixels = np.tile(values, times)
    ranks = np.arange(0, pixels.size, 1 + pixels.size // 50)
    found = values_at(pixels.copy(), ranks, np.ones(ranks.size, bool))
    np.testing.assert_array_equal(found, np.sort(pixels)[ranks])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_a_distribution_keeps_few_values_and_exact_percentiles(dtype, kind):
    pixels = kind(np.random.default_rng(0)).astype(dtype)
    kept = Distribution.of(pixels)
    assert kept.values.size < 5_000
    assert kept.counts.sum() == kept.n == pixels.size
    assert (np.diff(kept.values) >= 0).all()
    row, finite = kept.statistics(), pixels.astype(np.float64)
    for q in PERCENTILES:
        np.testing.assert_allclose(row[f"p{q}"], np.percentile(finite, q), rtol=1e-12)
    assert (row["min"], row["max"]) == (pixels.min(), pixels.max())
    # The others are pixels of nearly the same rank, or near to one.
    ordered = np.sort(finite)
    rank = np.linspace(0, pixels.size - 1, 97)
    found = np.array(kept.quantiles(np.linspace(0, 1, 97)))
    near = pixels.size / 4096
    low, high = (
        ordered[np.clip(r, 0, pixels.size - 1).astype(int)]
        for r in (np.floor(rank - near), np.ceil(rank + near))
    )
    # The bin of zero reaches to numbers that are as good as zero.
    assert (found >= low - np.abs(low) / 128 - 1e-37).all()
    assert (found <= high + np.abs(high) / 128 + 1e-37).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lowest", [0, -40])
def test_exact_values_of_few_levels_are_levels(dtype, lowest):
    # Photons, or what a camera counts, stored as floating point. N - 1 is a multiple of 100 here,
    # so that percentiles are pixels and not means of two.
    pixels = np.random.default_rng(0).integers(lowest, 100, N + 1).astype(dtype)
    ordered, row = np.sort(pixels), Distribution.of(pixels).statistics()
    for q in PERCENTILES:
        assert row[f"p{q}"] == ordered[q * N // 100]
        assert row[f"p{q}"] % 1 == 0
    exact = values_at(pixels, np.arange(N), np.ones(N, bool))
    np.testing.assert_array_equal(exact, ordered[:N])
