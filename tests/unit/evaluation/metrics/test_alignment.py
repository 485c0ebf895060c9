"""Templates and positions of tracks whose course is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dynaclr.evaluation.metrics import alignment
from dynaclr.evaluation.metrics.alignment import (
    PACE_COST,
    POSITIONS,
    Template,
    align_tracks,
    fit_template,
)

NOISE = 0.01
TEMPLATE = Template(np.linspace(-2, 6, POSITIONS), np.clip(np.linspace(-2, 6, POSITIONS), 0, 4) / 4)


def course(since_onset):
    return np.clip(since_onset, 0, 4) / 4


def responding(n_tracks, seed=0):
    """Tracks of three to eight hours, each seen over another part of its response."""
    rng = np.random.default_rng(seed)
    tracks = []
    for _ in range(n_tracks):
        start, length = rng.uniform(-3, 2), rng.uniform(3, 8)
        tracks.append(np.arange(start, start + length, rng.choice([0.25, 0.5])))
    return tracks, [course(hours) + 0.1 * rng.normal(size=len(hours)) for hours in tracks]


def test_a_part_of_a_response_lies_on_its_part_of_the_template():
    since_onset, signals = responding(60)
    hours = [track + 20 for track in since_onset]
    found = align_tracks(hours, signals, TEMPLATE, NOISE)
    for true, places in zip(since_onset, found, strict=True):
        rising = (true > 0) & (true < 4)
        assert np.abs(TEMPLATE.hours[places] - true)[rising].max(initial=0) < 1.0
    errors = np.concatenate(
        [TEMPLATE.hours[p] - t for t, p in zip(since_onset, found, strict=True)]
    )
    rising = np.concatenate([(t > 0) & (t < 4) for t in since_onset])
    assert np.abs(errors[rising]).mean() < 0.25


def test_a_track_without_a_response_stays_before_it():
    hours = np.arange(0, 20, 0.5)
    (places,) = align_tracks([hours], [np.full(len(hours), -0.1)], TEMPLATE, NOISE)
    assert TEMPLATE.hours[places].max() <= 0
    (after,) = align_tracks([hours], [np.full(len(hours), 1.1)], TEMPLATE, NOISE)
    assert TEMPLATE.hours[after].min() >= 3.5


def test_the_pace_decides_where_the_signal_says_nothing():
    hours = np.arange(0, 4, 0.25)
    slow = Template(TEMPLATE.hours, np.zeros(POSITIONS))
    (places,) = align_tracks([hours], [np.zeros(len(hours))], slow, NOISE)
    moving = np.diff(places)[(places[1:] > 0) & (places[1:] < POSITIONS - 1)]
    assert set(moving) <= {1}


def plain(hours, signal, template, noise):
    """The least cost over all paths, by the definition."""
    spacing, last = template.hours[1] - template.hours[0], len(template.hours) - 1
    costs = np.square(signal[0] - template.signal) / noise
    for frame in range(1, len(hours)):
        expected = (hours[frame] - hours[frame - 1]) / spacing
        reached = np.full(last + 1, np.inf)
        for end in range(last + 1):
            for step in range(min(end, int(np.ceil(2 * expected))) + 1):
                pace = PACE_COST * (step - expected) ** 2 / expected
                pace = 0.0 if step == 0 and end in (0, last) else pace
                reached[end] = min(reached[end], costs[end - step] + pace)
        costs = reached + np.square(signal[frame] - template.signal) / noise
    return costs.min()


def cost_of(hours, signal, places, template, noise):
    expected = np.diff(hours) / (template.hours[1] - template.hours[0])
    steps, last = np.diff(places), len(template.hours) - 1
    free = (steps == 0) & np.isin(places[1:], [0, last])
    pace = np.where(free, 0.0, PACE_COST * np.square(steps - expected) / expected)
    return pace.sum() + (np.square(signal - template.signal[places]) / noise).sum()


@given(
    gaps=st.lists(st.floats(0.1, 3.0), min_size=0, max_size=6),
    signal=st.lists(st.floats(-1, 2), min_size=7, max_size=7),
    other=st.integers(1, 12),
)
def test_no_path_costs_less(gaps, signal, other):
    hours = np.cumsum([5.0, *gaps])
    values = np.array(signal[: len(hours)])
    longer = np.arange(0, other, 0.5)
    given = ([longer, hours], [np.zeros(len(longer)), values])
    _, places = align_tracks(*given, TEMPLATE, NOISE)
    steps = np.diff(places)
    assert (steps >= 0).all()
    found = cost_of(hours, values, places, TEMPLATE, NOISE)
    assert found == pytest.approx(plain(hours, values, TEMPLATE, NOISE))


def test_the_template_is_the_course_of_the_tracks():
    since_onset, signals = responding(80)
    template = fit_template(since_onset, signals, NOISE)
    assert (np.diff(template.signal) >= 0).all()
    inside = (template.hours > -2) & (template.hours < 6)
    np.testing.assert_allclose(template.signal[inside], course(template.hours)[inside], atol=0.15)


def test_warping_corrects_onsets_that_are_wrong(monkeypatch):
    def hours_of_rise():
        template = fit_template(wrong, signals, NOISE)
        rising = (template.signal > 0.1) & (template.signal < 0.9)
        return np.ptp(template.hours[rising])

    since_onset, signals = responding(80)
    errors = 2 * np.random.default_rng(3).normal(size=len(since_onset))
    wrong = [track + error for track, error in zip(since_onset, errors, strict=True)]
    warped = hours_of_rise()
    monkeypatch.setattr(alignment, "ITERATIONS", 0)
    assert warped < 0.85 * hours_of_rise()


def test_one_observation_and_one_track_are_enough():
    template = fit_template([np.array([0.0, 1.0])], [np.array([0.0, 1.0])], NOISE)
    assert np.isfinite(template.signal).all()
    (places,) = align_tracks([np.array([3.0])], [np.array([1.0])], template, NOISE)
    assert places.shape == (1,)
