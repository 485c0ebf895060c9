"""Cross-validation of logistic regressions: by group, or with one experiment left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

# Inverse strengths of the penalty to choose from, from a strong one to hardly any.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)

# What weighs the same in a fit and in the choice of its strength: every class, or every row.
ClassWeight = Literal["balanced"] | None


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold probabilities: each row's classifier was fitted without the row's group.

    Attributes
    ----------
    classes : tuple of str
        K class names, sorted.
    probability : numpy.ndarray
        float64, shape (n, K); all NaN when the rows cannot be split.
    strength : float
        The strength with the lowest loss over all rows.
    note : str
        Why there are no probabilities, or empty.
    """

    classes: tuple[str, ...]
    probability: np.ndarray
    strength: float
    note: str


def cross_validate(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    strengths: Sequence[float] = STRENGTHS,
    class_weight: ClassWeight = "balanced",
    n_folds: int = 5,
    seed: int = 0,
) -> CrossValidation:
    """Probabilities for each row from a classifier fitted without the row's group.

    Scaling is fitted on the training folds only. The strength used for a fold is the one with
    the lowest log loss, weighted as the fits are, on the left-out rows of the *other* folds: no
    row takes part in the choice of its own strength, and no nested fits are needed.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing.
    labels : numpy.ndarray
        Class names, shape (n,), at least two distinct.
    groups : numpy.ndarray
        Rows of one group are never split between folds, shape (n,).
    strengths : sequence of float
        Inverse strengths of the penalty to choose from.
    class_weight : "balanced" or None
        Whether all classes weigh the same, or all rows.
    n_folds : int
    seed : int
        Seed of the folds.

    Returns
    -------
    CrossValidation

    Raises
    ------
    ValueError
        When shapes do not agree or there are fewer than two classes.
    """
    features, labels = checked_arrays(features, labels, groups)
    classes = tuple(sorted(set(labels)))
    codes = class_codes(labels, classes)
    per_class = [len(np.unique(groups[codes == k])) for k in range(len(classes))]
    if min(per_class) < 2:
        rare = classes[int(np.argmin(per_class))]
        note = f"class {rare!r} is in one group only: no cross-validation"
        nothing = np.full((len(codes), len(classes)), np.nan)
        return CrossValidation(classes, nothing, _middle(strengths), note)
    splitter = StratifiedGroupKFold(min(n_folds, *per_class), shuffle=True, random_state=seed)
    fold_of = np.empty(len(codes), dtype=np.int64)
    for fold, (_, outside) in enumerate(splitter.split(features, codes, groups)):
        fold_of[outside] = fold
    return _validate_folds(features, codes, classes, fold_of, strengths, class_weight)


def leave_one_out(
    features: np.ndarray,
    labels: np.ndarray,
    experiments: np.ndarray,
    *,
    strengths: Sequence[float] = STRENGTHS,
    class_weight: ClassWeight = "balanced",
) -> CrossValidation:
    """Probabilities for each row from a classifier fitted on all *other* experiments.

    Each experiment is a fold of `cross_validate`; parameters, result and errors as there, with the
    experiment of each row in place of its group.
    """
    features, labels = checked_arrays(features, labels, experiments)
    classes = tuple(sorted(set(labels)))
    codes = class_codes(labels, classes)
    _, fold_of = np.unique(experiments.astype(str), return_inverse=True)
    if fold_of.max() == 0:
        nothing = np.full((len(codes), len(classes)), np.nan)
        note = "one experiment only: none can be left out"
        return CrossValidation(classes, nothing, _middle(strengths), note)
    return _validate_folds(features, codes, classes, fold_of, strengths, class_weight)


def _validate_folds(
    features: np.ndarray,
    codes: np.ndarray,
    classes: tuple[str, ...],
    fold_of: np.ndarray,
    strengths: Sequence[float],
    class_weight: ClassWeight,
) -> CrossValidation:
    probability = np.full((len(codes), len(classes)), np.nan)
    probabilities = np.empty((len(strengths), *probability.shape))
    for fold in np.unique(fold_of):
        outside = fold_of == fold
        probabilities[:, outside] = _fold_probabilities(
            features[~outside],
            codes[~outside],
            features[outside],
            len(classes),
            strengths,
            class_weight,
        )
    losses = _row_losses(probabilities, codes)
    for fold in np.unique(fold_of):
        best = _best_strength(losses[:, fold_of != fold], codes[fold_of != fold], class_weight)
        probability[fold_of == fold] = probabilities[best, fold_of == fold]
    strength = float(strengths[_best_strength(losses, codes, class_weight)])
    return CrossValidation(classes, probability, strength, "")


def checked_arrays(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Features as float64 and labels as objects, of the same rows and with two classes or more."""
    features, labels = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=object)
    if features.ndim != 2 or not len(features) == len(labels) == len(groups):
        raise ValueError(
            f"features {features.shape}, labels ({len(labels)},) and groups ({len(groups)},) "
            "must describe the same rows"
        )
    if len(set(labels)) < 2:
        raise ValueError(f"labels: two classes are needed, found {sorted(set(labels))}")
    return features, labels


def class_codes(labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    """Number of each label among the sorted classes, shape (n,)."""
    return np.searchsorted(np.array(classes, dtype=object), labels)


def _middle(strengths: Sequence[float]) -> float:
    return float(sorted(strengths)[len(strengths) // 2])


def feature_scaling(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature, shape (d,), over the rows that have it."""
    # A feature that is missing in every row gets mean 0 and scale 1, and so becomes 0.
    filled = np.where(np.isnan(features).all(axis=0), 0.0, features)
    scaler = StandardScaler().fit(filled)
    return scaler.mean_, scaler.scale_


def scaled(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Features as ``(x - mean) / scale``, missing ones at 0."""
    return np.nan_to_num((features - mean) / scale)


def logistic_regression(
    n_classes: int, n_features: int, strength: float, class_weight: ClassWeight
) -> LogisticRegression:
    """A classifier with the solver that is fast for its size."""
    # Newton steps on the d x d Hessian are several times faster than L-BFGS for many rows and
    # converge to the last digits; a large Hessian (many features or classes) costs more.
    narrow = n_classes == 2 and n_features <= 256
    solver = "newton-cholesky" if narrow else "lbfgs"
    return LogisticRegression(
        C=strength, class_weight=class_weight, solver=solver, max_iter=2000, tol=1e-5
    )


def _fold_probabilities(
    features: np.ndarray,
    codes: np.ndarray,
    others: np.ndarray,
    n_classes: int,
    strengths: Sequence[float],
    class_weight: ClassWeight,
) -> np.ndarray:
    """Probabilities of the left-out rows for each strength: (n_strengths, n_others, n_classes)."""
    probabilities = np.zeros((len(strengths), len(others), n_classes))
    present = np.unique(codes)
    if len(present) == 1:
        probabilities[:, :, present[0]] = 1.0
        return probabilities
    mean, scale = feature_scaling(features)
    features, others = scaled(features, mean, scale), scaled(others, mean, scale)
    model = logistic_regression(len(present), features.shape[1], strengths[0], class_weight)
    # Each strength starts from the solution of the one before, which is near.
    model.set_params(warm_start=True)
    for number, strength in enumerate(strengths):
        model.set_params(C=strength).fit(features, codes)
        probabilities[number][:, present] = model.predict_proba(others)
    return probabilities


def _row_losses(probabilities: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Log loss of each row for each strength: (n_strengths, n)."""
    true_class = probabilities[:, np.arange(len(codes)), codes]
    return -np.log(np.maximum(true_class, 1e-15))


def _best_strength(losses: np.ndarray, codes: np.ndarray, class_weight: ClassWeight) -> int:
    """Number of the strength with the lowest log loss, weighted as the fits are."""
    if class_weight is None:
        return int(losses.mean(axis=1).argmin())
    per_class = [losses[:, codes == k].mean(axis=1) for k in np.unique(codes)]
    return int(np.mean(per_class, axis=0).argmin())
