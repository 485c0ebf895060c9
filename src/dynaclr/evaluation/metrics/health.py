"""Metrics of an embedding's health: effective rank, alignment, uniformity, purity."""

from __future__ import annotations

import numpy as np

from dynaclr.evaluation.metrics.neighbours import nearest


def effective_rank(features: np.ndarray) -> float:
    """Exponential of the entropy of the singular values, normalised to sum 1, after centring.

    From 1 (all variation along one direction) to min(n - 1, d). Roy and Vetterli (2007), EUSIPCO.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN.

    Returns
    -------
    float
        NaN where nothing varies.
    """
    values = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    if values.sum() <= 1e-12:
        return np.nan
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def _on_sphere(features: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1."""
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def alignment(first: np.ndarray, second: np.ndarray) -> float:
    """Mean squared distance of pairs that should be alike, on the unit sphere: 0 to 4.

    Wang and Isola (2020), ICML, with exponent 2.

    Parameters
    ----------
    first, second : numpy.ndarray
        The two members of each pair, shape (m, d).

    Returns
    -------
    float
        NaN without a pair.
    """
    if len(first) == 0:
        return np.nan
    return float(np.square(_on_sphere(first) - _on_sphere(second)).sum(axis=1).mean())


def uniformity(features: np.ndarray, t: float = 2.0) -> float:
    """Log of the mean Gaussian potential of all pairs on the unit sphere: lower is more uniform.

    Wang and Isola (2020), ICML: ``log mean exp(-t |x - y|^2)`` over pairs of different rows.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).
    t : float
        Inverse width of the potential.

    Returns
    -------
    float
    """
    unit = _on_sphere(features)
    squares = np.maximum(2.0 - 2.0 * (unit @ unit.T), 0.0)
    above = np.triu_indices(len(unit), 1)
    return float(np.log(np.exp(-t * squares[above]).mean()))


def norm_distribution(features: np.ndarray) -> tuple[float, float]:
    """Mean of the rows' norms, and their coefficient of variation.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).

    Returns
    -------
    mean, variation : float
    """
    norms = np.linalg.norm(features, axis=1)
    return float(norms.mean()), float(norms.std() / max(norms.mean(), 1e-12))


def neighbour_purity(
    features: np.ndarray, values: np.ndarray, tolerance: float = 0.0, n_neighbours: int = 15
) -> tuple[float, float]:
    """Share of the nearest neighbours that agree with an observation, and that share among all.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).
    values : numpy.ndarray
        Numbers or codes, shape (n,); two agree when they differ by at most `tolerance`.
    tolerance : float
    n_neighbours : int

    Returns
    -------
    purity : float
    expected : float
        Purity of random neighbours.
    """
    near, _ = nearest(features, min(n_neighbours, len(features) - 1))
    purity = float((np.abs(values[near] - values[:, None]) <= tolerance).mean())
    n = len(values)
    ordered = np.sort(values)
    within = np.searchsorted(ordered, values + tolerance, side="right")
    within -= np.searchsorted(ordered, values - tolerance, side="left")
    return purity, float((within - 1).sum() / (n * (n - 1)))
