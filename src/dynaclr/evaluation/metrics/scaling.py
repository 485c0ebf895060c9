"""Scaling of features, so that distances do not depend on their units."""

from __future__ import annotations

import numpy as np


def mean_and_scale(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of every feature over the rows; infinite for a constant one.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing.

    Returns
    -------
    mean, scale : numpy.ndarray
        float64, shape (d,).
    """
    features = np.asarray(features, dtype=np.float64)
    known = np.where(np.isnan(features).all(axis=0), 0.0, features)
    mean, deviation = np.nanmean(known, axis=0), np.nanstd(known, axis=0)
    # A constant column keeps a deviation of rounding size; dividing by it would amplify noise.
    constant = deviation <= 1e-7 * np.maximum(np.abs(mean), 1e-30)
    return mean, np.where(constant, np.inf, deviation)


def zscore(features: np.ndarray) -> np.ndarray:
    """Features with mean 0 and variance 1 over the rows; a constant one becomes 0.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing, and stays NaN.

    Returns
    -------
    numpy.ndarray
        float64, shape (n, d).
    """
    mean, scale = mean_and_scale(features)
    return (np.asarray(features, dtype=np.float64) - mean) / scale


def standardize(features: np.ndarray) -> np.ndarray:
    """Features with mean 0 and variance 1 over the rows; missing ones at the mean.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing.

    Returns
    -------
    numpy.ndarray
        float64, shape (n, d), no NaN.
    """
    return np.nan_to_num(zscore(features))
