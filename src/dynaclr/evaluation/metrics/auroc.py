"""How well a score ranks positives above negatives: AUROC and average precision.

A bootstrap resample of n rows is a vector of n counts. Each function takes such weights of shape
(..., n) and returns one value for each of the leading indices; without weights every row counts
once and the value is a 0-d array.
"""

from __future__ import annotations

import numpy as np


def auroc(positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Area under the receiver operating characteristic.

    The probability that a random positive scores above a random negative, ties counted half:
    Hanley and McNeil (1982), Radiology 143, 29, doi 10.1148/radiology.143.1.7063747.

    Parameters
    ----------
    positive : numpy.ndarray
        bool, shape (n,).
    score : numpy.ndarray
        Higher is more positive, shape (n,).
    weight : numpy.ndarray, optional
        Shape (..., n).

    Returns
    -------
    numpy.ndarray
        float64, shape (...), NaN where one of the two classes has no weight.
    """
    return rank_scores(positive, score, weight)[0]


def average_precision(
    positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """Average precision: precision at each threshold, weighted by the step in recall.

    Without interpolation, as ``sklearn.metrics.average_precision_score``. Parameters and result as
    for `auroc`; NaN where no positive has weight.
    """
    return rank_scores(positive, score, weight)[1]


def rank_scores(
    positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`auroc` and `average_precision` in one pass over the sorted rows; parameters as there."""
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, dtype=float)
    order = np.argsort(-score, kind="stable")
    # Rows of equal score enter together: keep the last row of each run.
    last = np.append(np.diff(score[order]) != 0, True) if len(score) else np.zeros(0, bool)
    weight = weight[..., order]
    hits = np.cumsum(weight * positive[order], axis=-1)[..., last]
    taken = np.cumsum(weight, axis=-1)[..., last]
    if hits.shape[-1] == 0:
        missing = np.full(weight.shape[:-1], np.nan)
        return missing, missing
    misses = taken - hits
    hit_steps = np.diff(hits, axis=-1, prepend=0.0)
    miss_steps = np.diff(misses, axis=-1, prepend=0.0)
    n_positive, n_negative = hits[..., -1], misses[..., -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        area = np.sum(miss_steps * (hits - 0.5 * hit_steps), axis=-1) / (n_positive * n_negative)
        precision = np.where(taken > 0, hits / taken, 0.0)
        average = np.sum(hit_steps * precision, axis=-1) / n_positive
    return area, average


def stratified_auroc(
    positive: np.ndarray,
    score: np.ndarray,
    strata: np.ndarray,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Probability that a positive scores above a negative of the same stratum, ties counted half.

    The mean of the strata's AUROC, weighted by their numbers of pairs: the Mann-Whitney statistic
    of a stratified test.

    Parameters
    ----------
    positive : numpy.ndarray
        bool, shape (n,).
    score : numpy.ndarray
        Shape (n,).
    strata : numpy.ndarray
        Codes, shape (n,). Pairs across strata do not count.
    weight : numpy.ndarray, optional
        Shape (..., n).

    Returns
    -------
    numpy.ndarray
        float64, shape (...), NaN where no stratum holds both classes.
    """
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, dtype=float)
    pairs = np.zeros(weight.shape[:-1])
    ordered = np.zeros(weight.shape[:-1])
    for stratum in np.unique(strata):
        here = strata == stratum
        part = weight[..., here]
        n_positive = (part * positive[here]).sum(axis=-1)
        n_pairs = n_positive * (part.sum(axis=-1) - n_positive)
        area = auroc(positive[here], score[here], part)
        pairs += n_pairs
        ordered += np.where(n_pairs > 0, np.nan_to_num(area) * n_pairs, 0.0)
    with np.errstate(invalid="ignore"):
        return ordered / pairs
