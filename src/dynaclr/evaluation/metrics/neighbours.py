"""Nearest neighbours of observations, and their weights."""

from __future__ import annotations

import numpy as np
from sklearn.neighbors import NearestNeighbors

PERPLEXITY = 30.0


def nearest(features: np.ndarray, n_neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """Nearest neighbours of each row, by rising Euclidean distance, without the row itself.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN.
    n_neighbours : int

    Returns
    -------
    neighbours : numpy.ndarray
        Row numbers, int64, shape (n, n_neighbours).
    distances : numpy.ndarray
        float64, shape (n, n_neighbours).
    """
    finder = NearestNeighbors(n_neighbors=n_neighbours, algorithm="brute").fit(features)
    distances, neighbours = finder.kneighbors()
    return neighbours, distances


def neighbour_weights(
    features: np.ndarray, perplexity: float = PERPLEXITY
) -> tuple[np.ndarray, np.ndarray]:
    """Nearest neighbours of each observation and their weights, which sum to 1.

    The weight falls as ``exp(-beta * distance)`` over the ``3 * perplexity`` nearest neighbours,
    beta chosen for each observation so that the weights' entropy is ``log(perplexity)``. The
    distance is Euclidean and not squared, as in ``compute_lisi`` of Korsunsky et al. (2019).

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN.
    perplexity : float
        Lowered to a third of the other observations where there are too few.

    Returns
    -------
    neighbours : numpy.ndarray
        Row numbers, int64, shape (n, k).
    weights : numpy.ndarray
        float64, shape (n, k).
    """
    n_neighbours = min(int(3 * perplexity), len(features) - 1)
    neighbours, distances = nearest(features, n_neighbours)
    return neighbours, _weights_of_perplexity(distances, min(perplexity, n_neighbours / 3))


def _weights_of_perplexity(distances: np.ndarray, perplexity: float) -> np.ndarray:
    """Rows of exponential weights whose entropy is log(perplexity), by bisection on log beta."""
    # Entropy does not change with an offset of the distances; without one nothing underflows.
    shifted = distances - distances.min(axis=1, keepdims=True)
    spread = np.maximum(shifted.mean(axis=1), 1e-12)
    low, high = np.log(1e-6 / spread), np.log(1e6 / spread)
    target = np.log(perplexity)
    for _ in range(60):
        middle = 0.5 * (low + high)
        too_flat = _entropy(shifted, np.exp(middle)) > target
        low, high = np.where(too_flat, middle, low), np.where(too_flat, high, middle)
    weights = np.exp(-np.exp(0.5 * (low + high))[:, None] * shifted)
    return weights / weights.sum(axis=1, keepdims=True)


def _entropy(shifted: np.ndarray, beta: np.ndarray) -> np.ndarray:
    weights = np.exp(-beta[:, None] * shifted)
    total = weights.sum(axis=1)
    return np.log(total) + beta * (weights * shifted).sum(axis=1) / total
