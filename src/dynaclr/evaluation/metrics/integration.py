"""Measures of data integration, by the definitions of scIB and of the JUMP-CP protocol.

Batches are experiments, labels are classes. Luecken et al. (2022), Nature Methods 19, 41, doi
10.1038/s41592-021-01336-8; Arevalo et al. (2024), Nature Communications 15, 6516, doi
10.1038/s41467-024-50613-5. Distances are Euclidean and features are taken as they come. What takes
labels of shape (..., n) gives one value for each of the leading places, labels and their shuffles,
say, all of them with the same counts; neighbours and distances are found once.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from scipy.stats import chi2
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score
from sklearn.neighbors import NearestNeighbors

from dynaclr.evaluation.metrics.classification import auroc
from dynaclr.evaluation.metrics.mixing import lisi

BATCH_WEIGHT, BIOLOGY_WEIGHT = 0.4, 0.6


def kbet_acceptance(
    features: np.ndarray, batches: np.ndarray, n_neighbours: int | None = None, alpha: float = 0.05
) -> np.ndarray:
    """Share of neighbourhoods whose batches could be a draw from all cells (kBET).

    Pearson's chi-squared test of the batches of each cell's neighbourhood, the cell included,
    against those of all cells. Buttner et al. (2019), Nature Methods 16, 43. Near ``1 - alpha``
    when batches are mixed, 0 when they are apart.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).
    batches : numpy.ndarray
        Shape (..., n), at least two distinct.
    n_neighbours : int, optional
        Size of a neighbourhood; default as in scIB: a quarter of the mean batch, in 10 .. 70.
    alpha : float
        Level of the test.
    """
    codes, n_batches = _codes(batches)
    share = np.bincount(codes.reshape(-1, len(features))[0]) / len(features)
    if n_neighbours is None:
        n_neighbours = int(np.clip(len(features) / n_batches // 4, 10, 70))
    n_neighbours = min(n_neighbours, len(features))
    members = nearest(features, n_neighbours - 1, with_self=True)
    expected = share * n_neighbours

    def acceptance(batch: np.ndarray) -> float:
        near = batch[members]
        observed = np.stack([(near == k).sum(axis=1) for k in range(n_batches)], axis=1)
        statistic = (np.square(observed - expected) / expected).sum(axis=1)
        return (chi2.sf(statistic, n_batches - 1) >= alpha).mean()

    return np.apply_along_axis(acceptance, -1, codes)


def graph_connectivity(features: np.ndarray, labels: np.ndarray, n_neighbours: int = 15) -> float:
    """Share of each label's cells in its largest strongly connected part, averaged over labels.

    In the graph from each cell to its nearest neighbours, cut down to the label's cells: below 1
    when a label falls apart, for example by batch.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).
    labels : numpy.ndarray
        Shape (n,).
    n_neighbours : int
        The cell itself counts as one.
    """
    members = nearest(features, min(n_neighbours, len(features)) - 1)
    n, k = members.shape
    graph = csr_matrix((np.ones(n * k), members.ravel(), np.arange(0, n * k + 1, k)), shape=(n, n))
    shares = []
    for label in np.unique(labels):
        here = np.flatnonzero(labels == label)
        _, parts = connected_components(graph[here][:, here], connection="strong")
        shares.append(np.bincount(parts).max() / len(here))
    return float(np.mean(shares))


def batch_silhouette(features: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Mean of ``1 - |silhouette width|`` of batches among cells that should be alike: 1 is mixed.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), cells of one label.
    batches : numpy.ndarray
        Shape (..., n), at least two distinct.
    """
    return (1.0 - np.abs(silhouette_widths(features, batches))).mean(axis=-1)


def label_silhouette(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean silhouette width of labels, scaled to 0 .. 1: 0.5 when they overlap.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).
    labels : numpy.ndarray
        Shape (..., n), at least two distinct.
    """
    return (silhouette_widths(features, labels).mean(axis=-1) + 1.0) / 2.0


def silhouette_widths(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How much closer each cell lies to its own label than to the next, -1 to 1, shape (..., n).

    Rousseeuw (1987), Journal of Computational and Applied Mathematics 20, 53; 0 for a label of one.
    """
    codes, n_labels = _codes(labels)
    distances, cells = cdist(features, features), np.arange(len(features))

    def widths(label: np.ndarray) -> np.ndarray:
        of_label = np.eye(n_labels)[label]
        counts = of_label.sum(axis=0)
        sums = distances @ of_label
        own = sums[cells, label] / np.maximum(counts[label] - 1, 1)
        others = np.where(of_label == 1, np.inf, sums / counts).min(axis=1)
        larger = np.maximum(own, others)
        width = np.divide(others - own, larger, out=np.zeros_like(own), where=larger > 0)
        return np.where(counts[label] > 1, width, 0.0)

    return np.apply_along_axis(widths, -1, codes)


def clisi(features: np.ndarray, labels: np.ndarray, perplexity: float = 30.0) -> np.ndarray:
    """Median LISI of labels, scaled: 1 when neighbours share the label, 0 when labels are mixed.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).
    labels : numpy.ndarray
        Shape (..., n), at least two distinct.
    perplexity : float
        As in `dynaclr.evaluation.metrics.mixing.lisi`.
    """
    codes, n_labels = _codes(labels)
    median = np.median(lisi(features, codes, perplexity), axis=-1)
    return (n_labels - median) / (n_labels - 1)


def cluster_agreement(features: np.ndarray, labels: np.ndarray, seed: int) -> np.ndarray:
    """NMI (arithmetic) and ARI of k-means clusters, as many as labels, and the labels.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).
    labels : numpy.ndarray
        Shape (..., n).
    seed : int
        Of k-means, which keeps the best of three starts.

    Returns
    -------
    numpy.ndarray
        Shape (..., 2).
    """
    codes, n_labels = _codes(labels)
    clusters = KMeans(n_labels, n_init=3, random_state=seed).fit_predict(features)
    measures = (normalized_mutual_info_score, adjusted_rand_score)
    return np.apply_along_axis(
        lambda of: [measure(of, clusters) for measure in measures], -1, codes
    )


def retrieval_map(features: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Mean average precision of finding a cell's label among the cells of other batches.

    Each cell ranks the cells of all other batches by cosine similarity; average precision of those
    of its own label, averaged over cells that have any. After Kalinin et al. (2025), Nature
    Communications 16, who rank replicate profiles against controls; here cells take their place.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), centred.
    labels : numpy.ndarray
        Shape (..., n).
    batches : numpy.ndarray
        Shape (n,), at least two distinct.
    """
    codes = _codes(labels)[0]
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, 1e-12)
    similarity = unit @ unit.T
    values = np.empty(codes.shape)
    for i in range(len(features)):
        others = np.flatnonzero(batches != batches[i])
        order = others[np.argsort(-similarity[i, others], kind="stable")]
        # Rows of equal similarity enter together: keep the last place of each run.
        last = np.flatnonzero(np.append(np.diff(similarity[i, order]) != 0, True))
        hits = np.cumsum(codes[..., order] == codes[..., [i]], axis=-1)[..., last]
        steps = np.diff(hits, axis=-1, prepend=0)
        with np.errstate(invalid="ignore"):
            values[..., i] = (steps * hits / (last + 1)).sum(axis=-1) / hits[..., -1]
    return np.nanmean(values, axis=-1)


def isolated_state_auroc(
    features: np.ndarray,
    state: np.ndarray,
    here: np.ndarray,
    groups: np.ndarray,
    n_neighbours: int = 15,
) -> float:
    """How well a state that one experiment alone has stays apart from the other cells.

    Each cell is scored by the share of the state among its nearest neighbours of other groups;
    AUROC of the state's cells against the other cells of the same experiment. 0.5 when the state
    has dissolved, as over-correction makes it.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).
    state : numpy.ndarray
        bool, shape (n,), true in the one experiment only.
    here : numpy.ndarray
        bool, cells of that experiment, shape (n,).
    groups : numpy.ndarray
        Lineages, shape (n,): neighbours of a cell's own lineage do not count.
    n_neighbours : int
    """
    reach = min(4 * n_neighbours, len(features) - 1)
    near = nearest(features, reach)
    foreign = groups[near] != groups[:, None]
    counted = foreign & (np.cumsum(foreign, axis=1) <= n_neighbours)
    share = (state[near] & counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return float(auroc(state[here], share[here]))


def integration_score(batch: Sequence[float], biology: Sequence[float]) -> tuple[float, ...]:
    """Mean of batch measures, mean of biology measures, and 0.4 of the first + 0.6 of the second.

    The aggregate of scIB, which the JUMP-CP protocol shares; every measure lies in 0 .. 1, higher
    being better.
    """
    first, second = float(np.mean(batch)), float(np.mean(biology))
    return first, second, BATCH_WEIGHT * first + BIOLOGY_WEIGHT * second


def nearest(features: np.ndarray, n_neighbours: int, with_self: bool = False) -> np.ndarray:
    """Nearest neighbours of each row, by rising distance; the row itself first where asked for.

    Returns
    -------
    numpy.ndarray
        int64, shape (n, n_neighbours), one more with the row itself.
    """
    finder = NearestNeighbors(n_neighbors=n_neighbours, algorithm="brute").fit(features)
    near = finder.kneighbors(return_distance=False)
    return np.column_stack([np.arange(len(features)), near]) if with_self else near


def _codes(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Labels as numbers from 0 on, and how many there are."""
    names, codes = np.unique(labels.astype(str), return_inverse=True)
    return codes.reshape(labels.shape), len(names)
