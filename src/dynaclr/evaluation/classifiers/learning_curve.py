"""Learning curve: a classifier's AUROC over the number of annotated lineages."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dynaclr.config.variants import Variant
from dynaclr.evaluation.classifiers.cross_validation import ClassWeight
from dynaclr.evaluation.classifiers.linear import LinearClassifier, fit_with_strength
from dynaclr.evaluation.classifiers.score_tables import ScoredSet
from dynaclr.evaluation.metrics.classification import classification_scores
from dynaclr.evaluation.tables import Row

N_DRAWS = 5
SMALLEST = 4


class LearningDraw(NamedTuple):
    """A classifier that was fitted to some of the training lineages, and their number."""

    n_lineages: int
    classifier: LinearClassifier


def fit_draws(
    features: np.ndarray,
    labels: np.ndarray,
    lineages: np.ndarray,
    strength: float,
    class_weight: ClassWeight,
    seed: int,
) -> list[LearningDraw]:
    """Fit classifiers to 4, 8, 16, ... lineages and to all, with every class among them.

    Parameters
    ----------
    features : numpy.ndarray
        Of the training rows, shape (m, d).
    labels, lineages : numpy.ndarray
        Shape (m,).
    strength : float
        The one that all lineages chose.
    class_weight : "balanced" or None
    seed : int
        Seed of the draws, the same for all variants.

    Returns
    -------
    list of LearningDraw
        `N_DRAWS` of each size.
    """
    n_all = len(np.unique(lineages))
    sizes = [size for size in (SMALLEST << step for step in range(20)) if size < n_all]
    fitted = []
    for size in [*sizes, n_all]:
        rng = np.random.default_rng([seed, size])
        for _ in range(N_DRAWS if size < n_all else 1):
            drawn = draw_lineages(labels, lineages, size, rng)
            classifier = fit_with_strength(
                features[drawn], labels[drawn], strength, class_weight=class_weight
            )
            fitted.append(LearningDraw(size, classifier))
    return fitted


def learning_rows(
    scored: ScoredSet, variant: Variant, features: np.ndarray, draws: list[LearningDraw]
) -> list[Row]:
    """AUROC on a held-out experiment when only some lineages are annotated.

    Parameters
    ----------
    scored : ScoredSet
    variant : Variant
    features : numpy.ndarray
        Of the rows of the set, shape (n, d).
    draws : list of LearningDraw

    Returns
    -------
    list of dict
        variant, kind, seed, experiment, n_lineages, metric, value (mean), low and high (least and
        most of the draws), n_draws, n_rows; none where the AUROC is not known.
    """
    if len(set(scored.true)) < 2:
        return []
    aurocs: dict[int, list[float]] = {}
    for n_lineages, classifier in draws:
        probability = classifier.predict_proba(features)
        scores = classification_scores(scored.true, probability, classifier.classes)
        aurocs.setdefault(n_lineages, []).append(float(scores["auroc"]))
    columns = {**variant.columns, "experiment": scored.experiment, "metric": "auroc"}
    return [
        {**columns, "n_lineages": n_lineages, "n_draws": len(values), "n_rows": len(scored.true)}
        | {"value": np.mean(values), "low": np.min(values), "high": np.max(values)}
        for n_lineages, values in aurocs.items()
    ]


def draw_lineages(
    labels: np.ndarray, lineages: np.ndarray, n_lineages: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw lineages so that every class is among them: one of each class first, then any others.

    Parameters
    ----------
    labels, lineages : numpy.ndarray
        Shape (n,).
    n_lineages : int
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        Positions of all their rows, int64, ascending.
    """
    first = [rng.choice(np.unique(lineages[labels == name])) for name in sorted(set(labels))]
    others = rng.permutation(np.setdiff1d(lineages, first))
    n_others = max(0, n_lineages - len(set(first)))
    return np.flatnonzero(np.isin(lineages, [*first, *others[:n_others]]))
