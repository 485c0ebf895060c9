"""Scores of linear classifiers as tidy tables: values, intervals, differences, confusion."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from dynaclr.config.metrics import ALL_TRAINING, HELD_OUT, join_notes
from dynaclr.config.variants import Variant
from dynaclr.evaluation.metrics.bootstrap import (
    Interval,
    cluster_bootstrap,
    paired_difference,
    percentile_interval,
)
from dynaclr.evaluation.metrics.calibration import (
    at_training_shares,
    brier_score,
    expected_calibration_error,
    reliability_curve,
)
from dynaclr.evaluation.metrics.classification import (
    classification_scores,
    confusion_matrix,
    scores_note,
)

METRICS = ("auroc", "average_precision", "balanced_accuracy")
# Single training experiments and corrected variants: where intervals may be rougher.
FEW_RESAMPLES = 200


@dataclass(frozen=True)
class ScoredSet:
    """Labelled observations that were not trained on, and what each variant says of them.

    Attributes
    ----------
    estimate : str
        `CROSS_VALIDATED`, `LEFT_OUT` or `HELD_OUT`.
    experiment : str
        Its name, or `ALL_TRAINING`.
    rows : numpy.ndarray
        Their positions within the rows of the task, shape (n,).
    true : numpy.ndarray
        Class codes, shape (n,).
    lineages : numpy.ndarray
        Lineage codes, shape (n,).
    probability : dict of str to numpy.ndarray
        Variant to probabilities, shape (n, K); empty when there are none.
    note : str
        What should be known about these rows, or why there are no scores.
    n_filled : dict of str to int
        Variant to the number of rows with missing features, taken at the training mean.
    shares : numpy.ndarray or None
        Share of each class among the training rows, shape (K,); None when nothing was trained.
    """

    estimate: str
    experiment: str
    rows: np.ndarray
    true: np.ndarray
    lineages: np.ndarray
    probability: dict[str, np.ndarray]
    note: str
    n_filled: dict[str, int] = field(default_factory=dict)
    shares: np.ndarray | None = None

    def calibrated(self, variant: str) -> np.ndarray:
        """Probabilities of a variant at the class shares of the training rows."""
        return at_training_shares(self.probability[variant], self.shares)

    @property
    def n_lineages(self) -> int:
        """Number of distinct lineages."""
        return len(np.unique(self.lineages))


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
        Of the resamples, the same for all variants.
    """
    metrics, differences, confusion, reliability = [], [], [], []
    for scored in sets:
        values: dict[str, dict[str, float]] = {}
        resampled: dict[str, dict[str, np.ndarray]] = {}
        for variant in variants:
            values[variant.name], resampled[variant.name] = _score(
                scored, variant, classes, n_bootstrap, seed
            )
            metrics += _metric_rows(scored, variant, classes, values, resampled)
            confusion += _confusion_rows(scored, variant, classes)
            reliability += _reliability_rows(scored, variant)
        differences += _difference_rows(scored, variants, values, resampled)
    return ScoreTables(*map(pd.DataFrame, (metrics, differences, confusion, reliability)))


def _score(
    scored: ScoredSet, variant: Variant, classes: tuple[str, ...], n_bootstrap: int, seed: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Scores of one variant on one set, and their values on resampled lineages."""
    names = [*METRICS, *(f"f1:{name}" for name in classes), "brier", "ece"]
    if variant.name not in scored.probability or len(scored.true) == 0:
        nothing = np.full(n_bootstrap, np.nan)
        return dict.fromkeys(names, np.nan), dict.fromkeys(names, nothing)
    statistics = partial(_all_scores, scored, variant.name, classes)
    values = {name: float(value) for name, value in statistics(None).items()}
    main = scored.estimate == HELD_OUT or scored.experiment == ALL_TRAINING
    if variant.correction or not main:
        n_bootstrap = min(n_bootstrap, FEW_RESAMPLES)
    return values, cluster_bootstrap(statistics, scored.lineages, n_bootstrap, seed)


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
    """Value of a metric when the prediction has nothing to do with the class."""
    if n_classes < 2 or not len(scored.true):
        return np.nan
    shares = np.bincount(scored.true, minlength=n_classes) / len(scored.true)
    if metric == "average_precision":
        return float(shares[1] if n_classes == 2 else shares[shares > 0].mean())
    if metric == "brier":
        constant = np.broadcast_to(scored.shares, (len(scored.true), n_classes))
        return float(brier_score(scored.true, constant))
    return {"auroc": 0.5, "balanced_accuracy": 1.0 / n_classes}.get(metric, np.nan)


def _metric_rows(
    scored: ScoredSet,
    variant: Variant,
    classes: tuple[str, ...],
    values: dict[str, dict[str, float]],
    resampled: dict[str, dict[str, np.ndarray]],
) -> list[dict[str, object]]:
    absence = scores_note(scored.true, classes) if classes else ""
    n_filled = scored.n_filled.get(variant.name, 0)
    filled = f"{n_filled} rows lack features, taken at the training mean" if n_filled else ""
    n_positive = int((scored.true == 1).sum()) if len(classes) == 2 else None
    rows = []
    for metric, value in values[variant.name].items():
        interval = Interval(np.nan, np.nan, "")
        if np.isfinite(value):
            interval = percentile_interval(resampled[variant.name][metric], scored.n_lineages)
        rows.append(
            {
                **_place(scored, variant),
                "metric": metric,
                "value": value,
                "low": interval.low,
                "high": interval.high,
                "expected": _expected(scored, metric, len(classes)),
                "n_rows": len(scored.true),
                "n_lineages": scored.n_lineages,
                "n_positive": n_positive,
                "note": join_notes(absence, scored.note, filled, interval.note),
            }
        )
    return rows


def _confusion_rows(
    scored: ScoredSet, variant: Variant, classes: tuple[str, ...]
) -> list[dict[str, object]]:
    if variant.name not in scored.probability:
        return []
    predicted = scored.probability[variant.name].argmax(axis=1)
    counts = confusion_matrix(scored.true, predicted, len(classes)).astype(int)
    return [
        {**_place(scored, variant), "true": row, "predicted": column, "count": counts[i, j]}
        for i, row in enumerate(classes)
        for j, column in enumerate(classes)
    ]


def _reliability_rows(scored: ScoredSet, variant: Variant) -> list[dict[str, object]]:
    if variant.name not in scored.probability or len(scored.true) == 0:
        return []
    curve = reliability_curve(scored.true, scored.calibrated(variant.name))
    return [
        {**_place(scored, variant), "bin": number, "predicted": predicted, "observed": observed}
        | {"n_rows": int(n_rows)}
        for number, (predicted, observed, n_rows) in enumerate(zip(*curve, strict=True))
        if n_rows
    ]


def _place(scored: ScoredSet, variant: Variant) -> dict[str, object]:
    return {**variant.place, "estimate": scored.estimate, "experiment": scored.experiment}


def _difference_rows(
    scored: ScoredSet,
    variants: list[Variant],
    values: dict[str, dict[str, float]],
    resampled: dict[str, dict[str, np.ndarray]],
) -> list[dict[str, object]]:
    """Trained minus each baseline, seeds averaged, on the same resamples of lineages."""
    by_kind: dict[str, list[str]] = {}
    for variant in variants:
        by_kind.setdefault(variant.kind, []).append(variant.name)
    trained = by_kind.pop("trained", [])
    rows = []
    for kind, names in by_kind.items() if trained else []:
        for metric in METRICS:

            def mean(table: dict, of: list[str], metric: str = metric) -> np.ndarray:
                return np.mean([table[name][metric] for name in of], axis=0)

            value = float(mean(values, trained) - mean(values, names))
            first, second = mean(resampled, trained), mean(resampled, names)
            # The same seed draws the same first resamples, however many follow.
            n_both = min(len(first), len(second))
            interval = paired_difference(first[:n_both], second[:n_both], scored.n_lineages)
            if not np.isfinite(value):
                interval = Interval(np.nan, np.nan, "no value for one of the two")
            rows.append(
                {
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
            )
    return rows
