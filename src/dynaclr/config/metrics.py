"""What is measured: names, families, and which way is better."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

# Estimates: where the rows behind a value come from. Pooled ones are not all held out.
CROSS_VALIDATED = "cross_validated"
LEFT_OUT = "leave_one_experiment_out"
HELD_OUT = "held_out"
POOLED = "pooled"
INCLUDES_TRAINING = "includes training cells"
# No experiment can have these names: names start with a letter or a digit.
ALL_TRAINING = "(all training)"
ALL = "(all)"

FAMILIES = ("classification", "resolution", "mixing", "temporal", "kinetics", "health")


class Measure(NamedTuple):
    """One measured value.

    Attributes
    ----------
    value : float
    expected : float
        Its value when there is no effect, NaN where none is known.
    n_rows : int
        Observations it was computed on.
    note : str
        Why there is no value, or what should be known about it.
    low, high : float
        95 % interval, NaN where there is none.
    n_lineages : int or None
        Independent units behind it, where they were counted.
    resampled : numpy.ndarray or None
        Its values on resampled lineages, by which models can be paired.
    """

    value: float
    expected: float = np.nan
    n_rows: int = 0
    note: str = ""
    low: float = np.nan
    high: float = np.nan
    n_lineages: int | None = None
    resampled: np.ndarray | None = None


class Fact(NamedTuple):
    """What a metric is: its family, and which way is better (higher, lower or none)."""

    family: str
    better: str


_CATALOG = {
    "classification": {
        "auroc": "higher",
        "average_precision": "higher",
        "balanced_accuracy": "higher",
        "f1": "higher",
        "brier": "lower",
        "ece": "lower",
        "auroc_null": "none",
        "auroc_p": "lower",
    },
    "resolution": {
        "window_auroc": "higher",
        "visible_from_hours": "lower",
        "sister_auroc": "higher",
    },
    "mixing": {
        "ilisi": "higher",
        "experiment_accuracy": "lower",
        "experiment_auroc": "lower",
        "matched_ilisi": "higher",
        "matched_kbet": "higher",
        "matched_connectivity": "higher",
        "matched_silhouette": "higher",
        "matched_experiment_auroc": "lower",
        "clisi": "higher",
        "nmi": "higher",
        "ari": "higher",
        "silhouette": "higher",
        "retrieval_map": "higher",
        "scib_batch": "higher",
        "scib_bio": "higher",
        "scib_total": "higher",
        "jump_total": "higher",
        "isolated_state_auroc": "higher",
    },
    "temporal": {
        "smoothness": "lower",
        "smoothness_pooled": "none",
        "dynamic_range": "higher",
        "msd": "none",
        "msd_exponent": "none",
        "progression_r2": "higher",
    },
    "kinetics": {
        "mmd2": "none",
        "mmd_z": "higher",
        "mmd_from_hours": "none",
        "onset_error_hours": "lower",
        "onset_coverage": "higher",
        "onset_control_rate": "lower",
    },
    "health": {
        "effective_rank": "higher",
        "alignment": "lower",
        "uniformity": "lower",
        "norm_mean": "none",
        "norm_variation": "none",
        "purity_lineage": "none",
        "purity_experiment": "lower",
        "purity_hour": "none",
    },
}
FACTS = {
    metric: Fact(family, better)
    for family, metrics in _CATALOG.items()
    for metric, better in metrics.items()
}


def fact_of(metric: str) -> Fact:
    """Family and direction of a metric; ``f1:late`` is the ``f1`` of class ``late``."""
    return FACTS[metric.partition(":")[0]]


def join_notes(*notes: str) -> str:
    """Join the notes that say something."""
    return "; ".join(dict.fromkeys(note for note in notes if note))


def tabulate(measures: Mapping[str, Measure], **place: object) -> list[dict[str, object]]:
    """Rows of the metrics table: what was measured, and the place (variant, experiment) it has."""
    return [{**place, "metric": name, **measure._asdict()} for name, measure in measures.items()]
