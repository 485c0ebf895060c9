"""Linear classifiers on embeddings: logistic regression, saved as plain arrays and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, softmax

from dynaclr.config import UserError
from dynaclr.evaluation.classifiers.cross_validation import (
    STRENGTHS,
    ClassWeight,
    CrossValidation,
    checked_arrays,
    class_codes,
    cross_validate,
    feature_scaling,
    logistic_regression,
    scaled,
)
from dynaclr.io.artifacts import atomic_path, read_json, reading, write_json

FORMAT = 1
_ARRAYS = ("coefficients", "intercept", "mean", "scale")


@dataclass(frozen=True)
class LinearClassifier:
    """A fitted logistic regression with the scaling of its features.

    Attributes
    ----------
    classes : tuple of str
        K class names, sorted; with two, the second is the positive one.
    feature_names : tuple of str
        d names.
    coefficients, intercept : numpy.ndarray
        float64, shapes (1, d) and (1,) for two classes, (K, d) and (K,) for more.
    mean, scale : numpy.ndarray
        float64, shape (d,). Features are scaled to ``(x - mean) / scale``; a missing one is 0.
    strength : float
        Inverse strength of the penalty (scikit-learn's ``C``).
    provenance : dict
        Can be written as JSON: the task, digests of the training stores, the package version.
    """

    classes: tuple[str, ...]
    feature_names: tuple[str, ...]
    coefficients: np.ndarray
    intercept: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    strength: float
    provenance: dict[str, Any] = field(default_factory=dict)

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        """Probability of each class.

        Parameters
        ----------
        features : numpy.ndarray
            Shape (n, d), not scaled; NaN where missing.

        Returns
        -------
        numpy.ndarray
            float64, shape (n, K), rows sum to 1.

        Raises
        ------
        ValueError
            When `features` does not have d columns.
        """
        if np.ndim(features) != 2 or np.shape(features)[1] != len(self.mean):
            raise ValueError(
                f"features: shape {np.shape(features)}; the classifier takes (n, {len(self.mean)})"
            )
        features = scaled(np.asarray(features, dtype=np.float64), self.mean, self.scale)
        logits = features @ self.coefficients.T + self.intercept
        if len(self.classes) == 2:
            positive = expit(logits[:, 0])
            return np.column_stack([1.0 - positive, positive])
        return softmax(logits, axis=1)

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Most probable class of each row: names, object, shape (n,)."""
        return np.array(self.classes, dtype=object)[self.predict_proba(features).argmax(axis=1)]

    def save(self, folder: str | Path) -> None:
        """Write ``arrays.npz`` and ``classifier.json`` into a folder, whole or not at all."""
        with atomic_path(folder) as temporary:
            temporary.mkdir()
            arrays = {name: getattr(self, name) for name in _ARRAYS}
            np.savez(temporary / "arrays.npz", allow_pickle=False, **arrays)
            content = {
                "format": FORMAT,
                "classes": list(self.classes),
                "feature_names": list(self.feature_names),
                "strength": self.strength,
                "provenance": self.provenance,
            }
            write_json(temporary / "classifier.json", content)

    @classmethod
    def load(cls, folder: str | Path) -> LinearClassifier:
        """Read a classifier that `save` wrote.

        Raises
        ------
        UserError
            When a file is missing or damaged, or of a format that this version does not know.
        """
        folder = Path(folder)
        content = read_json(folder / "classifier.json")
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UserError(
                f"{folder / 'classifier.json'}: not a linear classifier of format {FORMAT}. "
                "Train it again with `dynaclr classifier train`."
            )
        with reading(folder):
            with np.load(folder / "arrays.npz", allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in _ARRAYS}
            classifier = cls(
                classes=tuple(content["classes"]),
                feature_names=tuple(content["feature_names"]),
                strength=float(content["strength"]),
                provenance=content["provenance"],
                **arrays,
            )
            classifier._check_shapes()
        return classifier

    def _check_shapes(self) -> None:
        n_features, n_classes = len(self.feature_names), len(self.classes)
        n_rows = 1 if n_classes == 2 else n_classes
        expected = {
            "coefficients": (n_rows, n_features),
            "intercept": (n_rows,),
            "mean": (n_features,),
            "scale": (n_features,),
        }
        for name, shape in expected.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has shape {getattr(self, name).shape}, not {shape}")


def fit_linear_classifier(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    strengths: Sequence[float] = STRENGTHS,
    class_weight: ClassWeight = "balanced",
    n_folds: int = 5,
    seed: int = 0,
    feature_names: Sequence[str] | None = None,
    provenance: dict[str, Any] | None = None,
) -> tuple[LinearClassifier, CrossValidation]:
    """Fit a classifier; the penalty is chosen by grouped cross-validation on these rows alone.

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
    feature_names : sequence of str, optional
        Default: "0", "1", ...
    provenance : dict, optional
        Kept with the classifier; can be written as JSON.

    Returns
    -------
    LinearClassifier
        Fitted to all rows with the chosen strength.
    CrossValidation
        Probabilities of each row by classifiers that were fitted without its group.

    Raises
    ------
    ValueError
        When shapes do not agree or there are fewer than two classes.
    """
    features, labels = checked_arrays(features, labels, groups)
    validation = cross_validate(
        features,
        labels,
        groups,
        strengths=strengths,
        class_weight=class_weight,
        n_folds=n_folds,
        seed=seed,
    )
    classifier = fit_with_strength(
        *(features, labels, validation.strength),
        class_weight=class_weight,
        feature_names=feature_names,
    )
    return replace(classifier, provenance=provenance or {}), validation


def fit_with_strength(
    features: np.ndarray,
    labels: np.ndarray,
    strength: float,
    *,
    class_weight: ClassWeight = "balanced",
    feature_names: Sequence[str] | None = None,
) -> LinearClassifier:
    """Fit a classifier with a given penalty.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing.
    labels : numpy.ndarray
        Class names, shape (n,), at least two distinct.
    strength : float
        Inverse strength of the penalty.
    class_weight : "balanced" or None
        Whether all classes weigh the same, or all rows.
    feature_names : sequence of str, optional
        Default: "0", "1", ...

    Returns
    -------
    LinearClassifier
    """
    features, labels = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=object)
    classes = tuple(sorted(set(labels)))
    mean, scale = feature_scaling(features)
    model = logistic_regression(len(classes), features.shape[1], strength, class_weight)
    model.fit(scaled(features, mean, scale), class_codes(labels, classes))
    names = feature_names if feature_names is not None else range(features.shape[1])
    return LinearClassifier(
        classes=classes,
        feature_names=tuple(str(name) for name in names),
        coefficients=model.coef_.astype(np.float64),
        intercept=model.intercept_.astype(np.float64),
        mean=mean,
        scale=scale,
        strength=strength,
    )
