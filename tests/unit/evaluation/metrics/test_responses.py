"""Separation within condition and window, when it becomes visible, and sisters."""

import numpy as np

from dynaclr.evaluation.metrics.auroc import auroc
from dynaclr.evaluation.metrics.responses import (
    separation,
    sister_pairs,
    visible_from,
)


def test_a_score_that_knows_only_the_hour_separates_nothing_within_windows():
    rng = np.random.default_rng(0)
    windows = np.repeat(np.arange(8), 100)
    positive = rng.random(800) < windows / 8
    score = windows + 0.001 * rng.normal(size=800)
    assert auroc(positive, score) > 0.75
    result = separation(positive, score, windows, np.arange(800), 200, seed=0)
    assert result.interval.low < 0.5 < result.interval.high
    assert result.n_rows == 700, "in the first window no cell responds"


def test_no_stratum_with_both_classes_says_so():
    result = separation(np.arange(4) < 2, np.ones(4), np.arange(4), np.arange(4), 10, 0)
    assert np.isnan(result.value)
    assert result.interval.note == "both classes are nowhere together"


def test_visible_from_the_first_of_two_windows_above_chance():
    windows = np.array([1, 2, 3, 4])
    assert visible_from(np.array([0.6, 0.4, 0.55, 0.7]), windows) == 3
    assert np.isnan(visible_from(np.array([0.4, 0.4, 0.4, 0.7]), windows)), "the last one alone"
    assert np.isnan(visible_from(np.array([0.6, np.nan, 0.6, 0.5]), windows))
    assert np.isnan(visible_from(np.array([0.6]), windows[:1]))
    assert np.isnan(visible_from(np.empty(0), np.empty(0)))


def test_windows_around_one_that_is_missing_do_not_follow_each_other():
    assert np.isnan(visible_from(np.array([0.6, 0.6]), np.array([1, 3])))
    assert visible_from(np.array([0.6, 0.6, 0.6]), np.array([1, 3, 4])) == 3


def test_sisters_and_their_fates():
    """Tracks 1 and 2 are daughters of 0; 4, 5 and 6 of 3; 7 has no sister."""
    tracks = np.repeat(np.arange(8), 3)
    t = np.array([0, 1, 2, 3, 4, 5, 3, 4, 6, 0, 1, 2, *[3, 4, 5] * 3, 3, 4, 5])
    parents = np.repeat([-1, 0, 0, -1, 3, 3, 3, 5], 3)
    labels = np.full(24, "no", dtype=object)
    labels[5] = "yes"
    labels[18:21] = None
    features = np.zeros((24, 2))
    features[3:5] = [[3.0, 4.0], [0.0, 1.0]]
    pairs = sister_pairs(features, tracks, parents, t, labels)
    assert tracks[pairs.row].tolist() == [1, 4], "a sister of unknown fate makes no pair"
    assert pairs.different.tolist() == [True, False]
    # Seen together in frames 3 and 4 alone.
    assert pairs.distance.tolist() == [3.0, 0.0]
