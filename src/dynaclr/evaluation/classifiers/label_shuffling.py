"""Null distribution of a classifier's AUROC: labels shuffled among whole lineages."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from scipy.special import gammaln

from dynaclr.config.metrics import join_notes
from dynaclr.config.variants import Variant
from dynaclr.evaluation.classifiers.cross_validation import ClassWeight, cross_validate
from dynaclr.evaluation.classifiers.linear import LinearClassifier, fit_with_strength
from dynaclr.evaluation.classifiers.score_tables import ScoredSet
from dynaclr.evaluation.metrics.classification import classification_scores
from dynaclr.evaluation.tables import MetricValue, Row, metric_rows
from dynaclr.evaluation.tasks import TaskRows

# With fewer different shuffles no score could reach p = 0.05.
MIN_DISTINCT = 20


def shuffle_by_lineage(
    labels: np.ndarray,
    lineages: np.ndarray,
    experiments: np.ndarray,
    hours: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Give every lineage the labels of another lineage of its experiment.

    Rows of one lineage are not independent, so whole lineages exchange their labels: the labels of
    the source, in the order of hours, are stretched over the rows of the target. The labels of a
    lineage still agree and still run over time; only the link to their own lineage is broken. Where
    labels follow the hour, a classifier may therefore score above 0.5 on shuffled labels.

    Parameters
    ----------
    labels : numpy.ndarray
        Shape (n,).
    lineages, experiments : numpy.ndarray
        Lineage codes, distinct between experiments, and experiments, shape (n,).
    hours : numpy.ndarray
        Shape (n,).
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        Shape (n,).
    """
    order = np.lexsort((hours, lineages))
    _, first, target, length = np.unique(
        lineages[order], return_index=True, return_inverse=True, return_counts=True
    )
    source_of = np.arange(len(first))
    experiment_of = experiments[order][first]
    for name in np.unique(experiment_of.astype(str)):
        here = np.flatnonzero(experiment_of == name)
        source_of[here] = rng.permutation(here)
    source = source_of[target]
    fraction = (np.arange(len(order)) - first[target] + 0.5) / length[target]
    shuffled = np.empty_like(labels)
    shuffled[order] = labels[order][first[source] + (fraction * length[source]).astype(int)]
    return shuffled


def n_distinct_shuffles(
    labels: np.ndarray, lineages: np.ndarray, experiments: np.ndarray, hours: np.ndarray
) -> float:
    """Number of different results of `shuffle_by_lineage`; parameters as there.

    The multinomial count of permutations of each experiment's lineages, where lineages with the
    same labels are interchangeable.
    """
    order = np.lexsort((hours, lineages))
    starts = np.flatnonzero(np.diff(lineages[order], prepend=-1))
    counts: dict[str, Counter[tuple[str, ...]]] = {}
    for rows in np.split(order, starts[1:]):
        names = tuple(labels[rows])
        of_experiment = counts.setdefault(str(experiments[rows[0]]), Counter())
        of_experiment[names[:1] if len(set(names)) == 1 else names] += 1
    logarithm = sum(
        gammaln(of.total() + 1) - sum(gammaln(count + 1) for count in of.values())
        for of in counts.values()
    )
    return float(np.exp(min(logarithm, 700.0)))


class Shuffles(NamedTuple):
    """Shuffled labels of the training rows.

    Attributes
    ----------
    labels : list of numpy.ndarray
        Each of shape (m,); empty where there are none.
    note : str
        What they are, or why there are none.
    """

    labels: list[np.ndarray]
    note: str


def shuffle_labels(
    task_rows: TaskRows, train: np.ndarray, hours: np.ndarray, n_shuffles: int, seed: int
) -> Shuffles:
    """Shuffle the labels of the training rows among lineages of the same experiment.

    Parameters
    ----------
    task_rows : TaskRows
    train : numpy.ndarray
        Labelled training rows, positions within the task's rows, shape (m,).
    hours : numpy.ndarray
        Of all observations, shape (n,).
    n_shuffles : int
    seed : int

    Returns
    -------
    Shuffles
        Without labels where lineages can exchange them in fewer than `MIN_DISTINCT` ways. A shuffle
        that keeps a class in fewer rows than one is left out.
    """
    labels = task_rows.labels[train]
    if n_shuffles == 0 or len(set(labels)) < 2:
        return Shuffles([], "")
    # What labels are shared within exchanges them as a whole, in each experiment for itself.
    experiments = np.unique(task_rows.experiments[train].astype(str), return_inverse=True)[1]
    lineages = task_rows.groups[train] * (experiments.max(initial=0) + 1) + experiments
    given = (labels, lineages, task_rows.experiments[train], hours[task_rows.rows[train]])
    n_distinct, n_lineages = n_distinct_shuffles(*given), len(np.unique(lineages))
    if n_distinct < MIN_DISTINCT:
        note = f"labels of {n_lineages} lineages can be shuffled in {n_distinct:.0f} ways only"
        return Shuffles([], f"{note}: no null")
    rng = np.random.default_rng(seed)
    shuffled = [shuffle_by_lineage(*given, rng) for _ in range(n_shuffles)]
    kept = [each for each in shuffled if set(each) == set(labels)]
    return Shuffles(kept, f"shuffles of {n_lineages} training lineages within experiments")


def fit_shuffled(
    features: np.ndarray,
    shuffles: Iterable[np.ndarray],
    strength: float,
    class_weight: ClassWeight,
) -> list[LinearClassifier]:
    """Classifiers of shuffled labels, with the strength that the true labels chose.

    Parameters
    ----------
    features : numpy.ndarray
        Of the training rows, shape (m, d).
    shuffles : iterable of numpy.ndarray
        Each of shape (m,).
    strength : float
    class_weight : "balanced" or None

    Returns
    -------
    list of LinearClassifier
    """
    return [
        fit_with_strength(features, labels, strength, class_weight=class_weight)
        for labels in shuffles
    ]


def null_aurocs(
    scored: ScoredSet, features: np.ndarray, classifiers: list[LinearClassifier]
) -> np.ndarray:
    """AUROC of each classifier of shuffled labels on the true labels of a set; shape (s,).

    Parameters
    ----------
    scored : ScoredSet
    features : numpy.ndarray
        Of its rows, shape (n, d).
    classifiers : list of LinearClassifier
    """
    if len(scored.true) == 0:
        return np.full(len(classifiers), np.nan)
    scores = [
        classification_scores(scored.true, one.predict_proba(features), one.classes)
        for one in classifiers
    ]
    return np.array([float(of["auroc"]) for of in scores])


def cross_validated_null(
    scored: ScoredSet,
    features: np.ndarray,
    shuffles: Shuffles,
    strength: float,
    seed: int,
    class_weight: ClassWeight,
) -> np.ndarray:
    """AUROC of classifiers of shuffled labels, cross-validated within the training rows.

    Parameters
    ----------
    scored : ScoredSet
        Of all training rows.
    features : numpy.ndarray
        Of the training rows, shape (m, d).
    shuffles : Shuffles
    strength : float
    seed : int
        Seed of the folds.
    class_weight : "balanced" or None

    Returns
    -------
    numpy.ndarray
        float64, shape (s,).
    """
    aurocs = []
    for labels in shuffles.labels:
        validated = cross_validate(
            *(features, labels, scored.groups),
            strengths=(strength,),
            class_weight=class_weight,
            n_folds=3,
            seed=seed,
        )
        codes = np.searchsorted(np.array(validated.classes, dtype=object), labels)
        scores = classification_scores(codes, validated.probability, validated.classes)
        aurocs.append(float(scores["auroc"]))
    return np.array(aurocs)


def null_rows(
    scored: ScoredSet, variant: Variant, observed: float, aurocs: np.ndarray, note: str
) -> list[Row]:
    """Rows of the metrics table about classifiers that were fitted to shuffled labels.

    The permutation test of Ojala and Garriga (2010), Journal of Machine Learning Research 11, 1833,
    by lineage.

    Parameters
    ----------
    scored : ScoredSet
    variant : Variant
    observed : float
        AUROC of the true labels.
    aurocs : numpy.ndarray
        Of the shuffled ones, shape (s,).
    note : str
        Of `Shuffles`.

    Returns
    -------
    list of dict
        ``auroc_null`` (mean and central 95 % of the shuffles) and ``auroc_p``, the share of
        shuffles, and the true labels, that score as high: at least ``1 / (s + 1)``. NaN with a note
        where there is no null.
    """
    if len(scored.true) == 0:
        missing = _missing(scored, join_notes("no labelled observations", scored.note))
        return _tabulate(scored, variant, missing, missing)
    values = aurocs[np.isfinite(aurocs)]
    if len(values) == 0 or not np.isfinite(observed):
        no_auroc = _missing(scored, note if len(aurocs) == 0 else "no AUROC: no null")
        return _tabulate(scored, variant, no_auroc, no_auroc)
    low, high = np.quantile(values, [0.025, 0.975])
    share = (1 + int((values >= observed).sum())) / (1 + len(values))
    note = f"{len(values)} {note}"
    p = _missing(scored, note)._replace(value=share)
    null = p._replace(
        value=float(values.mean()), low=low, high=high, note=f"{note}; interval: 95 % of them"
    )
    return _tabulate(scored, variant, null, p)


def _missing(scored: ScoredSet, note: str) -> MetricValue:
    return MetricValue(np.nan, 0.5, len(scored.true), note, n_lineages=scored.n_lineages)


def _tabulate(scored: ScoredSet, variant: Variant, null: MetricValue, p: MetricValue) -> list[Row]:
    columns = {**variant.columns, "estimate": scored.estimate, "experiment": scored.experiment}
    return metric_rows({"auroc_null": null, "auroc_p": p}, **columns)
