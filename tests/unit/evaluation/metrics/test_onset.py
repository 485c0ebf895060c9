"""Onsets of known signals, and the scale that signals are measured on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.evaluation.metrics.onset import (
    RISEN,
    RISING,
    ControlLimits,
    centred_on_controls,
    control_limits,
    fit_step,
    onset_of_track,
    own_level,
    response_signal,
    scaled_by_controls,
    step_gains,
    weighted_median,
)

LIMITS = ControlLimits(gain=1.0, level=1.5, noise=0.05, spread=0.15)


def controls(n_tracks=400, n_frames=12, seed=0):
    """Cells that differ by 1, with noise of 0.3 in time."""
    rng = np.random.default_rng(seed)
    return list(rng.normal(size=(n_tracks, 1)) + 0.3 * rng.normal(size=(n_tracks, n_frames)))


@given(signal=st.lists(st.floats(-9, 9), min_size=2, max_size=12))
def test_a_gain_is_what_two_levels_explain(signal):
    signal = np.array(signal)
    parts = [(signal[:k], signal[k:]) for k in range(1, len(signal))]
    within = [sum(part.var() * len(part) for part in pair) for pair in parts]
    squares = signal.var() * len(signal) - np.array(within)
    gains = step_gains(signal)
    np.testing.assert_allclose(np.abs(gains), squares, atol=1e-9)
    rises = [after.mean() >= before.mean() - 1e-12 for before, after in parts]
    assert all(up or gain <= 0 for up, gain in zip(rises, gains, strict=True))


def test_the_onset_is_where_the_level_changes_whatever_the_level():
    hours = np.array([2.0, 2.5, 3.0, 3.5, 4.0])
    for level in (-5.0, 0.0, 5.0):
        rises = onset_of_track(hours, level + np.array([0, 0, 0, 2, 2]), LIMITS)
        assert rises == (3.25, 3.0, 3.5)
    falls = onset_of_track(hours, np.array([2, 2, 2, 0, 0]), LIMITS)
    assert np.isnan(falls.hours)


def test_what_was_not_seen_is_bounded_by_what_was():
    hours = np.array([2.0, 2.5, 3.0, 3.5, 4.0])
    never = onset_of_track(hours, np.zeros(5), LIMITS)
    assert np.isnan(never.hours)
    assert never[1:] == (4.0, np.inf)
    before = onset_of_track(hours, np.full(5, 2.0), LIMITS)
    assert np.isnan(before.hours)
    assert before[1:] == (-np.inf, 2.0)
    assert before.earlier(1.5)[1:] == (-np.inf, 0.5)


def test_the_own_level_is_that_before_the_onset_shrunk_by_noise():
    hours, share = np.arange(5.0), 0.15 / (0.15 + 0.05)
    for signal, level in (
        (np.array([1.0, 1, 1, 4, 4]), 1.0),
        (np.full(5, -1.0), -1.0),
        (np.full(5, 2.0), 0.0),
    ):
        onset = onset_of_track(hours, signal, LIMITS)
        assert own_level(hours, signal, onset, LIMITS) == pytest.approx(share * level)
    assert own_level(hours, signal, None, LIMITS) == 0.0


@given(rise=st.integers(1, 18), noise=st.floats(0, 0.2), seed=st.integers(0, 9))
def test_bounds_hold_a_clear_onset(rise, noise, seed):
    hours = 1.0 + 0.5 * np.arange(20)
    signal = (np.arange(20) >= rise) + noise * np.random.default_rng(seed).uniform(-1, 1, 20)
    step = fit_step(hours, signal, noise**2 / 3)
    assert step.low < hours[rise] <= step.high
    assert step.low < step.hours < step.high


def test_nine_of_ten_bounds_hold_the_onset_of_a_noisy_track():
    hours, rng, limits = np.arange(12.0), np.random.default_rng(1), control_limits(controls())
    held = []
    for signal in controls(seed=2):
        onset = rng.uniform(2, 9)
        found = onset_of_track(hours, signal + 0.8 * (hours > onset), limits)
        if np.isfinite(found.hours):
            held.append(found.low <= onset <= found.high)
    assert len(held) > 350
    assert np.mean(held) > 0.9


def test_as_many_controls_respond_as_the_limits_say():
    signals, hours = controls(), np.arange(12.0)
    limits = control_limits(signals)
    onsets = [onset_of_track(hours, signal, limits) for signal in signals]
    assert np.isfinite([onset.hours for onset in onsets]).mean() == pytest.approx(RISING, abs=0.005)
    before = np.mean([onset.low == -np.inf for onset in onsets])
    assert before == pytest.approx(RISEN, abs=0.01)
    assert limits.noise == pytest.approx(0.09, abs=0.01)


def test_controls_become_the_origin_of_every_experiment():
    rng = np.random.default_rng(0)
    experiments = np.array(list("abc"), dtype=object)[np.arange(300) % 3]
    control = (np.arange(300) // 3 % 2 == 0) & (experiments != "c")
    features = rng.normal(size=(300, 2)) * 3 + (experiments == "b")[:, None]
    centred = centred_on_controls(features, experiments, control)
    scaled = scaled_by_controls(features, experiments, control)
    for name in "ab":
        mine = (experiments == name) & control
        np.testing.assert_allclose(centred[mine].mean(axis=0), 0, atol=1e-12)
        np.testing.assert_allclose(scaled[mine].std(axis=0), 1)
        here, axis = experiments == name, np.array([0.3, -2.0])
        signal = response_signal(features[here].astype(np.float32), control[here], axis)
        np.testing.assert_allclose(signal, scaled[here] @ axis, atol=1e-4)
    assert np.isnan(centred[experiments == "c"]).all(), "an experiment without controls"


def test_a_weighted_median_is_that_of_repeated_values():
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=9), rng.integers(0, 4, size=(20, 9))
    expected = [np.median(np.repeat(values, of)) for of in weight]
    np.testing.assert_allclose(weighted_median(values, weight), expected)
    assert np.isnan(weighted_median(values[:0], weight[:, :0])).all()
    assert np.isnan(weighted_median(values, 0 * weight)).all()
