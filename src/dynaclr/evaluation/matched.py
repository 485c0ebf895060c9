"""Mixing of experiments within matched biology, and what classes keep: one variant at a time.

Experiments are compared where their cells should be alike: within one condition and one window of
hours. Every sample holds one observation of a lineage and window, because neighbours in time are
neighbours in any embedding and would pass for a batch effect. What does not depend on the features
(the rows) is chosen once: see `dynaclr.evaluation.samples`.
"""

from __future__ import annotations

import numpy as np

from dynaclr.config.metrics import ALL, Measure, tabulate
from dynaclr.config.variants import Variant
from dynaclr.evaluation.correction import CORRECTIONS
from dynaclr.evaluation.metrics import integration
from dynaclr.evaluation.metrics.mixing import (
    PERPLEXITY,
    by_chance,
    experiment_classifier,
    lisi,
    mixing_scores,
    scaled_ilisi,
    with_shuffles,
)
from dynaclr.evaluation.projection import standardize
from dynaclr.evaluation.study import Study
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.io.subsample import balanced_subsample

MAX_LABELLED = 600
TOO_FEW = "fewer than two classes with five independent observations"
INDEPENDENT = "one observation a lineage and window"
MATCHED = (
    *("matched_ilisi", "matched_kbet", "matched_connectivity", "matched_silhouette"),
    "matched_experiment_auroc",
)
OF_CLASSES = ("clisi", "nmi", "ari", "silhouette")
AGGREGATES = ("scib_batch", "scib_bio", "scib_total", "jump_total")


def mixing_rows(study: Study, variant: Variant) -> list[dict[str, object]]:
    """Rows of the metrics table: mixing of all cells, of matched cells, and classes kept.

    Classes are those of the scored experiments; what needs several experiments is of the mixed.
    """
    features = study.cohort.features[variant.name]
    here = study.rows_of(study.mixed)
    all_cells = mixing_scores(
        features[here], study.experiments[here], study.lineages[here], seed=study.seed
    )
    matched = matched_mixing(features, study.experiments, study.strata, study.seed)
    place = {**variant.place, "experiment": ALL}
    rows = tabulate({**all_cells, **matched}, **place, estimate=study.mixed_scope)
    for task, chosen in study.tasks:
        kept = classes_kept(study, variant, chosen)
        across = {"retrieval_map": retrieval(study, variant, chosen)}
        across |= aggregates(matched, {**kept, **across})
        across["isolated_state_auroc"] = isolated_state(study, variant, chosen)
        rows += tabulate(kept, **place, task=task.name, estimate=study.scope)
        rows += tabulate(across, **place, task=task.name, estimate=study.mixed_scope)
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
    scaled, labelings = standardize(features), with_shuffles(experiments.astype(str), rng)
    n_batches = len(np.unique(labelings))
    # Independent rows: every one is a lineage of its own.
    told = experiment_classifier(features, experiments, np.arange(len(features)), seed=seed)
    values = lisi(scaled, labelings, perplexity_within(len(scaled) / n_batches))
    connectivity = integration.graph_connectivity(scaled, np.zeros(len(scaled)))
    return {
        "matched_ilisi": by_chance(scaled_ilisi(values, n_batches)),
        "matched_kbet": by_chance(integration.kbet_acceptance(scaled, labelings)),
        "matched_connectivity": (connectivity, np.nan),
        "matched_silhouette": by_chance(integration.batch_silhouette(scaled, labelings)),
        "matched_experiment_auroc": (told["experiment_auroc"].value, 0.5),
    }


def perplexity_within(n_cells: float) -> float:
    """Perplexity at which a neighbourhood fits in a batch, at most that of large samples.

    LISI weighs the ``3 * perplexity`` nearest cells (Korsunsky et al. 2019, compute_lisi). Where a
    batch has fewer, neighbourhoods reach into other batches however far those lie, and a batch
    effect looks like mixing. kBET's neighbourhoods shrink with the batch for the same reason.

    Parameters
    ----------
    n_cells : float
        Cells of one batch.
    """
    return min(PERPLEXITY, n_cells / 3)


def classes_kept(study: Study, variant: Variant, task: TaskRows) -> dict[str, Measure]:
    """How far the classes of a task lie apart in the scored experiments: those of `OF_CLASSES`."""
    rows, labels = labelled_sample(study, task, study.scored)
    if _too_few(labels):
        return dict.fromkeys(OF_CLASSES, Measure(np.nan, n_rows=len(rows), note=TOO_FEW))
    features = standardize(study.cohort.features[variant.name][rows])
    labelings = with_shuffles(labels.astype(str), np.random.default_rng(study.seed))
    values = (
        integration.clisi(features, labelings),
        *integration.cluster_agreement(features, labelings, study.seed).T,
        integration.label_silhouette(features, labelings),
    )
    return {
        name: Measure(*by_chance(value), len(rows), INDEPENDENT)
        for name, value in zip(OF_CLASSES, values, strict=True)
    }


def retrieval(study: Study, variant: Variant, task: TaskRows) -> Measure:
    """Whether cells find those of their class in the other mixed experiments."""
    rows, labels = labelled_sample(study, task, study.mixed)
    experiments = study.experiments[rows]
    if _too_few(labels) or len(set(experiments)) < 2:
        return Measure(np.nan, n_rows=len(rows), note=f"{TOO_FEW}, or one experiment only")
    values = integration.retrieval_map(
        standardize(study.cohort.features[variant.name][rows]),
        with_shuffles(labels.astype(str), np.random.default_rng(study.seed)),
        experiments,
    )
    return Measure(*by_chance(values), len(rows), INDEPENDENT)


def _too_few(labels: np.ndarray) -> bool:
    names, counts = np.unique(labels.astype(str), return_counts=True)
    return len(names) < 2 or counts.min() < 5


def labelled_sample(
    study: Study, task: TaskRows, experiments: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Independent labelled rows of some experiments, as many of each, and their class names."""
    here = task.labelled(experiments)
    here = here[np.isin(task.rows[here], study.independent)]
    rows, labels = task.rows[here], task.labels[here]
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
    with_retrieval = [*biology, kept["retrieval_map"].value]
    scib = integration.integration_score(batch, biology)
    jump = integration.integration_score(batch, with_retrieval)
    lacking = [of.note for of in (*matched.values(), *kept.values()) if not np.isfinite(of.value)]
    n_rows = next(iter(kept.values())).n_rows
    return {
        name: Measure(value, n_rows=n_rows, note="" if np.isfinite(value) else lacking[0])
        for name, value in zip(AGGREGATES, (*scib, jump[-1]), strict=True)
    }


def isolated_state(study: Study, variant: Variant, task: TaskRows) -> Measure:
    """Over-correction check: the last class of a task, left in one experiment alone.

    The state's cells are taken out of all other experiments, a correction is fitted again on what
    stays, and the state must still be found; see `integration.isolated_state_auroc`. The encoder
    is as it was, trained with the state in all experiments: this tests what corrections do, and
    does not tell whether training itself would have dissolved a state of one experiment.
    """
    rows, labels = labelled_sample(study, task, study.mixed)
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
    note = f"{names[-1]!r} left in {alone} alone, after training: tests corrections"
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
