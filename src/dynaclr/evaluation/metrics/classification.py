"""Scores of a classifier as functions of arrays, each also for many sets of row weights at once.

A bootstrap resample of n rows is a vector of n counts. Each function takes such weights of shape
(..., n), n last, and returns one score for each of the leading places; without weights every row
counts once and the score is a 0-d array.
"""

from __future__ import annotations

import numpy as np


def auroc(positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Area under the receiver operating characteristic.

    The chance that a random positive scores above a random negative, ties counted half.

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
        Shape (...), NaN where one of the two classes has no weight.
    """
    return rank_scores(positive, score, weight)[0]


def average_precision(
    positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """Average precision: the mean of precision over the positives, by descending score.

    Precision at each threshold weighted by the step in recall, without interpolation.
    Parameters and result as for `auroc`; NaN where no positive has weight.
    """
    return rank_scores(positive, score, weight)[1]


def rank_scores(
    positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """`auroc` and `average_precision` in one pass over the sorted rows."""
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, dtype=float)
    order = np.argsort(-score, kind="stable")
    # Rows of equal score enter together: keep the last place of each run.
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


def confusion_matrix(
    true: np.ndarray, predicted: np.ndarray, n_classes: int, weight: np.ndarray | None = None
) -> np.ndarray:
    """Weight of each pair of true class (row) and predicted class (column).

    Parameters
    ----------
    true, predicted : numpy.ndarray
        Class codes 0 to n_classes - 1, shape (n,).
    n_classes : int
    weight : numpy.ndarray, optional
        Shape (..., n).

    Returns
    -------
    numpy.ndarray
        float64, shape (..., n_classes, n_classes).
    """
    weight = np.ones(len(true)) if weight is None else np.asarray(weight, dtype=float)
    cells = np.zeros((len(true), n_classes * n_classes))
    cells[np.arange(len(true)), true * n_classes + predicted] = 1.0
    return (weight @ cells).reshape(*weight.shape[:-1], n_classes, n_classes)


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall of the classes that occur; NaN where fewer than two do.

    Parameters
    ----------
    confusion : numpy.ndarray
        True class by predicted class, shape (..., K, K).

    Returns
    -------
    numpy.ndarray
        Shape (...).
    """
    support = confusion.sum(axis=-1)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    recall = np.divide(hits, support, out=np.zeros_like(support), where=support > 0)
    occurring = (support > 0).sum(axis=-1)
    mean = recall.sum(axis=-1) / np.maximum(occurring, 1)
    return np.where(occurring >= 2, mean, np.nan)


def f1_per_class(confusion: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall of each class; NaN for a class that does not occur.

    Parameters
    ----------
    confusion : numpy.ndarray
        True class by predicted class, shape (..., K, K).

    Returns
    -------
    numpy.ndarray
        Shape (..., K).
    """
    support, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    out = np.full(hits.shape, np.nan)
    return np.divide(2 * hits, support + predicted, out=out, where=support > 0)


def classification_scores(
    true: np.ndarray,
    probability: np.ndarray,
    classes: tuple[str, ...],
    weight: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """All scores of predicted probabilities by name.

    Parameters
    ----------
    true : numpy.ndarray
        Class codes, shape (n,).
    probability : numpy.ndarray
        Shape (n, K). The predicted class is the most probable one.
    classes : tuple of str
        K names. With two, the second is the positive class; with more, ``auroc`` and
        ``average_precision`` are the mean over one class against the rest, for the classes
        that occur.
    weight : numpy.ndarray, optional
        Shape (..., n).

    Returns
    -------
    dict of str to numpy.ndarray
        ``auroc``, ``average_precision``, ``balanced_accuracy`` and ``f1:<class>`` for each
        class; arrays of shape (...). The first three are NaN under weights that lose a class:
        a mean over fewer classes is another quantity.
    """
    against_rest = range(1, 2) if len(classes) == 2 else range(len(classes))
    ranks = [rank_scores(true == k, probability[:, k], weight) for k in against_rest]
    confusion = confusion_matrix(true, probability.argmax(axis=1), len(classes), weight)
    f1 = f1_per_class(confusion)
    complete = (confusion.sum(axis=-1)[..., np.unique(true)] > 0).all(axis=-1)
    averages = {
        "auroc": _mean_of_finite([area for area, _ in ranks]),
        "average_precision": _mean_of_finite([average for _, average in ranks]),
        "balanced_accuracy": balanced_accuracy(confusion),
    }
    return {
        **{name: np.where(complete, value, np.nan) for name, value in averages.items()},
        **{f"f1:{name}": f1[..., k] for k, name in enumerate(classes)},
    }


def _mean_of_finite(values: list[np.ndarray]) -> np.ndarray:
    stacked = np.stack(values)
    finite = np.isfinite(stacked)
    total = np.where(finite, stacked, 0.0).sum(axis=0)
    return np.where(finite.any(axis=0), total / np.maximum(finite.sum(axis=0), 1), np.nan)


def scores_note(true: np.ndarray, classes: tuple[str, ...]) -> str:
    """Why some scores of these rows cannot be had; empty when all can.

    Parameters
    ----------
    true : numpy.ndarray
        Class codes, shape (n,).
    classes : tuple of str
    """
    occurring = [name for k, name in enumerate(classes) if np.any(true == k)]
    if not occurring:
        return "no labelled observations"
    if len(occurring) == 1:
        return f"all labelled observations are {occurring[0]!r}"
    absent = [name for name in classes if name not in occurring]
    return f"no observation is {', '.join(map(repr, absent))}" if absent else ""
