"""How well a classifier predicts classes: all scores of its probabilities by name.

Row weights are taken as in `dynaclr.evaluation.metrics.auroc`.
"""

from __future__ import annotations

import numpy as np

from dynaclr.evaluation.metrics.auroc import rank_scores


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


def missing_classes_note(true: np.ndarray, classes: tuple[str, ...]) -> str:
    """Why some scores of these rows are missing; empty when none is.

    Parameters
    ----------
    true : numpy.ndarray
        Class codes, shape (n,).
    classes : tuple of str
    """
    present = [name for k, name in enumerate(classes) if np.any(true == k)]
    if not present:
        return "no labelled observations"
    if len(present) == 1:
        return f"all labelled observations are {present[0]!r}"
    absent = [name for name in classes if name not in present]
    return f"no observation is {', '.join(map(repr, absent))}" if absent else ""


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
    entries = np.zeros((len(true), n_classes * n_classes))
    entries[np.arange(len(true)), true * n_classes + predicted] = 1.0
    return (weight @ entries).reshape(*weight.shape[:-1], n_classes, n_classes)


def balanced_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Mean recall of the classes that occur; NaN where fewer than two do.

    Brodersen et al. (2010), ICPR, doi 10.1109/ICPR.2010.764.

    Parameters
    ----------
    confusion : numpy.ndarray
        True class by predicted class, shape (..., K, K).

    Returns
    -------
    numpy.ndarray
        float64, shape (...).
    """
    support = confusion.sum(axis=-1)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    recall = np.divide(hits, support, out=np.zeros_like(support), where=support > 0)
    n_present = (support > 0).sum(axis=-1)
    mean = recall.sum(axis=-1) / np.maximum(n_present, 1)
    return np.where(n_present >= 2, mean, np.nan)


def f1_per_class(confusion: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall of each class; NaN for a class that does not occur.

    Parameters
    ----------
    confusion : numpy.ndarray
        True class by predicted class, shape (..., K, K).

    Returns
    -------
    numpy.ndarray
        float64, shape (..., K).
    """
    support, predicted = confusion.sum(axis=-1), confusion.sum(axis=-2)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    out = np.full(hits.shape, np.nan)
    return np.divide(2 * hits, support + predicted, out=out, where=support > 0)
