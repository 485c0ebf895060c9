"""Controls of a linear classifier: shuffled labels, and fewer annotated lineages."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
from scipy.special import gammaln

from dynaclr.config.metrics import HELD_OUT, Measure, tabulate
from dynaclr.config.variants import Variant
from dynaclr.evaluation.classifiers.linear import cross_validate, fit_probabilities
from dynaclr.evaluation.classifiers.score_tables import ScoredSet
from dynaclr.evaluation.classifiers.task_scores import TaskScores
from dynaclr.evaluation.metrics.classification import classification_scores
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.io.embeddings import Cohort

N_DRAWS = 5
SMALLEST = 4
# Fewer ways to give labels to lineages cannot tell a score from chance at p = 0.05.
MIN_WAYS = 20


def shuffle_by_lineage(
    labels: np.ndarray,
    lineages: np.ndarray,
    experiments: np.ndarray,
    hours: np.ndarray,
    rng: np.random.Generator,
) -> np.ndarray:
    """Labels in which every lineage has those of another lineage of its experiment.

    Rows of one lineage are not independent, so whole lineages change places: the giver's labels, in
    the order of hours, are stretched over the receiver's rows. How labels agree within a lineage
    and how they run over time stays; what is lost is which lineage they belong to. Where labels
    follow the hour, a classifier may therefore score above 0.5 on shuffled labels, by the hour.

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
    _, first, receiver, length = np.unique(
        lineages[order], return_index=True, return_inverse=True, return_counts=True
    )
    giver = np.arange(len(first))
    of_experiment = experiments[order][first]
    for name in np.unique(of_experiment.astype(str)):
        here = np.flatnonzero(of_experiment == name)
        giver[here] = rng.permutation(here)
    source = giver[receiver]
    share = (np.arange(len(order)) - first[receiver] + 0.5) / length[receiver]
    shuffled = np.empty_like(labels)
    shuffled[order] = labels[order][first[source] + (share * length[source]).astype(int)]
    return shuffled


def n_ways_to_shuffle(
    labels: np.ndarray, lineages: np.ndarray, experiments: np.ndarray, hours: np.ndarray
) -> float:
    """In how many ways lineages of the same experiment can exchange their labels.

    Permutations of each experiment's lineages; lineages whose labels are the same are one.
    Parameters as for `shuffle_by_lineage`.
    """
    order = np.lexsort((hours, lineages))
    starts = np.flatnonzero(np.diff(lineages[order], prepend=-1))
    told: dict[str, Counter[tuple[str, ...]]] = {}
    for rows in np.split(order, starts[1:]):
        names = tuple(labels[rows])
        of_experiment = told.setdefault(str(experiments[rows[0]]), Counter())
        of_experiment[names[:1] if len(set(names)) == 1 else names] += 1
    logarithm = sum(
        gammaln(counts.total() + 1) - sum(gammaln(count + 1) for count in counts.values())
        for counts in told.values()
    )
    return float(np.exp(min(logarithm, 700.0)))


def null_rows(
    cohort: Cohort,
    rows: TaskRows,
    scores: TaskScores,
    train: np.ndarray,
    variants: list[Variant],
    n_shuffles: int,
    seed: int,
) -> list[dict[str, object]]:
    """What each variant scores when it learns from shuffled labels: rows of the metrics table.

    Classifiers are fitted with the strength that the true labels chose, and scored on the true
    labels of held-out experiments; without any, cross-validated within the training rows.

    Parameters
    ----------
    cohort : Cohort
    rows : TaskRows
    scores : TaskScores
        Of the same task.
    train : numpy.ndarray
        Labelled rows of the training experiments, positions within `rows`.
    variants : list of Variant
    n_shuffles : int
    seed : int
        Of the shuffles, the same for all variants.

    Returns
    -------
    list of dict
        ``auroc_null`` (mean and central 95 % of the shuffles) and ``auroc_p``, the share of
        shuffles, and the true labels, that do as well: at least ``1 / (n_shuffles + 1)``. NaN
        where lineages can exchange their labels in fewer than `MIN_WAYS` ways.
    """
    if not scores.classes or n_shuffles == 0:
        return []
    hours = cohort.obs["hours"].to_numpy()[rows.rows[train]]
    given = (rows.labels[train], rows.lineages[train], rows.experiments[train], hours)
    ways, n_lineages = n_ways_to_shuffle(*given), len(np.unique(rows.lineages[train]))
    if ways < MIN_WAYS:
        note = f"labels of {n_lineages} lineages can be shuffled in {ways:.0f} ways only: no null"
        return [
            row
            for variant in variants
            for scored in scores.shown_sets
            for row in _tabulate_null(scored, variant, *[_no_null(scored, note)] * 2)
        ]
    rng = np.random.default_rng(seed)
    shuffles = [shuffle_by_lineage(*given, rng) for _ in range(n_shuffles)]
    told = []
    for variant in variants:
        features = cohort.features[variant.name]
        null = [
            _scores_of_shuffle(features, rows, scores, train, labels, variant, seed)
            for labels in shuffles
        ]
        for scored, values in zip(scores.shown_sets, np.transpose(null), strict=True):
            told += _told_null(scores, scored, variant, values, n_lineages)
    return told


def _scores_of_shuffle(
    features: np.ndarray,
    rows: TaskRows,
    scores: TaskScores,
    train: np.ndarray,
    labels: np.ndarray,
    variant: Variant,
    seed: int,
) -> list[float]:
    """AUROC on every shown set of a classifier fitted to shuffled labels."""
    strength = scores.classifiers[variant.name].strength
    inside = features[rows.rows[train]]
    if tuple(sorted(set(labels))) != scores.classes:
        return [np.nan] * len(scores.shown_sets)
    if scores.shown_sets[0].estimate != HELD_OUT:
        validated = cross_validate(
            inside, labels, rows.groups[train], strengths=(strength,), n_folds=3, seed=seed
        )
        codes = np.searchsorted(np.array(scores.classes, dtype=object), labels)
        return [_auroc(codes, validated.probability, scores.classes)]
    outside = rows.rows[np.concatenate([scored.rows for scored in scores.shown_sets])]
    _, probability = fit_probabilities(inside, labels, features[outside], strength)
    return _aurocs(scores.shown_sets, probability, scores.classes)


def _aurocs(
    sets: list[ScoredSet], probability: np.ndarray, classes: tuple[str, ...]
) -> list[float]:
    """AUROC of each set, whose rows follow each other in `probability`."""
    parts = np.split(probability, np.cumsum([len(scored.true) for scored in sets])[:-1])
    return [_auroc(of.true, part, classes) for of, part in zip(sets, parts, strict=True)]


def _auroc(true: np.ndarray, probability: np.ndarray, classes: tuple[str, ...]) -> float:
    if len(true) == 0:
        return np.nan
    return float(classification_scores(true, probability, classes)["auroc"])


def _told_null(
    scores: TaskScores, scored: ScoredSet, variant: Variant, values: np.ndarray, n_lineages: int
) -> list[dict[str, object]]:
    values = values[np.isfinite(values)]
    table = scores.tables.metrics
    here = (table["estimate"] == scored.estimate) & (table["experiment"] == scored.experiment)
    here &= (table["variant"] == variant.name) & (table["metric"] == "auroc")
    observed = float(table.loc[here, "value"].iloc[0])
    if len(values) == 0 or not np.isfinite(observed):
        nothing = _no_null(scored, "no AUROC: no null")
        return _tabulate_null(scored, variant, nothing, nothing)
    low, high = np.quantile(values, [0.025, 0.975])
    share = (1 + int((values >= observed).sum())) / (1 + len(values))
    note = f"{len(values)} shuffles of {n_lineages} training lineages within experiments"
    empty = _no_null(scored, note)
    null = empty._replace(
        value=float(values.mean()), low=low, high=high, note=f"{note}; interval: 95 % of them"
    )
    return _tabulate_null(scored, variant, null, empty._replace(value=share))


def _no_null(scored: ScoredSet, note: str) -> Measure:
    return Measure(np.nan, 0.5, len(scored.true), note, n_lineages=scored.n_lineages)


def _tabulate_null(
    scored: ScoredSet, variant: Variant, null: Measure, p: Measure
) -> list[dict[str, object]]:
    place = {"estimate": scored.estimate, "experiment": scored.experiment}
    return tabulate({"auroc_null": null, "auroc_p": p}, **variant.place, **place)


def learning_curve(
    cohort: Cohort,
    rows: TaskRows,
    scores: TaskScores,
    train: np.ndarray,
    variants: list[Variant],
    seed: int,
) -> pd.DataFrame:
    """AUROC on held-out experiments, averaged over them, when only some lineages are annotated.

    For 4, 8, 16, ... lineages, `N_DRAWS` draws of lineages each, the same for all variants, every
    class among them; fitted with the strength that all lineages chose.

    Parameters as for `null_rows`.

    Returns
    -------
    pandas.DataFrame
        variant, kind, seed, n_lineages, metric, value (mean), low and high (least and most of the
        draws), n_draws, n_rows (held-out rows); empty when nothing is held out or trained.
    """
    held_out = [s for s in scores.sets if s.estimate == HELD_OUT and len(s.true)]
    if not held_out or not scores.classes:
        return pd.DataFrame()
    outside = rows.rows[np.concatenate([scored.rows for scored in held_out])]
    labels, lineages = rows.labels[train], rows.lineages[train]
    table = []
    for n_lineages in _sizes(len(np.unique(lineages))):
        rng = np.random.default_rng([seed, n_lineages])
        draws = [draw_lineages(labels, lineages, n_lineages, rng) for _ in range(N_DRAWS)]
        for variant in variants:
            features = cohort.features[variant.name]
            strength = scores.classifiers[variant.name].strength
            values = []
            for drawn in draws:
                inside = features[rows.rows[train[drawn]]]
                _, probability = fit_probabilities(
                    inside, labels[drawn], features[outside], strength
                )
                of_sets = np.array(_aurocs(held_out, probability, scores.classes))
                values.append(_mean_of_finite(of_sets))
            told = {"value": np.mean(values), "low": np.min(values), "high": np.max(values)}
            counts = {"n_lineages": n_lineages, "n_draws": len(draws), "n_rows": len(outside)}
            table.append({**variant.place, "metric": "auroc", **told, **counts})
    return pd.DataFrame(table)


def _mean_of_finite(values: np.ndarray) -> float:
    """Mean over the experiments that have both classes, NaN where none has."""
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else np.nan


def draw_lineages(
    labels: np.ndarray, lineages: np.ndarray, n_lineages: int, rng: np.random.Generator
) -> np.ndarray:
    """Positions of all rows of some lineages, drawn so that every class is among them.

    One lineage of each class is drawn first, then any others.
    """
    first = [rng.choice(np.unique(lineages[labels == name])) for name in sorted(set(labels))]
    others = rng.permutation(np.setdiff1d(lineages, first))
    n_others = max(0, n_lineages - len(set(first)))
    return np.flatnonzero(np.isin(lineages, [*first, *others[:n_others]]))


def _sizes(n_lineages: int) -> list[int]:
    powers = [SMALLEST << step for step in range(20)]
    return [*(size for size in powers if size < n_lineages), n_lineages]
