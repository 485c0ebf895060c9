"""Scores of linear classifiers as tidy tables: values, intervals, differences, confusion."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd

from dynaclr.evaluation.bootstrap import (
    Interval,
    cluster_bootstrap,
    paired_difference,
    percentile_interval,
)
from dynaclr.evaluation.scores import classification_scores, confusion_matrix, scores_note
from dynaclr.evaluation.variants import Variant

METRICS = ("auroc", "average_precision", "balanced_accuracy")
CROSS_VALIDATED = "cross_validated"
HELD_OUT = "held_out"
# No experiment can have this name: names start with a letter or a digit.
ALL_TRAINING = "(all training)"


@dataclass(frozen=True)
class ScoredSet:
    """Labelled observations that were not trained on, and what each variant says of them.

    Attributes
    ----------
    estimate : str
        `CROSS_VALIDATED` or `HELD_OUT`.
    experiment : str
        Its name, or `ALL_TRAINING`.
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
    """

    estimate: str
    experiment: str
    true: np.ndarray
    lineages: np.ndarray
    probability: dict[str, np.ndarray]
    note: str
    n_filled: dict[str, int] = field(default_factory=dict)

    @property
    def n_lineages(self) -> int:
        """Number of distinct lineages."""
        return len(np.unique(self.lineages))


@dataclass(frozen=True)
class ScoreTables:
    """Tables over all sets and variants of one task; an empty one has no columns.

    Attributes
    ----------
    metrics, differences, confusion : pandas.DataFrame
    """

    metrics: pd.DataFrame
    differences: pd.DataFrame
    confusion: pd.DataFrame


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
    metrics, differences, confusion = [], [], []
    for scored in sets:
        values: dict[str, dict[str, float]] = {}
        resampled: dict[str, dict[str, np.ndarray]] = {}
        for variant in variants:
            values[variant.name], resampled[variant.name] = _score(
                scored, variant, classes, n_bootstrap, seed
            )
            metrics += _metric_rows(scored, variant, classes, values, resampled)
            confusion += _confusion_rows(scored, variant, classes)
        differences += _difference_rows(scored, variants, values, resampled)
    return ScoreTables(*map(pd.DataFrame, (metrics, differences, confusion)))


def join_notes(*notes: str) -> str:
    """Join the notes that say something."""
    return "; ".join(dict.fromkeys(note for note in notes if note))


def _score(
    scored: ScoredSet, variant: Variant, classes: tuple[str, ...], n_bootstrap: int, seed: int
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Scores of one variant on one set, and their values on resampled lineages."""
    names = [*METRICS, *(f"f1:{name}" for name in classes)]
    if variant.name not in scored.probability or len(scored.true) == 0:
        nothing = np.full(n_bootstrap, np.nan)
        return dict.fromkeys(names, np.nan), dict.fromkeys(names, nothing)
    statistics = partial(
        classification_scores, scored.true, scored.probability[variant.name], classes
    )
    values = {name: float(value) for name, value in statistics().items()}
    return values, cluster_bootstrap(statistics, scored.lineages, n_bootstrap, seed)


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


def _place(scored: ScoredSet, variant: Variant) -> dict[str, object]:
    return {
        "variant": variant.name,
        "kind": variant.kind,
        "seed": variant.seed,
        "estimate": scored.estimate,
        "experiment": scored.experiment,
    }


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
            interval = paired_difference(
                mean(resampled, trained), mean(resampled, names), scored.n_lineages
            )
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
