"""Offsets in frames, their weights, and what importing them costs."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dynaclr.sampling import offset_weights, offsets_in_frames


@pytest.mark.parametrize(
    ("tau_range", "interval", "expected"),
    [
        ((0.5, 2.0), 10, range(3, 13)),
        ((0.5, 2.0), 60, [1, 2]),
        ((4.0, 4.1), 1, range(240, 247)),  # 4.1 * 60 is just below 246 in floating point
        ((0.0, 0.5), 15, [1, 2]),
        ((-2.0, -0.5), 30, [-4, -3, -2, -1]),
        ((-0.5, 0.5), 30, [-1, 1]),
        ((0.0, 0.0), 30, [0]),
    ],
)
def test_whole_frames_inside_the_range(tau_range, interval, expected):
    assert offsets_in_frames(tau_range, interval).tolist() == list(expected)


@settings(deadline=None, derandomize=True)
@given(st.floats(0, 5), st.floats(0, 5), st.floats(2, 120))
def test_offsets_are_all_the_frames_inside_the_range_but_zero(first, width, interval):
    try:
        offsets = offsets_in_frames((first, first + width), interval)
    except ValueError:
        offsets = np.array([], dtype=int)
    frames = np.arange(0, int((first + width) * 60 / interval) + 3)
    hours = frames * interval / 60
    surely = frames[(hours > first + 1e-6) & (hours < first + width - 1e-6) & (frames > 0)]
    maybe = frames[(hours > first - 1e-6) & (hours < first + width + 1e-6)]
    assert set(surely) <= set(offsets.tolist()) <= set(maybe)
    assert 0 not in offsets or first == width == 0


def test_a_range_without_frames_says_which_interval_would_do():
    with pytest.raises(ValueError, match=r"longest .* 42 minutes, and any of at most 12 minutes"):
        offsets_in_frames((0.5, 0.7), 60)
    assert offsets_in_frames((0.5, 0.7), 42).tolist() == [1]
    assert offsets_in_frames((0.5, 0.7), 12).tolist() == [3]
    with pytest.raises(ValueError, match=r"longest interval that would do is 12 minutes;"):
        offsets_in_frames((0.0, 0.2), 15)


@pytest.mark.parametrize(
    ("tau_range", "interval", "message"),
    [
        ((2.0, 0.5), 10, "ascending"),
        ((0.5, float("inf")), 10, "finite"),
        ((0.5, 2.0), 0, "interval_minutes must be positive"),
        ((0.5, 2.0), float("nan"), "interval_minutes must be positive"),
    ],
)
def test_wrong_ranges_and_intervals_are_errors(tau_range, interval, message):
    with pytest.raises(ValueError, match=message):
        offsets_in_frames(tau_range, interval)


def test_weights_decay_exponentially_over_the_range():
    weights = offset_weights(np.array([3, 4, 5, 7]), decay_rate=2.0)
    expected = np.exp([0, -0.5, -1.0, -2.0])
    np.testing.assert_allclose(weights, expected / expected.sum())
    backwards = offset_weights(np.array([-7, -5, -4, -3]), decay_rate=2.0)
    np.testing.assert_allclose(backwards, weights[::-1])
    assert offset_weights(np.array([4])).tolist() == [1.0]
    np.testing.assert_allclose(offset_weights(np.array([1, 2]), decay_rate=0), 0.5)


def test_wrong_weights_are_errors():
    with pytest.raises(ValueError, match="offsets is empty"):
        offset_weights(np.array([]))
    with pytest.raises(ValueError, match="offsets must be finite"):
        offset_weights(np.array([1.0, np.nan]))
    for rate in (-1, np.nan):
        with pytest.raises(ValueError, match="decay_rate"):
            offset_weights(np.array([1]), decay_rate=rate)


def test_offsets_and_positives_import_without_torch():
    program = (
        "import sys; from dynaclr.sampling import offsets_in_frames, PositiveSampler;"
        "assert 'torch' not in sys.modules and 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_unknown_names_are_attribute_errors():
    import dynaclr.sampling

    assert "FlexibleBatchSampler" in dir(dynaclr.sampling)
    with pytest.raises(AttributeError, match="attribute Sampler"):
        _ = dynaclr.sampling.Sampler
