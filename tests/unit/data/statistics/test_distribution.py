"""Of continuous pixels few values are kept, and every percentile is exact."""

import numpy as np
import pytest

from dynaclr.data.statistics.distribution import PERCENTILES, Distribution

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
    assert (found >= low).all()
    assert (found <= high).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("lowest", [0, -40])
def test_percentiles_of_few_levels_are_levels(dtype, lowest):
    # Photons, or what a camera counts, stored as floating point. N - 1 is a multiple of 100 here,
    # so that percentiles are pixels and not means of two.
    pixels = np.random.default_rng(0).integers(lowest, 100, N + 1).astype(dtype)
    ordered, row = np.sort(pixels), Distribution.of(pixels).statistics()
    for q in PERCENTILES:
        assert row[f"p{q}"] == ordered[q * N // 100]
        assert row[f"p{q}"] % 1 == 0
