"""What is measured: names, families, and which way is better, for tables and figures."""

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
    """What a metric is: family, better (higher, lower or none), and words for figures."""

    family: str
    better: str
    title: str


_CATALOG = {
    "classification": {
        "auroc": ("higher", "AUROC"),
        "average_precision": ("higher", "Average precision"),
        "balanced_accuracy": ("higher", "Balanced accuracy"),
        "f1": ("higher", "F1"),
        "brier": ("lower", "Brier score"),
        "ece": ("lower", "Expected calibration error"),
        "auroc_null": ("none", "AUROC after shuffled training labels"),
        "auroc_p": ("lower", "p of AUROC against shuffled labels"),
    },
    "resolution": {
        "window_auroc": ("higher", "AUROC within condition and hour window"),
        "visible_from_hours": ("lower", "Classes told apart from (hours)"),
        "sister_auroc": ("higher", "Sisters of different against same fates, AUROC"),
    },
    "mixing": {
        "ilisi": ("higher", "iLISI, all cells"),
        "experiment_accuracy": ("lower", "Experiment classifier, mean recall"),
        "experiment_auroc": ("lower", "Experiment classifier, AUROC"),
        "matched_ilisi": ("higher", "iLISI, matched cells"),
        "matched_kbet": ("higher", "kBET acceptance, matched cells"),
        "matched_connectivity": ("higher", "Graph connectivity, matched cells"),
        "matched_silhouette": ("higher", "1 - |batch silhouette|, matched cells"),
        "matched_experiment_auroc": ("lower", "Experiment classifier, matched cells, AUROC"),
        "clisi": ("higher", "cLISI of classes"),
        "nmi": ("higher", "NMI of clusters and classes"),
        "ari": ("higher", "ARI of clusters and classes"),
        "silhouette": ("higher", "Silhouette of classes"),
        "retrieval_map": ("higher", "Retrieval across experiments, mAP"),
        "scib_batch": ("higher", "scIB, batch correction"),
        "scib_bio": ("higher", "scIB, biology kept"),
        "scib_total": ("higher", "scIB, total"),
        "jump_total": ("higher", "JUMP-CP protocol, total"),
        "isolated_state_auroc": ("higher", "State left in one experiment after training, AUROC"),
    },
    "temporal": {
        "smoothness": ("lower", "Smoothness (adjacent / random distance)"),
        "smoothness_pooled": ("none", "Smoothness, random pairs pooled (rewards batch effects)"),
        "dynamic_range": ("higher", "Dynamic range"),
        "msd": ("none", "Mean squared displacement / that of random pairs"),
        "msd_exponent": ("none", "Exponent of displacement over lag"),
        "progression_r2": ("higher", "R2 to true progression"),
    },
    "kinetics": {
        "mmd2": ("none", "Squared MMD to control"),
        "mmd_z": ("higher", "MMD to control, z of the largest over windows"),
        "mmd_from_hours": ("none", "MMD to control seen from (hours)"),
        "onset_error_hours": ("lower", "Error of onset time (hours)"),
        "onset_coverage": ("higher", "Responders whose onset is seen"),
        "onset_control_rate": ("lower", "Control cells that seem to respond"),
    },
    "health": {
        "effective_rank": ("higher", "Effective rank"),
        "alignment": ("lower", "Alignment"),
        "uniformity": ("lower", "Uniformity"),
        "norm_mean": ("none", "Mean norm"),
        "norm_variation": ("none", "Variation of norms"),
        "purity_lineage": ("none", "Neighbours of the same lineage"),
        "purity_experiment": ("lower", "Neighbours of the same experiment"),
        "purity_hour": ("none", "Neighbours within an hour"),
    },
}
FACTS = {
    metric: Fact(family, *told)
    for family, metrics in _CATALOG.items()
    for metric, told in metrics.items()
}


def fact_of(metric: str) -> Fact:
    """Family, direction and words of a metric; ``f1:late`` is the ``f1`` of class ``late``."""
    base, _, of_class = metric.partition(":")
    fact = FACTS[base]
    return fact._replace(title=f"{fact.title} of {of_class}") if of_class else fact


def join_notes(*notes: str) -> str:
    """Join the notes that say something."""
    return "; ".join(dict.fromkeys(note for note in notes if note))


def tabulate(measures: Mapping[str, Measure], **place: object) -> list[dict[str, object]]:
    """Rows of the metrics table: what was measured, and the place (variant, experiment) it has."""
    return [{**place, "metric": name, **measure._asdict()} for name, measure in measures.items()]
