"""Two coordinates of an embedding to look at."""

from __future__ import annotations

import warnings
from contextlib import suppress
from functools import cache
from types import ModuleType

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import NearestNeighbors

# Rows whose neighbours are looked for together: of a large lineage there are thousands to look at.
_ROWS_AT_A_TIME = 1024


def standardize(features: np.ndarray) -> np.ndarray:
    """Features with mean 0 and variance 1 over the rows; missing ones at the mean.

    Distances then do not depend on the unit of a feature, so that embeddings and raw intensities
    are treated alike.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing.

    Returns
    -------
    numpy.ndarray
        float64, shape (n, d).
    """
    features = np.asarray(features, dtype=np.float64)
    features = np.where(np.isnan(features).all(axis=0), 0.0, features)
    mean, deviation = np.nanmean(features, axis=0), np.nanstd(features, axis=0)
    # A constant column keeps a deviation of rounding size; dividing by it would blow up noise.
    constant = deviation <= 1e-7 * np.maximum(np.abs(mean), 1e-30)
    return np.nan_to_num((features - mean) / np.where(constant, np.inf, deviation))


def principal_components(
    features: np.ndarray, n_components: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates on the first principal components and the share of variance each explains.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN.
    n_components : int
        With fewer columns or rows the rest is 0.

    Returns
    -------
    coordinates : numpy.ndarray
        float64, shape (n, n_components).
    explained : numpy.ndarray
        float64, shape (n_components,), in 0 .. 1.
    """
    n_available = min(n_components, *features.shape)
    model = PCA(n_components=n_available, svd_solver="full")
    coordinates = np.zeros((len(features), n_components))
    explained = np.zeros(n_components)
    coordinates[:, :n_available] = model.fit_transform(features)
    explained[:n_available] = np.nan_to_num(model.explained_variance_ratio_)
    return coordinates, explained


def umap_coordinates(
    features: np.ndarray, lineages: np.ndarray, seed: int, n_neighbors: int = 15
) -> np.ndarray:
    """Two UMAP coordinates, the same for the same seed.

    McInnes, Healy and Melville (2018), arXiv 1802.03426; umap-learn with exact neighbours. A cell's
    nearest neighbours are itself a frame earlier and later, so that UMAP would lay out threads, one
    a lineage: what holds a cell here are its nearest neighbours in others.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN, n at least 10.
    lineages : numpy.ndarray
        Lineage codes, shape (n,). Of no effect where one lineage holds too much of the cells: see
        `neighbours_in_others`.
    seed : int
    n_neighbors : int

    Returns
    -------
    numpy.ndarray
        float64, shape (n, 2).
    """
    umap = _umap_kept_compiled()
    n_neighbors = min(n_neighbors, len(features) - 1)
    # Left to itself umap-learn computes all distances of a small set in a Python loop.
    neighbours, distances = neighbours_in_others(features, lineages, n_neighbors)
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


@cache
def _umap_kept_compiled() -> ModuleType:
    """Import umap-learn, and have numba keep on disk what it compiles of it, where it can.

    umap-learn does not ask for it: each process would compile for longer than a small map takes.
    """
    import umap
    from numba.core.registry import CPUDispatcher

    for function in [*vars(umap.umap_).values(), *vars(umap.layouts).values()]:
        if isinstance(function, CPUDispatcher):
            # Numba knows of no place that it can write to.
            with suppress(RuntimeError):
                function.enable_caching()
    return umap


def neighbours_in_others(
    features: np.ndarray, lineages: np.ndarray, n_neighbors: int
) -> tuple[np.ndarray, np.ndarray]:
    """Each row, and its nearest rows that are of another lineage.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN.
    lineages : numpy.ndarray
        Shape (n,). Where one of them holds more than a tenth of the rows, neighbours of the own
        lineage count like any.
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
    n_looked_at = min(len(features), n_neighbors + largest - 1)
    finder = NearestNeighbors(n_neighbors=n_looked_at, algorithm="brute").fit(features)
    parts = []
    for first in range(0, len(features), _ROWS_AT_A_TIME):
        rows = np.arange(first, min(first + _ROWS_AT_A_TIME, len(features)))[:, None]
        distances, found = finder.kneighbors(features[rows[:, 0]])
        # Stable, so that those of other lineages come first and stay in their order.
        order = np.argsort(lineages[found] == lineages[rows], axis=1, kind="stable")
        nearest = order[:, : n_neighbors - 1]
        own = rows, np.zeros(rows.shape)
        others = (np.take_along_axis(of, nearest, 1) for of in (found, distances))
        parts.append([np.hstack(pair) for pair in zip(own, others, strict=True)])
    neighbours, distances = map(np.concatenate, zip(*parts, strict=True))
    return neighbours, distances
