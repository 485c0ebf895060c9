"""LISI against a slow reference and published program, mixing of clouds, experiment classifier."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.spatial.distance import cdist

from dynaclr.evaluation.metrics.mixing import lisi, mixing_scores, neighbour_weights, scaled_ilisi


def slow_lisi(features, labels, perplexity):
    """The definition, one observation at a time."""
    result = []
    for i, distances in enumerate(cdist(features, features)):
        others = np.delete(np.arange(len(features)), i)
        near = others[np.argsort(distances[others])[: int(3 * perplexity)]]

        def excess(log_beta, d=distances[near]):
            weights = np.exp(-np.exp(log_beta) * (d - d.min()))
            weights /= weights.sum()
            positive = weights[weights > 0]
            return -np.sum(positive * np.log(positive)) - np.log(perplexity)

        weights = np.exp(
            -np.exp(brentq(excess, -20, 20)) * (distances[near] - distances[near].min())
        )
        weights /= weights.sum()
        shares = [weights[labels[near] == label].sum() for label in np.unique(labels)]
        result.append(1 / np.sum(np.square(shares)))
    return np.array(result)


def clouds(distance, n=240, n_experiments=3, seed=0):
    rng = np.random.default_rng(seed)
    experiments = np.array(list("abc"), object)[np.arange(n) % n_experiments]
    centres = distance * rng.normal(size=(3, 6))
    return rng.normal(size=(n, 6)) + centres[np.arange(n) % n_experiments], experiments


def test_lisi_equals_its_definition():
    features, experiments = clouds(0.7)
    labels = experiments.astype(str)
    np.testing.assert_allclose(
        lisi(features, labels, perplexity=12), slow_lisi(features, labels, 12), rtol=1e-6
    )


def test_lisi_equals_the_published_program():
    # compute_lisi of harmonypy 2.1.0 on the same arrays, perplexity 10; it stops its search at a
    # tolerance of 1e-5 in entropy.
    angle = np.arange(60) * 2.399963
    features = np.stack([np.sqrt(np.arange(60)) * np.cos(angle), np.arange(60) * 0.1], axis=1)
    labels = np.array(["a", "b", "c"])[(np.arange(60) * 7 % 11) % 3]
    expected = [2.263184, 2.55362, 2.025522, 2.51871, 2.288353]
    np.testing.assert_allclose(lisi(features, labels, 10)[::12], expected, atol=1e-4)


def test_weights_have_the_perplexity_asked_for():
    features, _ = clouds(0.5)
    _, weights = neighbour_weights(features, 15)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    entropy = -(weights * np.log(np.maximum(weights, 1e-300))).sum(axis=1)
    np.testing.assert_allclose(np.exp(entropy), 15, rtol=1e-6)


def test_separate_clouds_score_zero_and_mixed_ones_what_shuffling_gives():
    groups = np.arange(240)
    apart = mixing_scores(*clouds(50.0), groups)
    together = mixing_scores(*clouds(0.0), groups)
    assert apart["ilisi"].value == pytest.approx(0.0, abs=1e-6)
    assert together["ilisi"].value == pytest.approx(together["ilisi"].expected, abs=0.06)
    assert together["ilisi"].expected > 0.85
    assert apart["experiment_accuracy"].value == 1.0
    assert apart["experiment_auroc"].value == 1.0
    assert together["experiment_accuracy"].expected == pytest.approx(1 / 3)
    assert together["experiment_accuracy"].value == pytest.approx(1 / 3, abs=0.12)
    assert together["experiment_auroc"].value == pytest.approx(0.5, abs=0.1)


def test_scaling_has_the_stated_ends():
    assert scaled_ilisi(np.ones(5), 4) == 0.0
    assert scaled_ilisi(np.full(5, 4.0), 4) == 1.0


def test_units_of_features_do_not_matter():
    features, experiments = clouds(0.7)
    scaled = features * np.array([1, 1e4, 1, 1e-3, 1, 1]) + 7
    first = mixing_scores(features, experiments, np.arange(240))
    second = mixing_scores(scaled, experiments, np.arange(240))
    for name, score in first.items():
        assert second[name].value == pytest.approx(score.value)


def test_a_missing_or_constant_feature_does_no_harm():
    features, experiments = clouds(0.7)
    extended = np.column_stack([features, np.full(240, np.nan), np.full(240, 0.1)])
    first = mixing_scores(features, experiments, np.arange(240))
    second = mixing_scores(extended, experiments, np.arange(240))
    assert second["ilisi"] == first["ilisi"]


def test_one_experiment_has_no_mixing_and_says_so():
    features, experiments = clouds(0.0, n_experiments=1)
    for score in mixing_scores(features, experiments, np.arange(240)).values():
        assert np.isnan(score.value)
        assert score.note == "one experiment only"


def test_experiments_take_part_with_equal_numbers():
    features, experiments = clouds(0.0)
    score = mixing_scores(features, experiments, np.arange(240), max_rows=90)["ilisi"]
    assert score.n_rows == 90
