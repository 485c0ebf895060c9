"""Onsets of known signals, and the axis and scale that signals are measured on."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.evaluation.metrics.onset import (
    centred_on_controls,
    control_threshold,
    onset_of_track,
    response_axis,
    scaled_by_controls,
    weighted_median,
)


def test_the_axis_weighs_features_by_their_spread():
    rng = np.random.default_rng(0)
    control = rng.normal(size=(4000, 3)) * [1, 10, 1]
    treated = rng.normal(size=(4000, 3)) * [1, 10, 1] + [1, 1, 0]
    axis = response_axis(treated, control)
    assert np.linalg.norm(axis) == pytest.approx(1.0)
    np.testing.assert_allclose(axis / axis[0], [1, 0.01, 0], atol=0.06)
    np.testing.assert_array_equal(response_axis(control, control), np.zeros(3))


def test_the_onset_lies_between_the_frames_around_the_rise():
    hours = np.array([2.0, 2.5, 3.0, 3.5, 4.0])
    rises = onset_of_track(hours, np.array([0, 0, 0, 2, 2]), 1.0)
    assert rises == (3.25, 3.0, 3.5)
    blip = onset_of_track(hours, np.array([0, 2, 0, 0, 2]), 1.0)
    assert np.isnan(blip.hours)
    assert blip[1:] == (4.0, np.inf), "one observation above is none"
    above = onset_of_track(hours, np.full(5, 2.0), 1.0)
    assert np.isnan(above.hours)
    assert above[1:] == (-np.inf, 2.0)


@given(rise=st.integers(1, 18), noise=st.floats(0, 0.4), seed=st.integers(0, 9))
def test_bounds_hold_the_true_onset(rise, noise, seed):
    hours = 1.0 + 0.5 * np.arange(20)
    signal = (np.arange(20) >= rise) + noise * np.random.default_rng(seed).uniform(-1, 1, 20)
    onset = onset_of_track(hours, signal, 0.5)
    assert onset.low < hours[rise] <= onset.high
    assert onset.high - onset.low == pytest.approx(0.5)


def test_a_share_of_controls_stays_below_the_threshold():
    signal = np.random.default_rng(0).normal(size=2000)
    assert (signal > control_threshold(signal)).mean() == pytest.approx(0.05, abs=0.001)


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
    assert np.isnan(centred[experiments == "c"]).all(), "an experiment without controls"


def test_a_weighted_median_is_that_of_repeated_values():
    rng = np.random.default_rng(0)
    values, weight = rng.normal(size=9), rng.integers(0, 4, size=(20, 9))
    expected = [np.median(np.repeat(values, of)) for of in weight]
    np.testing.assert_allclose(weighted_median(values, weight), expected)
    assert np.isnan(weighted_median(values[:0], weight[:, :0])).all()
    assert np.isnan(weighted_median(values, 0 * weight)).all()
