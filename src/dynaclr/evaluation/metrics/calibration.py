"""Calibration: whether a probability of 0.8 comes true four times out of five.

Row weights are taken as in `dynaclr.evaluation.metrics.auroc`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

N_BINS = 10


class Reliability(NamedTuple):
    """Predicted and observed frequency in bins of equal width; NaN in an empty bin.

    Attributes
    ----------
    predicted, observed : numpy.ndarray
        Mean probability and share of hits, float64, shape (..., n_bins).
    weight : numpy.ndarray
        Rows in each bin, shape (..., n_bins).
    """

    predicted: np.ndarray
    observed: np.ndarray
    weight: np.ndarray


def adjust_to_priors(probability: np.ndarray, priors: np.ndarray) -> np.ndarray:
    """Convert probabilities under equal class frequencies to those under given priors.

    Classifiers here weigh all classes equally, so that rare ones are found; their probabilities
    hold for equally frequent classes. Bayes' rule corrects them: proportional to
    ``probability * prior``. Saerens et al. (2002), Neural Computation 14, 21, equation 2.4.

    Parameters
    ----------
    probability : numpy.ndarray
        Shape (n, K).
    priors : numpy.ndarray
        Frequency of each class among the training rows, shape (K,).

    Returns
    -------
    numpy.ndarray
        float64, shape (n, K), rows sum to 1.
    """
    weighted = probability * priors
    return weighted / weighted.sum(axis=1, keepdims=True)


def brier_score(
    true: np.ndarray, probability: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """Mean squared error of probabilities; 0 is best.

    Of the second class with two classes (0 to 1), summed over classes with more (0 to 2). Brier
    (1950), Monthly Weather Review 78, 1.

    Parameters
    ----------
    true : numpy.ndarray
        Class codes, shape (n,).
    probability : numpy.ndarray
        Shape (n, K).
    weight : numpy.ndarray, optional
        Shape (..., n).

    Returns
    -------
    numpy.ndarray
        float64, shape (...).
    """
    error = np.square(probability - np.eye(probability.shape[1])[true])
    error = error[:, 1] if probability.shape[1] == 2 else error.sum(axis=1)
    return _mean(error, weight)


def reliability_curve(
    true: np.ndarray,
    probability: np.ndarray,
    weight: np.ndarray | None = None,
    n_bins: int = N_BINS,
) -> Reliability:
    """Predicted and observed frequency of the second class, or of being right with more classes.

    Parameters as for `brier_score`, and the number of bins of equal width from 0 to 1.
    """
    hit, confidence = true == 1, probability[:, -1]
    if probability.shape[1] > 2:
        hit, confidence = probability.argmax(axis=1) == true, probability.max(axis=1)
    weight = np.ones(len(true)) if weight is None else np.asarray(weight, dtype=float)
    in_bin = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    columns = np.zeros((len(true), 3, n_bins))
    columns[np.arange(len(true)), :, in_bin] = np.stack(
        [confidence, hit, np.ones(len(true))], axis=1
    )
    sums = (weight @ columns.reshape(len(true), -1)).reshape(*weight.shape[:-1], 3, n_bins)
    n = sums[..., 2, :]
    with np.errstate(invalid="ignore"):
        return Reliability(sums[..., 0, :] / n, sums[..., 1, :] / n, n)


def expected_calibration_error(
    true: np.ndarray,
    probability: np.ndarray,
    weight: np.ndarray | None = None,
    n_bins: int = N_BINS,
) -> np.ndarray:
    """Mean difference of predicted and observed frequency over the bins, weighted by their rows.

    Guo et al. (2017), ICML, equation 3; with two classes of the second class's probability; 0 is
    best. Parameters as for `reliability_curve`, result as for `brier_score`.
    """
    curve = reliability_curve(true, probability, weight, n_bins)
    total = curve.weight.sum(axis=-1)
    gaps = np.where(curve.weight > 0, np.abs(curve.predicted - curve.observed), 0.0)
    return (gaps * curve.weight).sum(axis=-1) / total


def _mean(values: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    if weight is None:
        return np.asarray(values.mean())
    return (weight @ values) / weight.sum(axis=-1)
