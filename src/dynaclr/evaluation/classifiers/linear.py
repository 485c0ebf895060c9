"""Linear classifiers on embeddings: logistic regression kept as plain arrays and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from dynaclr.config import UserError
from dynaclr.io.artifacts import atomic_path, read_json, write_json

FORMAT = 1
# Inverse strengths of the penalty to choose from, from a strong one to hardly any.
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
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
        float64, shape (d,): features are ``(x - mean) / scale``; a missing one becomes 0.
    strength : float
        Inverse strength of the penalty (scikit-learn's ``C``).
    provenance : dict
        JSON-able: the task, digests of the training stores, the package version.
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
            When `features` has not d columns.
        """
        if np.ndim(features) != 2 or np.shape(features)[1] != len(self.mean):
            raise ValueError(
                f"features: shape {np.shape(features)}; the classifier takes (n, {len(self.mean)})"
            )
        scaled = (np.asarray(features, dtype=np.float64) - self.mean) / self.scale
        logits = np.nan_to_num(scaled) @ self.coefficients.T + self.intercept
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
        try:
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
        except (OSError, KeyError, ValueError) as error:
            raise UserError(
                f"{folder}: damaged classifier ({error}). "
                "Train it again with `dynaclr classifier train`."
            ) from None
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


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold probabilities: each row's classifier never saw the row's group.

    Attributes
    ----------
    classes : tuple of str
        K class names, sorted.
    probability : numpy.ndarray
        float64, shape (n, K); all NaN when the rows cannot be split.
    strength : float
        The strength that does best on all rows.
    note : str
        Why there are no probabilities, or empty.
    """

    classes: tuple[str, ...]
    probability: np.ndarray
    strength: float
    note: str


def fit_linear_classifier(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    strengths: Sequence[float] = STRENGTHS,
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
    n_folds : int
    seed : int
        Decides the folds.
    feature_names : sequence of str, optional
        Default: "0", "1", ...
    provenance : dict, optional
        JSON-able, kept with the classifier.

    Returns
    -------
    LinearClassifier
        Fitted to all rows with the chosen strength.
    CrossValidation
        The estimate of how well it does on groups it did not see.

    Raises
    ------
    ValueError
        When shapes do not agree or there are fewer than two classes.
    """
    features, labels = _checked(features, labels, groups)
    validation = cross_validate(
        features, labels, groups, strengths=strengths, n_folds=n_folds, seed=seed
    )
    codes = _codes(labels, validation.classes)
    mean, scale = _scaling(features)
    model = _logistic(len(validation.classes), features.shape[1], validation.strength)
    model.fit(_scaled(features, mean, scale), codes)
    names = feature_names if feature_names is not None else range(features.shape[1])
    classifier = LinearClassifier(
        classes=validation.classes,
        feature_names=tuple(str(name) for name in names),
        coefficients=model.coef_.astype(np.float64),
        intercept=model.intercept_.astype(np.float64),
        mean=mean,
        scale=scale,
        strength=validation.strength,
        provenance=provenance or {},
    )
    return classifier, validation


def cross_validate(
    features: np.ndarray,
    labels: np.ndarray,
    groups: np.ndarray,
    *,
    strengths: Sequence[float] = STRENGTHS,
    n_folds: int = 5,
    seed: int = 0,
) -> CrossValidation:
    """Probabilities for each row from a classifier fitted without the row's group.

    Scaling is fitted on the training folds only. The strength used for a fold is the one with
    the lowest class-balanced log loss on the left-out rows of the *other* folds: no row is among
    those that choose its own strength, and no nested fits are needed.

    Parameters and errors as for `fit_linear_classifier`.
    """
    features, labels = _checked(features, labels, groups)
    classes = tuple(sorted(set(labels)))
    codes = _codes(labels, classes)
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
    return _validate_folds(features, codes, classes, fold_of, strengths)


def leave_one_out(
    features: np.ndarray,
    labels: np.ndarray,
    experiments: np.ndarray,
    *,
    strengths: Sequence[float] = STRENGTHS,
) -> CrossValidation:
    """Probabilities for each row from a classifier fitted on all *other* experiments.

    The strength is chosen as in `cross_validate`, each experiment being a fold. Parameters and
    errors as for `fit_linear_classifier`, with the experiment of each row in place of its group.
    """
    features, labels = _checked(features, labels, experiments)
    classes = tuple(sorted(set(labels)))
    codes = _codes(labels, classes)
    _, fold_of = np.unique(experiments.astype(str), return_inverse=True)
    if fold_of.max() == 0:
        nothing = np.full((len(codes), len(classes)), np.nan)
        note = "one experiment only: none can be left out"
        return CrossValidation(classes, nothing, _middle(strengths), note)
    return _validate_folds(features, codes, classes, fold_of, strengths)


def _validate_folds(
    features: np.ndarray,
    codes: np.ndarray,
    classes: tuple[str, ...],
    fold_of: np.ndarray,
    strengths: Sequence[float],
) -> CrossValidation:
    probability = np.full((len(codes), len(classes)), np.nan)
    probabilities = np.empty((len(strengths), *probability.shape))
    for fold in np.unique(fold_of):
        outside = fold_of == fold
        probabilities[:, outside] = _fold_probabilities(
            features[~outside], codes[~outside], features[outside], len(classes), strengths
        )
    losses = _row_losses(probabilities, codes)
    for fold in np.unique(fold_of):
        best = _best_strength(losses[:, fold_of != fold], codes[fold_of != fold])
        probability[fold_of == fold] = probabilities[best, fold_of == fold]
    strength = float(strengths[_best_strength(losses, codes)])
    return CrossValidation(classes, probability, strength, "")


def fit_probabilities(
    features: np.ndarray, labels: np.ndarray, others: np.ndarray, strength: float
) -> tuple[tuple[str, ...], np.ndarray]:
    """Classes, and probabilities of other rows by a classifier of one given strength.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing.
    labels : numpy.ndarray
        Class names, shape (n,).
    others : numpy.ndarray
        Shape (m, d).
    strength : float
        Inverse strength of the penalty.

    Returns
    -------
    classes : tuple of str
        Those among the labels, sorted; K of them.
    probability : numpy.ndarray
        Shape (m, K).
    """
    features, labels = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=object)
    classes = tuple(sorted(set(labels)))
    codes = _codes(labels, classes)
    return classes, _fold_probabilities(features, codes, others, len(classes), (strength,))[0]


def _checked(
    features: np.ndarray, labels: np.ndarray, groups: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    features, labels = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=object)
    if features.ndim != 2 or not len(features) == len(labels) == len(groups):
        raise ValueError(
            f"features {features.shape}, labels ({len(labels)},) and groups ({len(groups)},) "
            "must describe the same rows"
        )
    if len(set(labels)) < 2:
        raise ValueError(f"labels: two classes are needed, found {sorted(set(labels))}")
    return features, labels


def _codes(labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    return np.searchsorted(np.array(classes, dtype=object), labels)


def _middle(strengths: Sequence[float]) -> float:
    return float(sorted(strengths)[len(strengths) // 2])


def _scaling(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # A feature missing in every row is left at 0 by a mean of 0 and a scale of 1.
    filled = np.where(np.isnan(features).all(axis=0), 0.0, features)
    scaler = StandardScaler().fit(filled)
    return scaler.mean_, scaler.scale_


def _scaled(features: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    return np.nan_to_num((features - mean) / scale)


def _logistic(n_classes: int, n_features: int, strength: float) -> LogisticRegression:
    # Newton steps on the d x d Hessian are several times faster than L-BFGS for many rows and
    # converge to the last digits; a wide Hessian (many features, K x d for classes) costs more.
    narrow = n_classes == 2 and n_features <= 256
    solver = "newton-cholesky" if narrow else "lbfgs"
    return LogisticRegression(
        C=strength, class_weight="balanced", solver=solver, max_iter=2000, tol=1e-5
    )


def _fold_probabilities(
    features: np.ndarray,
    codes: np.ndarray,
    others: np.ndarray,
    n_classes: int,
    strengths: Sequence[float],
) -> np.ndarray:
    """Probabilities of the left-out rows for each strength: (n_strengths, n_others, n_classes)."""
    probabilities = np.zeros((len(strengths), len(others), n_classes))
    present = np.unique(codes)
    if len(present) == 1:
        probabilities[:, :, present[0]] = 1.0
        return probabilities
    mean, scale = _scaling(features)
    features, others = _scaled(features, mean, scale), _scaled(others, mean, scale)
    model = _logistic(len(present), features.shape[1], strengths[0])
    # Each strength starts from the solution of the one before, which is near.
    model.set_params(warm_start=True)
    for number, strength in enumerate(strengths):
        model.set_params(C=strength).fit(features, codes)
        probabilities[number][:, present] = model.predict_proba(others)
    return probabilities


def _row_losses(probabilities: np.ndarray, codes: np.ndarray) -> np.ndarray:
    own = probabilities[:, np.arange(len(codes)), codes]
    return -np.log(np.maximum(own, 1e-15))


def _best_strength(losses: np.ndarray, codes: np.ndarray) -> int:
    """Number of the strength with the lowest log loss, every class weighing the same."""
    per_class = [losses[:, codes == k].mean(axis=1) for k in np.unique(codes)]
    return int(np.mean(per_class, axis=0).argmin())
