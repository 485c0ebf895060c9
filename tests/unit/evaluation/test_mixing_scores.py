"""Samples of matched biology, and what mixing within them can and cannot see."""

import numpy as np
import pytest

from dynaclr.evaluation.matched_samples import independent_rows, matched_strata
from dynaclr.evaluation.metrics.bootstrap import MIN_LINEAGES
from dynaclr.evaluation.mixing_scores import mixing_of_all, mixing_of_matched, perplexity_within


def population(n_lineages=40, n_frames=12, shares=(0.2, 0.5, 0.8)):
    """Three experiments in which another share of lineages is infected; 12 frames, 3 windows."""
    rng = np.random.default_rng(0)
    lineages = np.repeat(np.arange(3 * n_lineages), n_frames)
    t = np.tile(np.arange(n_frames), 3 * n_lineages)
    number = np.arange(3 * n_lineages) // n_lineages
    infected = rng.random(3 * n_lineages) < np.array(shares)[number]
    conditions = np.where(infected, "infected", "mock").astype(object)[lineages]
    experiments = np.array(list("abc"), dtype=object)[number][lineages]
    return lineages, t // 4, experiments, conditions


def test_independent_rows_hold_each_lineage_and_window_once():
    lineages, windows, _, _ = population()
    rows = independent_rows(lineages, windows, np.random.default_rng(0))
    found = list(zip(lineages[rows], windows[rows], strict=True))
    assert len(set(found)) == len(found) == 120 * 3
    assert (np.diff(rows) > 0).all()
    again = independent_rows(lineages, windows, np.random.default_rng(1))
    assert len(again) == len(rows)
    assert (again != rows).any()


def test_strata_are_one_condition_and_window_with_equal_shares():
    lineages, windows, experiments, conditions = population()
    rows = independent_rows(lineages, windows, np.random.default_rng(0))
    strata = matched_strata(rows, experiments, conditions, windows, np.random.default_rng(0))
    assert strata
    for stratum in strata:
        assert len(set(conditions[stratum])) == len(set(windows[stratum])) == 1
        _, counts = np.unique(experiments[stratum].astype(str), return_counts=True)
        assert len(counts) >= 2
        assert len(set(counts)) == 1
        assert counts[0] >= MIN_LINEAGES
        assert len(set(lineages[stratum])) == len(stratum)


def mixing_of(batch_effect):
    lineages, windows, experiments, conditions = population()
    rng = np.random.default_rng(0)
    rows = independent_rows(lineages, windows, rng)
    strata = matched_strata(rows, experiments, conditions, windows, rng)
    cells = rng.normal(size=(len(lineages), 4)) + 6.0 * (conditions == "infected")[:, None]
    cells += batch_effect * rng.normal(size=(3, 4))[np.searchsorted(list("abc"), experiments)]
    return mixing_of_matched(cells, experiments, strata, seed=0)


def test_experiments_of_unlike_composition_are_mixed_where_biology_is_matched():
    """They separate by condition, which they have in unequal shares: that is no batch effect."""
    mixed = mixing_of(0.0)
    ilisi = mixed["matched_ilisi"]
    assert ilisi.value == pytest.approx(ilisi.expected, abs=0.06)
    assert mixed["matched_experiment_auroc"].value == pytest.approx(0.5, abs=0.1)


def test_a_batch_effect_of_the_size_of_cells_variation_is_seen():
    apart = mixing_of(1.0)
    assert apart["matched_ilisi"].value < apart["matched_ilisi"].expected - 0.15
    assert apart["matched_experiment_auroc"].value > 0.8


def test_experiments_that_lie_apart_are_at_the_end_of_every_scale():
    apart = mixing_of(30.0)
    assert apart["matched_ilisi"].value < 0.05
    assert apart["matched_experiment_auroc"].value == 1.0


def mixing_of_two(shift, n=50):
    """Two experiments of 50 cells, one of eight features shifted, as in the largest strata."""
    rng = np.random.default_rng(0)
    experiments = np.repeat(np.array(["a", "b"], dtype=object), n)
    cells = rng.normal(size=(2 * n, 8))
    cells[:, 0] += shift * (experiments == "b")
    return mixing_of_matched(cells, experiments, [np.arange(2 * n)], seed=0)["matched_ilisi"]


def test_neighbourhoods_fit_in_a_batch_so_that_a_weak_effect_is_seen():
    """At perplexity 30 they hold 90 of 99 cells, and twice the standard deviation gives 0.8."""
    mixed, apart = mixing_of_two(0.0), mixing_of_two(2.0)
    assert mixed.value == pytest.approx(mixed.expected, abs=0.08)
    assert apart.value < 0.75
    assert apart.value < apart.expected - 0.1
    assert mixing_of_two(30.0).value < 0.35
    assert perplexity_within(50) == pytest.approx(50 / 3)
    assert perplexity_within(1000) == 30


def test_nothing_to_match_says_so():
    measures = mixing_of_matched(np.zeros((4, 2)), np.array(list("aabb"), dtype=object), [], 0)
    assert all(np.isnan(measure.value) and measure.note for measure in measures.values())


def clouds(distance, n=240, n_experiments=3, seed=0):
    rng = np.random.default_rng(seed)
    experiments = np.array(list("abc"), object)[np.arange(n) % n_experiments]
    centres = distance * rng.normal(size=(3, 6))
    return rng.normal(size=(n, 6)) + centres[np.arange(n) % n_experiments], experiments


def test_separate_clouds_score_zero_and_mixed_ones_what_shuffling_gives():
    groups = np.arange(240)
    apart = mixing_of_all(*clouds(50.0), groups)
    together = mixing_of_all(*clouds(0.0), groups)
    assert apart["ilisi"].value == pytest.approx(0.0, abs=1e-6)
    assert together["ilisi"].value == pytest.approx(together["ilisi"].expected, abs=0.06)
    assert together["ilisi"].expected > 0.85
    assert apart["experiment_auroc"].value == 1.0
    assert together["experiment_auroc"].value == pytest.approx(0.5, abs=0.1)


def test_units_of_features_do_not_matter():
    features, experiments = clouds(0.7)
    scaled = features * np.array([1, 1e4, 1, 1e-3, 1, 1]) + 7
    first = mixing_of_all(features, experiments, np.arange(240))
    second = mixing_of_all(scaled, experiments, np.arange(240))
    for name, score in first.items():
        assert second[name].value == pytest.approx(score.value)


def test_a_missing_or_constant_feature_does_no_harm():
    features, experiments = clouds(0.7)
    extended = np.column_stack([features, np.full(240, np.nan), np.full(240, 0.1)])
    first = mixing_of_all(features, experiments, np.arange(240))
    second = mixing_of_all(extended, experiments, np.arange(240))
    assert second["ilisi"] == first["ilisi"]


def test_one_experiment_has_no_mixing_and_says_so():
    features, experiments = clouds(0.0, n_experiments=1)
    for score in mixing_of_all(features, experiments, np.arange(240)).values():
        assert np.isnan(score.value)
        assert score.note == "one experiment only"


def test_experiments_take_part_with_equal_numbers():
    features, experiments = clouds(0.0)
    score = mixing_of_all(features, experiments, np.arange(240), max_rows=90)["ilisi"]
    assert score.n_rows == 90
