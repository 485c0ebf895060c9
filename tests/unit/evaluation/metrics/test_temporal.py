"""Smoothness, displacement and progression against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from dynaclr.evaluation.metrics.temporal import (
    adjacent_pairs,
    displacement,
    displacement_exponent,
    fit_progression,
    lagged_pairs,
    r_squared,
    smoothness,
)


def walks(n_tracks, n_frames, step, d=8, seed=0):
    """Random walks in order of frame and then track, not of track."""
    rng = np.random.default_rng(seed)
    paths = np.cumsum(step * rng.normal(size=(n_frames, n_tracks, d)), axis=0)
    tracks = np.tile(np.arange(n_tracks), n_frames)
    t = np.repeat(np.arange(n_frames), n_tracks)
    return paths.reshape(-1, d), tracks, t


@given(
    rows=st.sets(st.tuples(st.integers(0, 4), st.integers(-3, 9)), min_size=1, max_size=30),
    lag=st.integers(1, 4),
    seed=st.integers(0, 9),
)
def test_pairs_are_those_of_the_definition(rows, lag, seed):
    rows = np.random.default_rng(seed).permutation(np.array(sorted(rows)))
    earlier, later = lagged_pairs(rows[:, 0], rows[:, 1], lag)
    found = {(*rows[i], *rows[j]) for i, j in zip(earlier, later, strict=True)}
    present = set(map(tuple, rows))
    assert found == {(k, t, k, t + lag) for k, t in present if (k, t + lag) in present}
    assert len(earlier) == len(found)


def test_no_pair_spans_a_gap():
    earlier, later = adjacent_pairs(np.zeros(4, int), np.array([5, 0, 1, 3]))
    assert (earlier.tolist(), later.tolist()) == ([1], [2])


def test_independent_frames_have_ratio_1_and_standing_cells_0():
    rng = np.random.default_rng(0)
    tracks, t = np.repeat(np.arange(100), 20), np.tile(np.arange(20), 100)
    noise = smoothness(rng.normal(size=(2000, 8)), tracks, t)
    assert noise.ratio == pytest.approx(1.0, abs=0.03)
    assert noise.dynamic_range == pytest.approx(0.0, abs=0.1)
    still = smoothness(rng.normal(size=(100, 8))[tracks], tracks, t)
    assert still.ratio == 0.0
    assert still.dynamic_range > 0.7


def test_the_range_does_not_hang_on_which_wells_come_first():
    """Cells of the first wells stand still, those of the others, more of them, jump."""
    rng = np.random.default_rng(0)
    tracks, t = np.repeat(np.arange(150), 20), np.tile(np.arange(20), 150)
    still = rng.normal(size=(150, 8))[tracks] + 0.01 * rng.normal(size=(3000, 8))
    features = np.where((tracks < 55)[:, None], still, rng.normal(size=(3000, 8)))
    last = smoothness(features[::-1], tracks[::-1], t[::-1]).dynamic_range
    assert smoothness(features, tracks, t).dynamic_range == pytest.approx(last, abs=0.15)


def test_the_ratio_of_correlated_frames_is_its_closed_form():
    """With correlation r of neighbouring frames the ratio of distances is sqrt(1 - r)."""
    rng = np.random.default_rng(0)
    tracks, t = np.repeat(np.arange(400), 10), np.tile(np.arange(10), 400)
    features = np.sqrt(0.75) * rng.normal(size=(400, 16))[tracks]
    features = features + np.sqrt(0.25) * rng.normal(size=(4000, 16))
    assert smoothness(features, tracks, t).ratio == pytest.approx(0.5, abs=0.02)


def test_pooling_experiments_that_lie_apart_seems_smoother():
    rng = np.random.default_rng(0)
    tracks, t = np.repeat(np.arange(100), 20), np.tile(np.arange(20), 100)
    features = rng.normal(size=(2000, 4)) + 50.0 * (tracks % 2)[:, None]
    within = smoothness(features[tracks % 2 == 0], tracks[tracks % 2 == 0], t[tracks % 2 == 0])
    assert within.ratio == pytest.approx(1.0, abs=0.05)
    assert smoothness(features, tracks, t).ratio < 0.1


def test_displacement_of_a_random_walk_grows_with_lag():
    features, tracks, t = walks(300, 30, step=1.0)
    lags, msd, n_pairs = displacement(features, tracks, t, 8)
    total = 2.0 * features.var(axis=0).sum()
    np.testing.assert_allclose(msd * total, 8 * lags, rtol=0.05)
    assert n_pairs.tolist() == [300 * (30 - lag) for lag in range(1, 9)]
    assert displacement_exponent(lags, msd) == pytest.approx(1.0, abs=0.05)


def test_drift_has_exponent_2_and_noise_0():
    tracks, t = np.repeat(np.arange(50), 12), np.tile(np.arange(12), 50)
    rng = np.random.default_rng(0)
    drift = t[:, None] * rng.normal(size=(50, 3))[tracks]
    assert displacement_exponent(*displacement(drift, tracks, t, 6)[:2]) == pytest.approx(2.0)
    noise = rng.normal(size=(600, 8))
    lags, msd, _ = displacement(noise, tracks, t, 6)
    np.testing.assert_allclose(msd, 1.0, atol=0.05)
    assert displacement_exponent(lags, msd) == pytest.approx(0.0, abs=0.03)


def test_too_little_to_measure_is_nan():
    features, tracks, t = walks(1, 3, step=1.0)
    assert np.isnan(smoothness(features, tracks, t).ratio)
    lags, msd, _ = displacement(features, tracks, t, 2)
    assert np.isnan(displacement_exponent(lags, msd))


def test_r_squared_is_scikit_learns_and_takes_weights():
    rng = np.random.default_rng(0)
    true, weight = rng.normal(size=200), rng.integers(3, size=200)
    predicted = true + rng.normal(size=200)
    expected = r2_score(true, predicted), r2_score(true, predicted, sample_weight=weight)
    found = r_squared(true, predicted, np.stack([np.ones(200), weight]))
    np.testing.assert_allclose(found, expected)
    assert np.isnan(r_squared(np.ones(5), np.ones(5)))


def test_progression_is_found_where_it_is_linear():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(600, 10)) * np.logspace(-2, 2, 10)
    progression = features @ (1.0 / np.logspace(-2, 2, 10)) + rng.normal(size=600)
    groups = np.arange(600) // 5
    predictor = fit_progression(features[:400], progression[:400], groups[:400])
    predicted = predictor.predict(features[400:])
    # 10 of 11 parts of the variance are linear in the features.
    assert r_squared(progression[400:], predicted) == pytest.approx(10 / 11, abs=0.03)
