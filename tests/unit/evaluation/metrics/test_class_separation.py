"""Mixing and class separation against values of scib-metrics, and their ends.

The values of scib-metrics 0.5.10 were computed once on the arrays made here, with its neighbours
found by scikit-learn:

    silhouette_label(X, labels)
    clisi_knn(near_without_self(30), labels, perplexity=10)
    ilisi_knn(near_without_self(30), batches, perplexity=10)
"""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from dynaclr.evaluation.metrics.class_separation import (
    class_silhouette,
    clisi,
    isolated_state_auroc,
    retrieval_map,
)
from dynaclr.evaluation.metrics.mixing import lisi, scaled_ilisi


@pytest.fixture(scope="module")
def arrays():
    i = np.arange(150)
    angle = i * 2.399963
    spiral = [np.sqrt(i) * np.cos(angle), np.sqrt(i) * np.sin(angle), (i * 37 % 11) * 0.3]
    features = np.stack(spiral, axis=1)
    labels = np.array(["a", "b"])[(features[:, 0] + 0.6 * np.sin(i) > 0).astype(int)]
    batches = np.array(["x", "y", "z"])[(i * 7 % 11) % 3]
    features[:, 1] += np.where(batches == "x", 9.0, 0.0)
    return features, labels, batches


def test_silhouette(arrays):
    features, labels, _ = arrays
    assert class_silhouette(features, labels) == pytest.approx(0.6412168, abs=1e-6)


def test_silhouette_keeps_the_digits_of_nearly_identical_rows(arrays):
    features, labels, _ = arrays
    # Sums of these are exact, so that the distances are, too.
    features = np.round(features * 1024)
    close = 1024 + features * 2.0**-40
    assert class_silhouette(close, labels) == pytest.approx(
        class_silhouette(features, labels), abs=1e-12
    )


def test_classes_that_lie_apart_are_at_the_end_of_each_scale():
    labels = np.array(["x", "y", "z"])[np.arange(300) % 3]
    apart = np.random.default_rng(0).normal(size=(300, 4)) + 100.0 * (np.arange(300) % 3)[:, None]
    assert clisi(apart, labels) == pytest.approx(1.0, abs=1e-6)
    assert class_silhouette(apart, labels) > 0.95


def test_lisi(arrays):
    # scib-metrics stops its search for the perplexity early.
    features, labels, batches = arrays
    assert clisi(features, labels, 10) == pytest.approx(0.982869, abs=1e-5)
    value = scaled_ilisi(lisi(features, batches, 10), 3)
    assert value == pytest.approx(0.563802, abs=1e-5)


def test_retrieval_is_average_precision_among_other_batches():
    rng = np.random.default_rng(0)
    labels, batches = rng.integers(2, size=60), rng.integers(3, size=60)
    features = rng.normal(size=(60, 3)) + labels[:, None]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = [
        average_precision_score(labels[others] == labels[i], unit[others] @ unit[i])
        for i in range(60)
        for others in [batches != batches[i]]
    ]
    value = retrieval_map(features, labels, batches)
    assert value == pytest.approx(np.mean(expected))


def test_a_state_of_one_experiment_survives_until_it_is_corrected_away():
    rng = np.random.default_rng(0)
    here = np.arange(400) < 200
    state = here & (np.arange(400) % 2 == 0)
    groups = np.arange(400) // 4
    cells = rng.normal(size=(400, 5))
    shifted = cells + 6.0 * state[:, None]
    assert isolated_state_auroc(shifted, state, here, groups) > 0.99
    assert isolated_state_auroc(cells, state, here, groups) == pytest.approx(0.5, abs=0.1)


def test_neighbours_of_the_own_lineage_do_not_count():
    """A lineage's cells lie together wherever it is: that alone keeps no state apart."""
    rng = np.random.default_rng(0)
    here = np.arange(400) < 200
    groups = np.arange(400) // 8
    state = here & (groups % 2 == 0)
    cells = rng.normal(size=(50, 5))[groups] + 0.01 * rng.normal(size=(400, 5))
    value = isolated_state_auroc(cells, state, here, groups)
    assert value == pytest.approx(0.5, abs=0.2)
