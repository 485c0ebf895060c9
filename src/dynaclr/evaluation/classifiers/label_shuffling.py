"""Null distribution of a classifier's AUROC: labels shuffled among whole lineages."""

from __future__ import annotations

from collections import Counter

import numpy as np
from scipy.special import gammaln

from dynaclr.config.metrics import HELD_OUT, join_notes
from dynaclr.config.variants import Variant
from dynaclr.evaluation.classifiers.cross_validation import cross_validate, fit_probabilities
from dynaclr.evaluation.classifiers.score_tables import ScoredSet
from dynaclr.evaluation.classifiers.scoring import TaskScores
from dynaclr.evaluation.metrics.classification import classification_scores
from dynaclr.evaluation.tables import MetricValue, Row, metric_rows
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.io.embeddings import Embeddings

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


def null_rows(
    embeddings: Embeddings,
    task_rows: TaskRows,
    scores: TaskScores,
    train_experiments: list[str],
    variants: list[Variant],
    n_shuffles: int,
    seed: int,
) -> list[Row]:
    """Rows of the metrics table about classifiers that were fitted to shuffled labels.

    They are fitted with the strength that the true labels chose, and scored on the true labels of
    held-out experiments; without any, cross-validated within the training rows. The permutation
    test of Ojala and Garriga (2010), Journal of Machine Learning Research 11, 1833, by lineage.

    Parameters
    ----------
    embeddings : Embeddings
    task_rows : TaskRows
    scores : TaskScores
        Of the same task.
    train_experiments : list of str
    variants : list of Variant
    n_shuffles : int
    seed : int
        Seed of the shuffles, the same for all variants.

    Returns
    -------
    list of dict
        ``auroc_null`` (mean and central 95 % of the shuffles) and ``auroc_p``, the share of
        shuffles, and the true labels, that score as high: at least ``1 / (n_shuffles + 1)``. NaN
        with a note where lineages can exchange their labels in fewer than `MIN_DISTINCT` ways, and
        where an experiment has no labelled row.
    """
    if not scores.classes or n_shuffles == 0:
        return []
    train = task_rows.labelled(train_experiments)
    hours = embeddings.obs["hours"].to_numpy()[task_rows.rows[train]]
    # What labels are shared within exchanges them as a whole, in each experiment for itself.
    experiments = np.unique(task_rows.experiments[train].astype(str), return_inverse=True)[1]
    lineages = task_rows.groups[train] * (experiments.max(initial=0) + 1) + experiments
    given = (task_rows.labels[train], lineages, task_rows.experiments[train], hours)
    n_distinct, n_lineages = n_distinct_shuffles(*given), len(np.unique(lineages))
    if n_distinct < MIN_DISTINCT:
        note = (
            f"labels of {n_lineages} lineages can be shuffled in {n_distinct:.0f} ways only: "
            "no null"
        )
        return [
            row
            for variant in variants
            for scored in scores.main_sets
            for row in _rows_without_null(scored, variant, note)
        ]
    rng = np.random.default_rng(seed)
    shuffles = [shuffle_by_lineage(*given, rng) for _ in range(n_shuffles)]
    note = f"shuffles of {n_lineages} training lineages within experiments"
    rows = []
    for variant in variants:
        features = embeddings.features[variant.name]
        null = [
            _aurocs_of_shuffle(features, task_rows, scores, train, labels, variant, seed)
            for labels in shuffles
        ]
        for scored, values in zip(scores.main_sets, np.transpose(null), strict=True):
            rows += _null_rows_of_set(scores, scored, variant, values, note)
    return rows


def _aurocs_of_shuffle(
    features: np.ndarray,
    task_rows: TaskRows,
    scores: TaskScores,
    train: np.ndarray,
    labels: np.ndarray,
    variant: Variant,
    seed: int,
) -> list[float]:
    """AUROC on every main set of a classifier fitted to shuffled labels, NaN where it has none."""
    strength, weight = scores.classifiers[variant.name].strength, scores.task.class_weight
    inside = features[task_rows.rows[train]]
    n_rows = sum(len(scored.true) for scored in scores.main_sets)
    if n_rows == 0 or tuple(sorted(set(labels))) != scores.classes:
        return [np.nan] * len(scores.main_sets)
    if scores.main_estimate != HELD_OUT:
        groups = task_rows.groups[train]
        validated = cross_validate(
            inside, labels, groups, strengths=(strength,), class_weight=weight, n_folds=3, seed=seed
        )
        codes = np.searchsorted(np.array(scores.classes, dtype=object), labels)
        return [float(classification_scores(codes, validated.probability, scores.classes)["auroc"])]
    outside = task_rows.rows[np.concatenate([scored.rows for scored in scores.main_sets])]
    _, probability = fit_probabilities(inside, labels, features[outside], strength, weight)
    return aurocs_of_sets(scores.main_sets, probability, scores.classes)


def aurocs_of_sets(
    sets: list[ScoredSet], probability: np.ndarray, classes: tuple[str, ...]
) -> list[float]:
    """AUROC of each set, NaN without rows; `probability` holds the rows of one after another."""
    parts = np.split(probability, np.cumsum([len(scored.true) for scored in sets])[:-1])
    return [
        float(classification_scores(scored.true, part, classes)["auroc"])
        if len(scored.true)
        else np.nan
        for scored, part in zip(sets, parts, strict=True)
    ]


def _null_rows_of_set(
    scores: TaskScores, scored: ScoredSet, variant: Variant, values: np.ndarray, note: str
) -> list[Row]:
    if len(scored.true) == 0:
        note = join_notes("no labelled observations", scored.note)
        return _rows_without_null(scored, variant, note)
    values = values[np.isfinite(values)]
    table = scores.tables.metrics
    here = (table["estimate"] == scored.estimate) & (table["experiment"] == scored.experiment)
    here &= (table["variant"] == variant.name) & (table["metric"] == "auroc")
    observed = float(table.loc[here, "value"].iloc[0])
    if len(values) == 0 or not np.isfinite(observed):
        return _rows_without_null(scored, variant, "no AUROC: no null")
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


def _rows_without_null(scored: ScoredSet, variant: Variant, note: str) -> list[Row]:
    missing = _missing(scored, note)
    return _tabulate(scored, variant, missing, missing)


def _tabulate(scored: ScoredSet, variant: Variant, null: MetricValue, p: MetricValue) -> list[Row]:
    columns = {**variant.columns, "estimate": scored.estimate, "experiment": scored.experiment}
    return metric_rows({"auroc_null": null, "auroc_p": p}, **columns)
