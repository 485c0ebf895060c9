"""Health of embeddings against closed forms."""

import numpy as np
import pytest

from dynaclr.evaluation.metrics.health import (
    alignment,
    effective_rank,
    neighbour_purity,
    norm_distribution,
    uniformity,
)


def test_the_effective_rank_counts_equal_directions():
    rng = np.random.default_rng(0)
    q, _ = np.linalg.qr(rng.normal(size=(200, 7)) - 0.0)
    q -= q.mean(axis=0)
    q, _ = np.linalg.qr(q)
    rotation, _ = np.linalg.qr(rng.normal(size=(10, 10)))
    assert effective_rank(q @ rotation[:7]) == pytest.approx(7.0)
    assert effective_rank(q[:, :1] @ rotation[:1]) == pytest.approx(1.0)
    assert np.isnan(effective_rank(np.ones((5, 3))))


def test_the_effective_rank_is_the_exponential_of_the_entropy():
    values = np.array([3.0, 2.0, 1.0])
    left, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(50, 4)))
    left -= left.mean(axis=0)
    left, _ = np.linalg.qr(left)
    share = values / values.sum()
    expected = np.exp(-(share * np.log(share)).sum())
    assert effective_rank(left[:, :3] * values) == pytest.approx(expected)


def test_alignment_is_2_minus_twice_the_cosine():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 100, 5))
    cosine = (
        (first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1)
    )
    assert alignment(first, second) == pytest.approx(2 - 2 * cosine.mean())
    assert alignment(first, 3 * first) == pytest.approx(0.0)
    assert alignment(first, -first) == pytest.approx(4.0)


def test_uniformity_of_two_poles_and_of_a_point():
    poles = np.array([[1.0, 0.0], [-1.0, 0.0]])
    assert uniformity(poles) == pytest.approx(-8.0)
    assert uniformity(np.ones((4, 3))) == pytest.approx(0.0)
    # Many dimensions: nearly all pairs are at a right angle, squared distance 2.
    spread = np.random.default_rng(0).normal(size=(300, 2000))
    assert uniformity(spread) == pytest.approx(-4.0, abs=0.05)


def test_norms():
    assert norm_distribution(np.array([[3.0, 4.0], [0.0, 15.0]])) == pytest.approx((10.0, 0.5))


def test_purity_of_clusters_of_noise_and_of_hours():
    rng = np.random.default_rng(0)
    codes = np.repeat(np.arange(5), 40)
    cloud = rng.normal(size=(200, 3))
    apart = cloud + 100.0 * codes[:, None]
    assert neighbour_purity(apart, codes) == pytest.approx((1.0, 39 / 199))
    purity, expected = neighbour_purity(cloud, rng.permutation(codes))
    assert purity == pytest.approx(expected, abs=0.05)
    hours = np.arange(200) / 10
    purity, expected = neighbour_purity(hours[:, None], hours, tolerance=1.0, n_neighbours=10)
    assert purity == 1.0
    within = (np.abs(hours - hours[:, None]) <= 1.0 + 1e-9).sum() - 200
    assert expected == pytest.approx(within / (200 * 199), rel=0.02)
