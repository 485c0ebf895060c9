"""How well batches (experiments) mix: the local inverse Simpson's index.

Korsunsky et al. (2019), Nature Methods 16, 1289, doi 10.1038/s41592-019-0619-0; scaled as by
Luecken et al. (2022), Nature Methods 19, 41, doi 10.1038/s41592-021-01336-8. Labels of shape
(..., n) give one value for each of the leading indices: the labels and their shuffles, say, whose
mean is what no relation to the labels would give.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from dynaclr.evaluation.metrics.neighbours import PERPLEXITY, neighbour_weights

# One shuffle is a noisy null; the mean of five hardly moves.
N_SHUFFLES = 5


def with_shuffles(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels as they are, and `N_SHUFFLES` times shuffled, shape (1 + N_SHUFFLES, n)."""
    return np.stack([labels, *(rng.permutation(labels) for _ in range(N_SHUFFLES))])


def lisi(features: np.ndarray, labels: np.ndarray, perplexity: float = PERPLEXITY) -> np.ndarray:
    """Local inverse Simpson's index of each observation.

    The effective number of labels among the neighbours of an observation, the neighbours weighted
    as in `neighbour_weights`: from 1, where all share one label, to the number of labels.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN.
    labels : numpy.ndarray
        Shape (..., n).
    perplexity : float
        Effective number of neighbours.

    Returns
    -------
    numpy.ndarray
        float64, shape (..., n).
    """
    codes = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    neighbours, weights = neighbour_weights(features, perplexity)
    return np.apply_along_axis(partial(_inverse_simpson, neighbours, weights), -1, codes)


def _inverse_simpson(neighbours: np.ndarray, weights: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """One over the sum of squared label shares among each observation's weighted neighbours."""
    neighbour_codes = codes[neighbours]
    shares = [
        np.where(neighbour_codes == code, weights, 0.0).sum(axis=1) for code in np.unique(codes)
    ]
    return 1.0 / np.square(shares).sum(axis=0)


def scaled_ilisi(values: np.ndarray, n_batches: int) -> np.ndarray:
    """Median LISI of batches, scaled from 0 (no mixing) to 1 (all batches equally, everywhere).

    ``(median - 1) / (n_batches - 1)``, as in scIB.

    Parameters
    ----------
    values : numpy.ndarray
        LISI of each observation, shape (..., n).
    n_batches : int
        At least 2.

    Returns
    -------
    numpy.ndarray
        float64, shape (...).
    """
    return (np.median(values, axis=-1) - 1.0) / (n_batches - 1.0)
