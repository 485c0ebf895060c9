"""LISI against a slow reference and the published program."""

import numpy as np
from scipy.optimize import brentq
from scipy.spatial.distance import cdist

from dynaclr.evaluation.metrics.mixing import N_SHUFFLES, lisi, scaled_ilisi, with_shuffles
from dynaclr.evaluation.metrics.neighbours import neighbour_weights


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


def test_scaling_has_the_stated_ends():
    assert scaled_ilisi(np.ones(5), 4) == 0.0
    assert scaled_ilisi(np.full(5, 4.0), 4) == 1.0


def test_shuffles_keep_the_labels_and_differ():
    labels = np.arange(40)
    given = with_shuffles(labels, np.random.default_rng(0))
    assert (given[0] == labels).all()
    assert (np.sort(given, axis=1) == labels).all()
    assert len(np.unique(given, axis=0)) == 1 + N_SHUFFLES > 5
