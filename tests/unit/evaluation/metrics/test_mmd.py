"""MMD against its definition, its null and the closed form."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from dynaclr.evaluation.metrics.mmd import mmd_test, permuted_members


def slow_mmd2(first, second):
    """Equation 3 of Gretton et al. (2012), pair by pair."""
    width = np.median(pdist(np.concatenate([first, second])))

    def kernel(x, y):
        return np.exp(-np.sum((x - y) ** 2) / (2 * width**2))

    m, n = len(first), len(second)
    within_first = sum(kernel(first[i], first[j]) for i in range(m) for j in range(m) if i != j)
    within_second = sum(kernel(second[i], second[j]) for i in range(n) for j in range(n) if i != j)
    between = sum(kernel(x, y) for x in first for y in second)
    return within_first / (m * (m - 1)) + within_second / (n * (n - 1)) - 2 * between / (m * n)


def one_window(first, second, n_permutations, rng, strata=None):
    """Value, z and p of two samples."""
    member = np.arange(len(first) + len(second)) < len(first)
    strata = np.zeros(len(member)) if strata is None else strata
    members = permuted_members(member, strata, n_permutations, rng)
    result = mmd_test([np.concatenate([first, second])], [members])
    return SimpleNamespace(
        value=result.value[0], z=result.z[0], p=result.p[0], largest=result.largest_z
    )


def test_the_value_is_the_unbiased_estimate():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(15, 3)), rng.normal(size=(22, 3)) + 0.5
    test = one_window(first, second, 10, rng)
    assert test.value == pytest.approx(slow_mmd2(first, second))


def test_without_a_difference_it_averages_to_zero_and_p_is_uniform():
    rng = np.random.default_rng(0)
    tests = [one_window(*rng.normal(size=(2, 20, 2)), 99, rng) for _ in range(200)]
    values, p = np.array([t.value for t in tests]), np.array([t.p for t in tests])
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(200)
    assert abs(np.mean([t.z for t in tests])) < 0.25
    assert (p <= 0.1).mean() == pytest.approx(0.1, abs=0.06)


def test_it_tends_to_the_closed_form_of_normal_samples():
    """For N(0, 1) and N(m, 1) in one dimension and a kernel of width s."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(1500, 1)), rng.normal(size=(1500, 1)) + 1.0
    width = np.median(pdist(np.concatenate([first, second])))
    factor = width / np.sqrt(width**2 + 2)
    expected = 2 * factor * (1 - np.exp(-0.5 / (width**2 + 2)))
    test = one_window(first, second, 20, rng)
    assert test.value == pytest.approx(expected, rel=0.15)
    assert test.p == pytest.approx(1 / 21)
    assert test.z > 20


def test_permutations_within_experiments_do_not_see_their_batch_effect():
    """Conditions are unequally frequent in two experiments that lie apart."""
    rng = np.random.default_rng(0)
    strata = np.array(["a"] * 30 + ["b"] * 10 + ["a"] * 10 + ["b"] * 30)
    cells = rng.normal(size=(80, 2)) + 5.0 * (strata == "b")[:, None]
    pooled = one_window(cells[:40], cells[40:], 200, np.random.default_rng(1))
    within = one_window(cells[:40], cells[40:], 200, np.random.default_rng(1), strata)
    assert pooled.p == pytest.approx(1 / 201)
    assert within.p > 0.05
    assert within.value == pooled.value


def test_identical_rows_are_no_difference():
    same = np.ones((10, 2))
    result = one_window(same, same, 10, np.random.default_rng(0))
    assert (result.value, result.z, result.p, result.largest) == (0.0, 0.0, 1.0, 0.0)


def windows_of(effect, n_windows, n_lineages=24, n_permutations=200, seed=0):
    """Test of lineages that are seen in every window, half of them treated."""
    rng = np.random.default_rng(seed)
    member = np.arange(n_lineages) < n_lineages // 2
    members = permuted_members(member, np.zeros(n_lineages), n_permutations, rng)
    own = rng.normal(size=(n_lineages, 3))
    samples = [
        own + rng.normal(size=own.shape) + effect * member[:, None] for _ in range(n_windows)
    ]
    return mmd_test(samples, [members] * n_windows)


def test_a_huge_effect_is_seen_in_every_one_of_many_windows():
    """200 permutations give p of 1 / 201 at least, more than 0.05 / 12."""
    result = windows_of(20.0, n_windows=12)
    np.testing.assert_allclose(result.p, 1 / 201)
    assert result.largest_z > 10


def test_the_largest_of_many_windows_is_held_against_the_largest_by_chance():
    for n_windows in (1, 12):
        tests = [windows_of(0.0, n_windows, n_permutations=99, seed=seed) for seed in range(150)]
        z = np.array([result.largest_z for result in tests])
        assert abs(z.mean()) < 0.3, n_windows
        assert z.std() == pytest.approx(1.0, abs=0.3)
        by_chance = np.mean([(result.p <= 0.05).any() for result in tests])
        assert by_chance == pytest.approx(0.05, abs=0.045), "over all windows together"
    assert np.mean([result.z.max() for result in tests]) > 0.8, (
        "what is not held against it is not 0"
    )


def test_a_group_of_one_has_no_distance():
    members = np.array([[True, True, False, False], [True, False, False, False]])
    result = mmd_test([np.random.default_rng(0).normal(size=(4, 2))], [members])
    assert np.isfinite(result.value).all()
    assert (result.z, result.p) == (0.0, 1.0)
