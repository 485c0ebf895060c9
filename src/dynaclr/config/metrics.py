"""Catalog of the metrics in the result tables: family, and which direction is better."""

from __future__ import annotations

from typing import NamedTuple

# Values of the column `estimate`: where the rows behind a value come from.
CROSS_VALIDATED = "cross_validated"
LEFT_OUT = "leave_one_experiment_out"
HELD_OUT = "held_out"
# Held-out and training experiments together.
POOLED = "pooled"
INCLUDES_TRAINING = "includes training cells"
# Names of experiments start with a letter or a digit, so none can be one of these.
ALL_TRAINING = "(all training)"
ALL = "(all)"


class MetricInfo(NamedTuple):
    """What a metric is.

    Attributes
    ----------
    family : str
        The question that it answers.
    better : {"higher", "lower", "none"}
        Direction of improvement.
    """

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
        "way_to_ceiling": "higher",
    },
    "resolution": {
        "window_auroc": "higher",
        "visible_from_hours": "lower",
        "sister_auroc": "higher",
    },
    "mixing": {
        "ilisi": "higher",
        "experiment_auroc": "lower",
        "matched_ilisi": "higher",
        "matched_experiment_auroc": "lower",
        "clisi": "higher",
        "silhouette": "higher",
        "retrieval_map": "higher",
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
        "onset_within_bounds": "higher",
        "onset_rate": "none",
        "onset_control_rate": "none",
        "pseudotime_correlation": "higher",
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
METRICS = {
    metric: MetricInfo(family, better)
    for family, metrics in _CATALOG.items()
    for metric, better in metrics.items()
}


def metric_info(metric: str) -> MetricInfo:
    """Family and direction of a metric; ``f1:late`` is the ``f1`` of class ``late``.

    Parameters
    ----------
    metric : str
        Value of the column ``metric``.

    Returns
    -------
    MetricInfo
    """
    return METRICS[metric.partition(":")[0]]


def join_notes(*notes: str) -> str:
    """Join those notes that are not empty, each once."""
    return "; ".join(dict.fromkeys(note for note in notes if note))
