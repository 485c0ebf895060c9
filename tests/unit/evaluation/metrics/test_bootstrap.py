"""Intervals over lineages: coverage, pairing, seeds, and where there are none."""

import numpy as np
import pytest

from dynaclr.evaluation.metrics.bootstrap import (
    cluster_bootstrap,
    percentile_interval,
    seed_of,
)


def mean_of(values):
    return lambda weight: {"mean": (weight @ values) / weight.sum(axis=1)}


def clustered_sample(seed, n_clusters=40, n_rows=6):
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(n_clusters), n_rows)
    return clusters, rng.normal(size=n_clusters)[clusters] + 0.3 * rng.normal(size=len(clusters))


def coverage(clusters_of):
    covered = 0
    for seed in range(200):
        clusters, values = clustered_sample(seed)
        units = clusters_of(clusters)
        resampled = cluster_bootstrap(mean_of(values), units, 200, seed)["mean"]
        interval = percentile_interval(resampled, len(np.unique(units)))
        covered += interval.low <= 0.0 <= interval.high
    return covered / 200


def test_resampling_lineages_covers_the_truth_and_resampling_rows_does_not():
    assert 0.89 <= coverage(lambda clusters: clusters) <= 0.99
    assert coverage(lambda clusters: np.arange(len(clusters))) < 0.75


def test_every_resample_holds_whole_clusters_as_many_as_there_are():
    clusters = np.array([5, 5, 9, 9, 9, 2])
    seen = []
    cluster_bootstrap(lambda w: seen.append(w) or {"n": w.sum(axis=1)}, clusters, 150, 0)
    weight = np.concatenate(seen)
    assert weight.shape == (150, 6)
    assert (weight[:, 0] == weight[:, 1]).all()
    assert (weight[:, 2] == weight[:, 3]).all()
    assert (weight[:, 0] + weight[:, 2] + weight[:, 5] == 3).all()


def test_the_same_seed_gives_the_same_resamples_and_another_does_not():
    clusters, values = clustered_sample(0)
    first = cluster_bootstrap(mean_of(values), clusters, 130, 3)["mean"]
    np.testing.assert_array_equal(
        first, cluster_bootstrap(mean_of(values), clusters, 130, 3)["mean"]
    )
    assert (first != cluster_bootstrap(mean_of(values), clusters, 130, 4)["mean"]).any()


def test_resamples_do_not_depend_on_how_many_are_held_at_once(monkeypatch):
    clusters, values = clustered_sample(0)
    together = cluster_bootstrap(mean_of(values), clusters, 50, 3)["mean"]
    monkeypatch.setattr("dynaclr.evaluation.metrics.bootstrap._MAX_WEIGHTS", 7 * len(values))
    apart = cluster_bootstrap(mean_of(values), clusters, 50, 3)["mean"]
    np.testing.assert_allclose(apart, together, rtol=1e-12)


def test_a_paired_difference_is_narrower_than_the_two_intervals_say():
    clusters, values = clustered_sample(1)
    better = values + 0.1
    resampled = [cluster_bootstrap(mean_of(v), clusters, 300, 0)["mean"] for v in (better, values)]
    interval = percentile_interval(resampled[0] - resampled[1], 40)
    assert interval.low == pytest.approx(0.1)
    assert interval.high == pytest.approx(0.1)
    alone = percentile_interval(resampled[1], 40)
    assert alone.high - alone.low > 0.2


def test_few_lineages_have_no_interval_and_some_a_warning():
    """Of three lineages the ends of the interval would be single ones'."""
    for n in (1, 2, 4):
        interval = percentile_interval(np.linspace(0, 1, 50), n)
        assert np.isnan([interval.low, interval.high]).all()
        assert interval.note == f"fewer than 5 lineages ({n}): no interval"
    assert percentile_interval(np.linspace(0, 1, 50), 5).note.startswith("5 lineages: the interval")
    assert percentile_interval(np.linspace(0, 1, 50), 10).note == ""


def test_five_lineages_cover_the_truth_nearly_as_often_as_promised():
    covered = 0
    for seed in range(200):
        clusters, values = clustered_sample(seed, n_clusters=5)
        resampled = cluster_bootstrap(mean_of(values), clusters, 200, seed)["mean"]
        interval = percentile_interval(resampled, 5)
        covered += interval.low <= 0.0 <= interval.high
    assert covered / 200 > 0.78


def test_experiments_have_resamples_of_their_own_and_models_the_same():
    assert seed_of("a") == seed_of("a") != seed_of("b")
    clusters, values = clustered_sample(0)
    first, second = (
        cluster_bootstrap(mean_of(values), clusters, 400, seed_of(name))["mean"] for name in "ab"
    )
    together = np.mean([first, second], axis=0)
    assert together.var() == pytest.approx(first.var() / 2, rel=0.2), (
        "as of independent experiments"
    )


def test_resamples_without_a_class_are_left_out_and_reported():
    values = np.append(np.linspace(0, 1, 90), np.full(10, np.nan))
    interval = percentile_interval(values, 12)
    assert interval.low == pytest.approx(0.025)
    assert interval.note == "10 of 100 resamples have no value and are left out"
    mostly = percentile_interval(np.append(np.ones(40), np.full(60, np.nan)), 12)
    assert np.isnan(mostly.low)
    assert "most resamples" in mostly.note
