"""Low-dimensional coordinates of an embedding, for maps."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

# Rows whose neighbours are searched together: each row has thousands of candidates where a lineage
# is large.
_CHUNK_ROWS = 1024


def fit_components(features: np.ndarray, n_components: int) -> tuple[np.ndarray, np.ndarray]:
    """Directions of the first principal components, and the variance that each explains.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), of mean 0, no NaN.
    n_components : int
        With fewer columns or rows the rest is 0.

    Returns
    -------
    components : numpy.ndarray
        float64, shape (d, n_components).
    explained : numpy.ndarray
        Fraction of the variance, float64, shape (n_components,).
    """
    n_available = min(n_components, *features.shape)
    model = PCA(n_components=n_available, svd_solver="full").fit(features)
    components = np.zeros((features.shape[1], n_components))
    explained = np.zeros(n_components)
    components[:, :n_available] = model.components_.T
    explained[:n_available] = np.nan_to_num(model.explained_variance_ratio_)
    return components, explained


def umap_coordinates(
    features: np.ndarray, lineages: np.ndarray, seed: int, n_neighbors: int = 15
) -> np.ndarray:
    """Two UMAP coordinates, the same for the same seed.

    McInnes, Healy and Melville (2018), arXiv 1802.03426; umap-learn with exact neighbours. The
    nearest neighbours of an observation are those of the same track a frame earlier and later, so
    that UMAP would draw one thread per lineage: here neighbours are those in other lineages.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN, n at least 10.
    lineages : numpy.ndarray
        Lineage codes, shape (n,). Without effect where one lineage is too large: see
        `neighbours_in_other_lineages`.
    seed : int
    n_neighbors : int
        The observation itself counts as one.

    Returns
    -------
    numpy.ndarray
        float64, shape (n, 2).
    """
    import umap

    n_neighbors = min(n_neighbors, len(features) - 1)
    neighbours, distances = neighbours_in_other_lineages(features, lineages, n_neighbors)
    model = umap.UMAP(
        n_neighbors=n_neighbors,
        n_epochs=200,
        init="pca" if features.shape[1] >= 2 else "random",
        random_state=seed,
        n_jobs=1,
        precomputed_knn=(neighbours, distances, None),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*knn_search_index.*", category=UserWarning)
        return model.fit_transform(features).astype(np.float64)


def neighbours_in_other_lineages(
    features: np.ndarray, lineages: np.ndarray, n_neighbors: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each row, and its nearest rows of other lineages.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN.
    lineages : numpy.ndarray
        Shape (n,). Where one of them holds more than a tenth of the rows, neighbours of the same
        lineage count too.
    n_neighbors : int
        The row itself counts as one.

    Returns
    -------
    neighbours : numpy.ndarray
        Row numbers, int64, shape (n, n_neighbors): the row itself, then the nearest first.
    distances : numpy.ndarray
        Euclidean, float64, shape (n, n_neighbors).
    """
    largest = int(np.unique(lineages, return_counts=True)[1].max())
    if largest > max(1, len(features) // 10):
        lineages, largest = np.arange(len(features)), 1
    n_candidates = min(len(features), n_neighbors + largest - 1)
    finder = NearestNeighbors(n_neighbors=n_candidates, algorithm="brute").fit(features)
    neighbours, distances = [], []
    for first in range(0, len(features), _CHUNK_ROWS):
        rows = np.arange(first, min(first + _CHUNK_ROWS, len(features)))[:, None]
        found_distances, found = finder.kneighbors(features[rows[:, 0]])
        # A stable sort: other lineages come first, and each part stays in order of distance.
        order = np.argsort(lineages[found] == lineages[rows], axis=1, kind="stable")
        nearest = order[:, : n_neighbors - 1]
        neighbours.append(np.hstack([rows, np.take_along_axis(found, nearest, 1)]))
        zero = np.zeros(rows.shape)
        distances.append(np.hstack([zero, np.take_along_axis(found_distances, nearest, 1)]))
    return np.concatenate(neighbours), np.concatenate(distances)
