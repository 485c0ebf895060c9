"""Tables of a classifier's scores: values, intervals, differences, confusion, reliability."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from dynaclr.config.metrics import ALL_TRAINING, HELD_OUT, join_notes
from dynaclr.config.variants import CEILING, Variant
from dynaclr.evaluation.classifiers.way_to_ceiling import way_to_ceiling
from dynaclr.evaluation.metrics.bootstrap import Interval, cluster_bootstrap, percentile_interval
from dynaclr.evaluation.metrics.calibration import (
    adjust_to_priors,
    brier_score,
    expected_calibration_error,
    reliability_curve,
)
from dynaclr.evaluation.metrics.classification import (
    classification_scores,
    confusion_matrix,
    missing_classes_note,
)
from dynaclr.evaluation.tables import Row, metric_rows

MAIN_SCORES = ("auroc", "average_precision", "balanced_accuracy")
# Resamples for single training experiments and corrected variants, whose intervals may be rougher.
FEW_RESAMPLES = 200


@dataclass(frozen=True)
class ScoredSet:
    """Labelled observations that a classifier was not fitted on, and its probabilities of them.

    Attributes
    ----------
    estimate : str
        `CROSS_VALIDATED`, `LEFT_OUT` or `HELD_OUT`.
    experiment : str
        Name of the experiment, or `ALL_TRAINING`.
    rows : numpy.ndarray
        Positions within the rows of the task, shape (n,).
    true : numpy.ndarray
        Class codes, shape (n,).
    groups : numpy.ndarray
        Codes of the task's groups, which intervals resample, shape (n,).
    probability : dict of str to numpy.ndarray
        Variant to probabilities, shape (n, K); empty when there are none.
    note : str
        What a reader should know about these rows, or why there are no scores.
    n_filled : dict of str to int
        Variant to the number of rows with missing features, taken at the training mean.
    priors : numpy.ndarray or None
        Frequency of each class in the training rows, shape (K,); None when nothing was trained.
    """

    estimate: str
    experiment: str
    rows: np.ndarray
    true: np.ndarray
    groups: np.ndarray
    probability: dict[str, np.ndarray]
    note: str
    n_filled: dict[str, int] = field(default_factory=dict)
    priors: np.ndarray | None = None

    def calibrated(self, variant: str) -> np.ndarray:
        """Probabilities of a variant at the class frequencies of the training rows."""
        if self.priors is None:
            raise ValueError("nothing was trained")
        return adjust_to_priors(self.probability[variant], self.priors)

    @property
    def n_lineages(self) -> int:
        """Number of distinct groups: lineages, unless the task has others."""
        return len(np.unique(self.groups))


@dataclass(frozen=True)
class ScoreTables:
    """Tables over all sets and variants of one task; an empty one has no columns.

    Attributes
    ----------
    metrics, differences, confusion, reliability : pandas.DataFrame
    """

    metrics: pd.DataFrame
    differences: pd.DataFrame
    confusion: pd.DataFrame
    reliability: pd.DataFrame


@dataclass(frozen=True)
class _Scores:
    """Scores of one variant on one set by name, and their values on resampled lineages."""

    values: dict[str, float]
    resampled: dict[str, np.ndarray]


def tabulate_scores(
    sets: list[ScoredSet],
    variants: list[Variant],
    classes: tuple[str, ...],
    n_bootstrap: int,
    seed: int,
) -> ScoreTables:
    """Score every variant on every set.

    Parameters
    ----------
    sets : list of ScoredSet
    variants : list of Variant
    classes : tuple of str
        K names; empty when nothing was trained.
    n_bootstrap : int
        Resamples of lineages behind each interval.
    seed : int
        Seed of the resamples, the same for all variants.

    Returns
    -------
    ScoreTables
    """
    metrics: list[Row] = []
    differences: list[Row] = []
    confusion: list[Row] = []
    reliability: list[Row] = []
    for scored in sets:
        scores = {v.name: _score(scored, v, classes, n_bootstrap, seed) for v in variants}
        for variant in variants:
            metrics += _metric_rows(scored, variant, classes, scores[variant.name])
            if variant.name in scored.probability:
                confusion += _confusion_rows(scored, variant, classes)
                reliability += _reliability_rows(scored, variant)
        differences += _difference_rows(scored, variants, scores)
        if scored.estimate == HELD_OUT:
            metrics += _way_rows(scored, variants, scores)
    return ScoreTables(*map(pd.DataFrame, (metrics, differences, confusion, reliability)))


def _score(
    scored: ScoredSet, variant: Variant, classes: tuple[str, ...], n_bootstrap: int, seed: int
) -> _Scores:
    if variant.name not in scored.probability or len(scored.true) == 0:
        names = [*MAIN_SCORES, *(f"f1:{name}" for name in classes), "brier", "ece"]
        missing = np.full(n_bootstrap, np.nan)
        return _Scores(dict.fromkeys(names, np.nan), dict.fromkeys(names, missing))
    statistics = partial(_all_scores, scored, variant.name, classes)
    values = {name: float(value) for name, value in statistics(None).items()}
    is_main = scored.estimate == HELD_OUT or scored.experiment == ALL_TRAINING
    if variant.correction or not is_main:
        n_bootstrap = min(n_bootstrap, FEW_RESAMPLES)
    return _Scores(values, cluster_bootstrap(statistics, scored.groups, n_bootstrap, seed))


def auroc_of(scored: ScoredSet, variant: str) -> float:
    """AUROC of a variant on a set, NaN where it has none."""
    if variant not in scored.probability or len(scored.true) == 0:
        return np.nan
    probability = scored.probability[variant]
    classes = tuple(map(str, range(probability.shape[1])))
    return float(classification_scores(scored.true, probability, classes)["auroc"])


def _all_scores(
    scored: ScoredSet, variant: str, classes: tuple[str, ...], weight: np.ndarray | None
) -> dict[str, np.ndarray]:
    calibrated = scored.calibrated(variant)
    return {
        **classification_scores(scored.true, scored.probability[variant], classes, weight),
        "brier": brier_score(scored.true, calibrated, weight),
        "ece": expected_calibration_error(scored.true, calibrated, weight),
    }


def _expected(scored: ScoredSet, metric: str, n_classes: int) -> float:
    """Value of a metric for predictions that are independent of the class."""
    if n_classes < 2 or not len(scored.true) or scored.priors is None:
        return np.nan
    frequency = np.bincount(scored.true, minlength=n_classes) / len(scored.true)
    if metric == "average_precision":
        return float(frequency[1] if n_classes == 2 else frequency[frequency > 0].mean())
    if metric == "brier":
        constant = np.broadcast_to(scored.priors, (len(scored.true), n_classes))
        return float(brier_score(scored.true, constant))
    return {"auroc": 0.5, "balanced_accuracy": 1.0 / n_classes}.get(metric, np.nan)


def _metric_rows(
    scored: ScoredSet, variant: Variant, classes: tuple[str, ...], scores: _Scores
) -> list[Row]:
    absent = missing_classes_note(scored.true, classes) if classes else ""
    n_filled = scored.n_filled.get(variant.name, 0)
    filled = f"{n_filled} rows lack features, taken at the training mean" if n_filled else ""
    n_positive = int((scored.true == 1).sum()) if len(classes) == 2 else None
    rows: list[Row] = []
    for metric, value in scores.values.items():
        interval = Interval(np.nan, np.nan, "")
        if np.isfinite(value):
            interval = percentile_interval(scores.resampled[metric], scored.n_lineages)
        rows.append(
            {
                **_columns(scored, variant),
                "metric": metric,
                "value": value,
                "low": interval.low,
                "high": interval.high,
                "expected": _expected(scored, metric, len(classes)),
                "n_rows": len(scored.true),
                "n_lineages": scored.n_lineages,
                "n_positive": n_positive,
                "note": join_notes(absent, scored.note, filled, interval.note),
            }
        )
    return rows


def _confusion_rows(scored: ScoredSet, variant: Variant, classes: tuple[str, ...]) -> Iterator[Row]:
    predicted = scored.probability[variant.name].argmax(axis=1)
    counts = confusion_matrix(scored.true, predicted, len(classes)).astype(int)
    columns = _columns(scored, variant)
    for i, true in enumerate(classes):
        for j, name in enumerate(classes):
            yield {**columns, "true": true, "predicted": name, "count": counts[i, j]}


def _reliability_rows(scored: ScoredSet, variant: Variant) -> Iterator[Row]:
    if len(scored.true) == 0:
        return
    curve = reliability_curve(scored.true, scored.calibrated(variant.name))
    for number, (predicted, observed, n_rows) in enumerate(zip(*curve, strict=True)):
        if n_rows:
            values = {"predicted": predicted, "observed": observed, "n_rows": int(n_rows)}
            yield {**_columns(scored, variant), "bin": number, **values}


def _columns(scored: ScoredSet, variant: Variant) -> Row:
    return {**variant.columns, "estimate": scored.estimate, "experiment": scored.experiment}


def _difference_rows(
    scored: ScoredSet, variants: list[Variant], scores: dict[str, _Scores]
) -> Iterator[Row]:
    """Trained minus each baseline, seeds averaged, on the same resamples of lineages."""
    by_kind: dict[str, list[_Scores]] = {}
    for variant in variants:
        if not variant.kind.startswith(CEILING):
            by_kind.setdefault(variant.kind, []).append(scores[variant.name])
    trained = by_kind.pop("trained", [])
    for kind, baseline in by_kind.items() if trained else ():
        for metric in MAIN_SCORES:
            value = float(_mean_value(trained, metric) - _mean_value(baseline, metric))
            first, second = (
                np.mean([of.resampled[metric] for of in kinds], axis=0)
                for kinds in (trained, baseline)
            )
            # One seed draws the same first resamples, however many follow.
            n_both = min(len(first), len(second))
            interval = percentile_interval(first[:n_both] - second[:n_both], scored.n_lineages)
            if not np.isfinite(value):
                interval = Interval(np.nan, np.nan, "no value for one of the two")
            yield {
                "estimate": scored.estimate,
                "experiment": scored.experiment,
                "metric": metric,
                "baseline": kind,
                "value": value,
                "low": interval.low,
                "high": interval.high,
                "n_seeds": len(trained),
                "n_rows": len(scored.true),
                "n_lineages": scored.n_lineages,
                "note": join_notes(scored.note, interval.note),
            }


def _way_rows(
    scored: ScoredSet, variants: list[Variant], scores: dict[str, _Scores]
) -> Iterator[Row]:
    """Share of the way from the best baseline to a supervised ceiling, where there is one."""
    by_name = {variant.name: variant for variant in variants}
    for metric in ("auroc", "average_precision"):
        values = {name: of.values[metric] for name, of in scores.items()}
        resampled = {name: of.resampled[metric] for name, of in scores.items()}
        shares = way_to_ceiling(values, resampled, scored.n_lineages)
        for name, share in shares.items():
            share = share._replace(n_rows=len(scored.true), n_lineages=scored.n_lineages)
            columns = _columns(scored, by_name[name])
            yield from metric_rows({f"way_to_ceiling:{metric}": share}, **columns)


def _mean_value(scores: list[_Scores], metric: str) -> np.floating:
    return np.mean([of.values[metric] for of in scores])
