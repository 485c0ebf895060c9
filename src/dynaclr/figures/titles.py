"""Titles of metrics in figures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

METRIC_TITLES = {
    "auroc": "AUROC",
    "average_precision": "Average precision",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1",
    "brier": "Brier score",
    "ece": "Expected calibration error",
    "auroc_null": "AUROC after shuffled training labels",
    "auroc_p": "p of AUROC against shuffled labels",
    "way_to_ceiling": "Share of the way from the best baseline to the ceiling",
    "window_auroc": "AUROC within condition and hour window",
    "visible_from_hours": "Classes separable from (hours)",
    "sister_auroc": "Sisters of different against same fates, AUROC",
    "ilisi": "iLISI, all cells",
    "experiment_auroc": "Experiment classifier, AUROC",
    "matched_ilisi": "iLISI, matched cells",
    "matched_experiment_auroc": "Experiment classifier, matched cells, AUROC",
    "clisi": "cLISI of classes",
    "silhouette": "Silhouette of classes",
    "retrieval_map": "Retrieval across experiments, mAP",
    "isolated_state_auroc": "State left in one experiment after training, AUROC",
    "smoothness": "Smoothness (adjacent / random distance)",
    "smoothness_pooled": "Smoothness, random pairs pooled (rewards batch effects)",
    "dynamic_range": "Dynamic range",
    "msd": "Mean squared displacement / that of random pairs",
    "msd_exponent": "Exponent of displacement over lag",
    "progression_r2": "R2 to true progression",
    "mmd2": "Squared MMD to control",
    "mmd_z": "MMD to control, z of the largest over windows",
    "mmd_from_hours": "MMD to control seen from (hours)",
    "onset_error_hours": "Error of onset time (hours)",
    "onset_coverage": "Responders whose onset is seen",
    "onset_within_bounds": "Onsets whose bounds hold the true one",
    "onset_rate": "Treated tracks with an onset",
    "onset_control_rate": "Control tracks that seem to respond",
    "pseudotime_correlation": "Rank correlation of pseudotime with true progression",
    "effective_rank": "Effective rank",
    "alignment": "Alignment",
    "uniformity": "Uniformity",
    "norm_mean": "Mean norm",
    "norm_variation": "Variation of norms",
    "purity_lineage": "Neighbours of the same lineage",
    "purity_experiment": "Neighbours of the same experiment",
    "purity_hour": "Neighbours within an hour",
}


def title_of(metric: str) -> str:
    """Words for a metric; ``f1:late`` is the ``f1`` of class ``late``."""
    base, _, of_class = metric.partition(":")
    return f"{METRIC_TITLES[base]} of {of_class}" if of_class else METRIC_TITLES[base]


def direction_of(table: pd.DataFrame) -> str:
    """Which way is better, of rows of one metric; empty where neither is or there is no row."""
    better = next(iter(table["better"]), "none")
    return "" if better == "none" else f"{better} is better"
