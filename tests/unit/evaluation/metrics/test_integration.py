"""Measures of integration against values of scib-metrics, and their ends.

The values of scib-metrics 0.5.10 were computed once on the arrays made here, with its neighbours
found by scikit-learn (the cell itself among them, but not for LISI):

    def near(k):
        distances, indices = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(X).kneighbors(X)
        return NeighborsResults(indices=indices, distances=distances)
    kbet(near(12), batches)[0], kbet(near(20), batches)[0]
    graph_connectivity(near(5), labels), graph_connectivity(near(3), labels)
    silhouette_label(X, labels), silhouette_batch(X, np.zeros(150, int), batches)
    clisi_knn(near_without_self(30), labels, perplexity=10)
    ilisi_knn(near_without_self(30), batches, perplexity=10)
    nmi_ari_cluster_labels_kmeans(Y, clusters)
"""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from dynaclr.evaluation.metrics import integration
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


def test_kbet(arrays):
    features, _, batches = arrays
    assert integration.kbet_acceptance(features, batches, 12) == pytest.approx(0.7266667, abs=1e-6)
    assert integration.kbet_acceptance(features, batches, 20) == pytest.approx(0.6866667, abs=1e-6)


def test_graph_connectivity(arrays):
    features, labels, _ = arrays
    for k, expected in ((5, 0.7666667), (3, 0.1333333)):
        value = integration.graph_connectivity(features, labels, k)
        assert value == pytest.approx(expected, abs=1e-6)


def test_silhouettes(arrays):
    features, labels, batches = arrays
    assert integration.label_silhouette(features, labels) == pytest.approx(0.6412168, abs=1e-6)
    assert integration.batch_silhouette(features, batches) == pytest.approx(0.8715257, abs=1e-6)


def test_lisi(arrays):
    # scib-metrics stops its search for the perplexity early.
    features, labels, batches = arrays
    assert integration.clisi(features, labels, 10) == pytest.approx(0.982869, abs=1e-5)
    value = scaled_ilisi(lisi(features, batches, 10), 3)
    assert value == pytest.approx(0.563802, abs=1e-5)


def test_cluster_agreement(arrays):
    clusters = np.repeat([0, 1, 2], 50)
    features = 0.1 * arrays[0] + np.array([[0, 0, 0], [8, 8, 8], [16, 0, 0]])[clusters]
    clusters[::9] = (clusters[::9] + 1) % 3
    nmi, ari = integration.cluster_agreement(features, clusters, seed=0)
    assert nmi == pytest.approx(0.6786257, abs=1e-6)
    assert ari == pytest.approx(0.6945205, abs=1e-6)


def test_ends_of_the_scales():
    rng = np.random.default_rng(0)
    cloud = rng.normal(size=(300, 4))
    batches = np.array(["x", "y", "z"])[np.arange(300) % 3]
    apart = cloud + 100.0 * (np.arange(300) % 3)[:, None]
    assert integration.kbet_acceptance(apart, batches) == 0.0
    assert integration.kbet_acceptance(cloud, batches) == pytest.approx(0.95, abs=0.05)
    assert integration.graph_connectivity(cloud, np.zeros(300)) > 0.95
    assert integration.graph_connectivity(apart, np.zeros(300)) == pytest.approx(1 / 3, abs=0.02)
    assert integration.graph_connectivity(apart, batches) > 0.9
    assert integration.clisi(apart, batches) == pytest.approx(1.0, abs=1e-6)
    assert integration.label_silhouette(apart, batches) > 0.95
    assert integration.batch_silhouette(apart, batches) < 0.05
    assert integration.cluster_agreement(apart, batches, 0) == pytest.approx((1.0, 1.0))


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
    value = integration.retrieval_map(features, labels, batches)
    assert value == pytest.approx(np.mean(expected))


def test_a_state_of_one_experiment_survives_until_it_is_corrected_away():
    rng = np.random.default_rng(0)
    here = np.arange(400) < 200
    state = here & (np.arange(400) % 2 == 0)
    groups = np.arange(400) // 4
    cells = rng.normal(size=(400, 5))
    shifted = cells + 6.0 * state[:, None]
    assert integration.isolated_state_auroc(shifted, state, here, groups) > 0.99
    assert integration.isolated_state_auroc(cells, state, here, groups) == pytest.approx(
        0.5, abs=0.1
    )


def test_neighbours_of_the_own_lineage_do_not_count():
    """A lineage's cells lie together wherever it is: that alone keeps no state apart."""
    rng = np.random.default_rng(0)
    here = np.arange(400) < 200
    groups = np.arange(400) // 8
    state = here & (groups % 2 == 0)
    cells = rng.normal(size=(50, 5))[groups] + 0.01 * rng.normal(size=(400, 5))
    value = integration.isolated_state_auroc(cells, state, here, groups)
    assert value == pytest.approx(0.5, abs=0.2)


def test_the_aggregate_weighs_batch_and_biology():
    assert integration.integration_score([0.2, 0.4], [1.0]) == pytest.approx((0.3, 1.0, 0.72))
