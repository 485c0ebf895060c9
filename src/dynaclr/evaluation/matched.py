"""Mixing of experiments within matched biology, and what classes keep: one variant at a time.

Experiments are compared where their cells should be alike: within one condition and one window of
hours. Every sample holds one observation of a lineage and window, because neighbours in time are
neighbours in any embedding and would pass for a batch effect. What does not depend on the features
(the rows) is chosen once: see `dynaclr.evaluation.samples`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from dynaclr.evaluation import integration
from dynaclr.evaluation.correction import CORRECTIONS
from dynaclr.evaluation.measures import ALL, POOLED, Measure, tabulate
from dynaclr.evaluation.mixing import (
    experiment_classifier,
    inverse_simpson,
    mixing_scores,
    neighbour_weights,
    scaled_ilisi,
)
from dynaclr.evaluation.projection import balanced_subsample, standardize
from dynaclr.evaluation.study import Study
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.evaluation.variants import Variant

MAX_LABELLED = 600
MATCHED = (
    *("matched_ilisi", "matched_kbet", "matched_connectivity", "matched_silhouette"),
    "matched_experiment_auroc",
)
OF_CLASSES = ("clisi", "nmi", "ari", "silhouette", "retrieval_map")
AGGREGATES = ("scib_batch", "scib_bio", "scib_total", "jump_total")


def mixing_rows(study: Study, variant: Variant) -> list[dict[str, object]]:
    """Rows of the metrics table: mixing of all cells, of matched cells, and classes kept."""
    features = study.cohort.features[variant.name]
    place = {**variant.place, "estimate": POOLED, "experiment": ALL}
    pooled = mixing_scores(features, study.experiments, study.lineages, seed=study.seed)
    matched = matched_mixing(features, study.experiments, study.strata, study.seed)
    rows = tabulate({**pooled, **matched}, **place)
    for task, chosen in study.tasks:
        kept = classes_kept(study, variant, chosen)
        kept |= aggregates(matched, kept)
        kept["isolated_state_auroc"] = isolated_state(study, variant, chosen)
        rows += tabulate(kept, **place, task=task.name)
    return rows


def matched_mixing(
    features: np.ndarray, experiments: np.ndarray, strata: list[np.ndarray], seed: int
) -> dict[str, Measure]:
    """Mixing of experiments within strata, averaged over them by their rows.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing. Scaled to unit variance within each stratum.
    experiments : numpy.ndarray
        Shape (n,).
    strata : list of numpy.ndarray
        Of `dynaclr.evaluation.samples.matched_strata`.
    seed : int
        Of folds, and of the shuffled experiments that give the expected values.

    Returns
    -------
    dict of str to Measure
        Those of `MATCHED`.
    """
    if not strata:
        note = "no condition and window that two experiments share with enough lineages"
        return dict.fromkeys(MATCHED, Measure(np.nan, note=note))
    rng = np.random.default_rng(seed)
    values = [_of_stratum(features[rows], experiments[rows], rng, seed) for rows in strata]
    weight = np.array([len(rows) for rows in strata])
    note = f"{len(strata)} strata of condition and window; one observation a lineage and window"
    means = {
        name: np.average([of[name] for of in values], axis=0, weights=weight) for name in MATCHED
    }
    return {
        name: Measure(float(value), float(expected), int(weight.sum()), note)
        for name, (value, expected) in means.items()
    }


def _of_stratum(
    features: np.ndarray, experiments: np.ndarray, rng: np.random.Generator, seed: int
) -> dict[str, tuple[float, float]]:
    """Value and expected value of each of `MATCHED` in one stratum."""
    scaled, batches = standardize(features), experiments.astype(str)
    shuffled = rng.permutation(batches)
    n_batches = len(np.unique(batches))
    # Independent rows: every one is a lineage of its own.
    told = experiment_classifier(features, experiments, np.arange(len(features)), seed=seed)
    neighbours = neighbour_weights(scaled)

    def ilisi(names: np.ndarray) -> float:
        codes = np.unique(names, return_inverse=True)[1]
        return scaled_ilisi(inverse_simpson(*neighbours, codes), n_batches)

    def by_chance(measure: Callable[[np.ndarray], float]) -> tuple[float, float]:
        return measure(batches), measure(shuffled)

    return {
        "matched_ilisi": by_chance(ilisi),
        "matched_kbet": by_chance(partial(integration.kbet_acceptance, scaled)),
        "matched_connectivity": (
            integration.graph_connectivity(scaled, np.zeros(len(scaled))),
            np.nan,
        ),
        "matched_silhouette": by_chance(partial(integration.batch_silhouette, scaled)),
        "matched_experiment_auroc": (told["experiment_auroc"].value, 0.5),
    }


def classes_kept(study: Study, variant: Variant, task: TaskRows) -> dict[str, Measure]:
    """How far the classes of a task lie apart over all experiments: those of `OF_CLASSES`."""
    rows, labels = labelled_sample(study, task)
    names, counts = np.unique(labels.astype(str), return_counts=True)
    if len(names) < 2 or counts.min() < 5:
        note = "fewer than two classes with five independent observations"
        return dict.fromkeys(OF_CLASSES, Measure(np.nan, n_rows=len(rows), note=note))
    features = standardize(study.cohort.features[variant.name][rows])
    shuffled = np.random.default_rng(study.seed).permutation(labels)
    true, expected = (
        _class_scores(features, given, study.experiments[rows], study.seed)
        for given in (labels, shuffled)
    )
    note = "one observation a lineage and window"
    return {
        name: Measure(value, chance, len(rows), note)
        for name, value, chance in zip(OF_CLASSES, true, expected, strict=True)
    }


def _class_scores(
    features: np.ndarray, labels: np.ndarray, batches: np.ndarray, seed: int
) -> tuple[float, ...]:
    return (
        integration.clisi(features, labels),
        *integration.cluster_agreement(features, labels, seed),
        integration.label_silhouette(features, labels),
        integration.retrieval_map(features, labels, batches),
    )


def labelled_sample(study: Study, task: TaskRows) -> tuple[np.ndarray, np.ndarray]:
    """Independent labelled rows of a task, balanced over experiments, and their class names."""
    known = np.array([label is not None for label in task.labels], dtype=bool)
    kept = np.isin(task.rows, study.independent) & known
    rows, labels = task.rows[kept], task.labels[kept]
    if len(rows) == 0:
        return rows, labels
    chosen = balanced_subsample(study.experiments[rows], MAX_LABELLED, study.seed)
    return rows[chosen], labels[chosen]


def aggregates(matched: dict[str, Measure], kept: dict[str, Measure]) -> dict[str, Measure]:
    """The aggregates of scIB and of the JUMP-CP protocol: those of `AGGREGATES`.

    Batch: iLISI, kBET, graph connectivity and batch silhouette of matched cells. Biology: cLISI,
    NMI, ARI and silhouette of classes; the JUMP-CP protocol adds retrieval (mAP). Both protocols
    cluster by Leiden where k-means stands here, and compute batch measures within labels.
    """
    batch = [matched[name].value for name in MATCHED[:-1]]
    biology = [kept[name].value for name in OF_CLASSES]
    scib = integration.integration_score(batch, biology[:-1])
    jump = integration.integration_score(batch, biology)
    notes = [next(iter(of.values())).note for of in (matched, kept)]
    note = "" if np.isfinite(jump[-1]) else notes[not np.isfinite(np.sum(biology))]
    n_rows = next(iter(kept.values())).n_rows
    values = zip(AGGREGATES, (*scib, jump[-1]), strict=True)
    return {name: Measure(value, n_rows=n_rows, note=note) for name, value in values}


def isolated_state(study: Study, variant: Variant, task: TaskRows) -> Measure:
    """Over-correction check: the last class of a task, left in one experiment alone.

    The state's cells are taken out of all other experiments, a correction is fitted again on what
    stays, and the state must still be found; see `integration.isolated_state_auroc`.
    """
    rows, labels = labelled_sample(study, task)
    names = sorted(set(labels))
    if len(names) < 2:
        return Measure(np.nan, n_rows=len(rows), note="fewer than two classes")
    state = labels == names[-1]
    experiments = study.experiments[rows]
    counts = {name: int(state[experiments == name].sum()) for name in study.scored}
    alone = max(counts, key=counts.__getitem__)
    if counts[alone] < 5 or (experiments == alone).sum() - counts[alone] < 5:
        note = f"fewer than five cells that are or are not {names[-1]!r} in {alone}"
        return Measure(np.nan, n_rows=len(rows), note=note)
    kept = ~state | (experiments == alone)
    features = _refitted(study, variant, rows[kept])
    value = integration.isolated_state_auroc(
        standardize(features), state[kept], experiments[kept] == alone, study.lineages[rows[kept]]
    )
    note = f"{names[-1]!r} left in {alone} alone"
    return Measure(value, 0.5, int(kept.sum()), note)


def _refitted(study: Study, variant: Variant, rows: np.ndarray) -> np.ndarray:
    """Features of some rows, corrected as if there were no others."""
    if not variant.correction:
        return study.cohort.features[variant.name][rows]
    base = study.cohort.features[variant.base]
    if variant.correction == "transport":
        # Fitted on control cells, which are all there still.
        return study.cohort.features[variant.name][rows]
    return CORRECTIONS[variant.correction](base[rows], study.experiments[rows], None, None)
