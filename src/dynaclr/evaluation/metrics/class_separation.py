"""Whether classes stay apart while experiments mix.

Labels of shape (..., n) give one value for each of the leading indices, all of them with the same
counts, as in `dynaclr.evaluation.metrics.mixing`; neighbours and distances are computed once.
Distances are Euclidean, between features as they are given.
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.metrics import silhouette_score

from dynaclr.evaluation.metrics.auroc import auroc
from dynaclr.evaluation.metrics.mixing import lisi
from dynaclr.evaluation.metrics.neighbours import PERPLEXITY, nearest


def clisi(features: np.ndarray, labels: np.ndarray, perplexity: float = PERPLEXITY) -> np.ndarray:
    """Median LISI of classes, scaled: 1 when neighbours share the class, 0 when classes mix.

    ``(n_labels - median) / (n_labels - 1)``: Luecken et al. (2022), Nature Methods 19, 41, doi
    10.1038/s41592-021-01336-8.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN.
    labels : numpy.ndarray
        Shape (..., n), at least two distinct.
    perplexity : float
        As in `lisi`.

    Returns
    -------
    numpy.ndarray
        float64, shape (...).
    """
    n_labels = len(np.unique(labels))
    median = np.median(lisi(features, labels, perplexity), axis=-1)
    return (n_labels - median) / (n_labels - 1)


def class_silhouette(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean silhouette width of classes, scaled to 0 .. 1: 0.5 when they overlap.

    Rousseeuw (1987), Journal of Computational and Applied Mathematics 20, 53, by scikit-learn;
    scaled as in scIB.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN.
    labels : numpy.ndarray
        Shape (..., n), at least two distinct.

    Returns
    -------
    numpy.ndarray
        float64, shape (...).
    """
    # Scikit-learn's own distances lose the digits of nearly identical rows.
    distances = cdist(features, features)

    def mean_width(row: np.ndarray) -> float:
        return float(silhouette_score(distances, row, metric="precomputed"))

    return (np.apply_along_axis(mean_width, -1, labels) + 1.0) / 2.0


def retrieval_map(features: np.ndarray, labels: np.ndarray, batches: np.ndarray) -> np.ndarray:
    """Mean average precision of finding an observation's class in other batches.

    Each observation ranks the observations of all other batches by cosine similarity; average
    precision of those of its own class, averaged over observations that have any. After Kalinin et
    al. (2025), Nature Communications 16, who rank replicate profiles against controls.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), centred.
    labels : numpy.ndarray
        Shape (..., n).
    batches : numpy.ndarray
        Shape (n,), at least two distinct.

    Returns
    -------
    numpy.ndarray
        float64, shape (...).
    """
    codes = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.maximum(norms, 1e-12)
    similarity = unit @ unit.T
    values = np.empty(codes.shape)
    for i in range(len(features)):
        others = np.flatnonzero(batches != batches[i])
        order = others[np.argsort(-similarity[i, others], kind="stable")]
        # Rows of equal similarity enter together: keep the last row of each run.
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
    """How well a state that one experiment alone has stays apart from all other observations.

    After the isolated-label score of scIB (Luecken et al. 2022). Each observation is scored by the
    share of the state among its nearest neighbours of other groups; AUROC of the state against the
    other observations of the same experiment. 0.5 when over-correction has dissolved the state.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN.
    state : numpy.ndarray
        bool, shape (n,), true in the one experiment only.
    here : numpy.ndarray
        Observations of that experiment, bool, shape (n,).
    groups : numpy.ndarray
        Lineages, shape (n,): neighbours of the same lineage do not count.
    n_neighbours : int

    Returns
    -------
    float
    """
    near, _ = nearest(features, min(4 * n_neighbours, len(features) - 1))
    foreign = groups[near] != groups[:, None]
    counted = foreign & (np.cumsum(foreign, axis=1) <= n_neighbours)
    share = (state[near] & counted).sum(axis=1) / np.maximum(counted.sum(axis=1), 1)
    return float(auroc(state[here], share[here]))
