"""Scores of mixing of experiments with the same biology, and of separation of classes.

Experiments are compared where their observations should be alike: within one condition and one
window of hours. Each sample holds one observation of a lineage and window, because neighbours in
time are neighbours in any embedding and would pass for a batch effect. Other biology (another share
of responders) separates experiments rightly, so mixing must not be maximised at the expense of the
classifiers' scores.
"""

from __future__ import annotations

import numpy as np

from dynaclr.config.metrics import ALL
from dynaclr.config.variants import Variant
from dynaclr.evaluation.batch_correction import zscore_by_experiment
from dynaclr.evaluation.classifiers.cross_validation import cross_validate
from dynaclr.evaluation.inputs import EvaluationInputs
from dynaclr.evaluation.metrics.class_separation import (
    class_silhouette,
    clisi,
    isolated_state_auroc,
    retrieval_map,
)
from dynaclr.evaluation.metrics.classification import classification_scores
from dynaclr.evaluation.metrics.mixing import lisi, scaled_ilisi, with_shuffles
from dynaclr.evaluation.metrics.neighbours import PERPLEXITY
from dynaclr.evaluation.metrics.scaling import standardize
from dynaclr.evaluation.tables import MetricValue, Row, metric_rows
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.io.subsample import balanced_subsample

MAX_ROWS = 4000
MAX_LABELLED = 600
TOO_FEW = "fewer than two classes with five independent observations"
INDEPENDENT = "one observation a lineage and window"


def mixing_rows(inputs: EvaluationInputs, variant: Variant) -> list[Row]:
    """Rows of the metrics table about what one variant does over several experiments.

    Parameters
    ----------
    inputs : EvaluationInputs
        Samples of the experiments; those that are mixed are compared.
    variant : Variant

    Returns
    -------
    list of dict
    """
    features = inputs.features[variant.name]
    here = inputs.rows_of(inputs.mixed)
    everywhere = mixing_of_all(
        features[here], inputs.experiments[here], inputs.lineages[here], seed=inputs.seed
    )
    matched = mixing_of_matched(features, inputs.experiments, inputs.strata, inputs.seed)
    columns = {**variant.columns, "experiment": ALL, "estimate": inputs.mixed_scope}
    rows = metric_rows({**everywhere, **matched}, **columns)
    for task, task_rows in inputs.tasks:
        across = {
            "retrieval_map": retrieval(inputs, variant, task_rows),
            "isolated_state_auroc": isolated_state(inputs, variant, task_rows),
        }
        rows += metric_rows(across, **columns, task=task.name)
    return rows


def separation_rows(
    inputs: EvaluationInputs, variant: Variant, task: str, task_rows: TaskRows
) -> list[Row]:
    """Rows about the separation of a task's classes by one variant, of each scored experiment.

    Parameters
    ----------
    inputs : EvaluationInputs
    variant : Variant
    task : str
    task_rows : TaskRows

    Returns
    -------
    list of dict
    """
    columns = {**variant.columns, "task": task, "estimate": inputs.scope}
    rows: list[Row] = []
    for name in inputs.scored:
        values = class_separation(inputs, variant, task_rows, name)
        rows += metric_rows(values, **columns, experiment=name)
    return rows


def mixing_of_all(
    features: np.ndarray,
    experiments: np.ndarray,
    lineages: np.ndarray,
    *,
    max_rows: int = MAX_ROWS,
    seed: int = 0,
) -> dict[str, MetricValue]:
    """Mixing of experiments over all observations: iLISI, and a classifier of the experiment.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing. Scaled to unit variance over all rows.
    experiments : numpy.ndarray
        Shape (n,).
    lineages : numpy.ndarray
        Never split between folds, shape (n,).
    max_rows : int
        Most rows, equally many of each experiment.
    seed : int
        Seed of subsample, shuffles and folds.

    Returns
    -------
    dict of str to MetricValue
        ``ilisi`` (0 separate, 1 mixed; expected: the mean with experiments shuffled) and
        ``experiment_auroc`` (mean of one against the rest; expected 0.5).
    """
    rows = balanced_subsample(experiments, max_rows, seed)
    names, codes = np.unique(experiments[rows].astype(str), return_inverse=True)
    if len(names) < 2 or len(rows) < 10:
        note = "one experiment only" if len(names) < 2 else "fewer than ten observations"
        missing = MetricValue(np.nan, np.nan, len(rows), note)
        return {"ilisi": missing, "experiment_auroc": missing}
    labels = with_shuffles(codes, np.random.default_rng(seed))
    ilisi = scaled_ilisi(lisi(standardize(features[rows]), labels), len(names))
    return {
        "ilisi": MetricValue(*observed_and_shuffled(ilisi), len(rows)),
        "experiment_auroc": experiment_auroc(
            features[rows], experiments[rows], lineages[rows], seed=seed
        ),
    }


def observed_and_shuffled(values: np.ndarray) -> tuple[float, float]:
    """Value of the labels, and the mean over their shuffles, of values for `with_shuffles`."""
    return float(values[0]), float(values[1:].mean())


def experiment_auroc(
    features: np.ndarray, experiments: np.ndarray, lineages: np.ndarray, *, seed: int = 0
) -> MetricValue:
    """AUROC of a linear classifier of the experiment on lineages that it was not fitted on.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing.
    experiments, lineages : numpy.ndarray
        Shape (n,); lineages are never split between folds.
    seed : int
        Seed of the folds.

    Returns
    -------
    MetricValue
    """
    # A moderate fixed penalty: nothing is tuned towards separating experiments.
    result = cross_validate(features, experiments, lineages, strengths=(0.1,), n_folds=3, seed=seed)
    if result.note:
        return MetricValue(np.nan, np.nan, len(experiments), result.note)
    codes = np.searchsorted(np.array(result.classes, dtype=object), experiments)
    scores = classification_scores(codes, result.probability, result.classes)
    return MetricValue(float(scores["auroc"]), 0.5, len(experiments))


def mixing_of_matched(
    features: np.ndarray, experiments: np.ndarray, strata: list[np.ndarray], seed: int
) -> dict[str, MetricValue]:
    """Mixing of experiments within strata, averaged over strata by their numbers of rows.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d); NaN where missing. Scaled to unit variance within each stratum.
    experiments : numpy.ndarray
        Shape (n,).
    strata : list of numpy.ndarray
        Of `matched_strata`.
    seed : int
        Seed of folds and shuffles.

    Returns
    -------
    dict of str to MetricValue
        ``matched_ilisi`` and ``matched_experiment_auroc``.
    """
    names = ("matched_ilisi", "matched_experiment_auroc")
    if not strata:
        note = "no condition and window that two experiments share with enough lineages"
        return dict.fromkeys(names, MetricValue(np.nan, note=note))
    rng = np.random.default_rng(seed)
    values = [_mixing_of_stratum(features[rows], experiments[rows], rng, seed) for rows in strata]
    weight = np.array([len(rows) for rows in strata])
    note = f"{len(strata)} strata of condition and window; one observation a lineage and window"
    means = np.average(values, axis=0, weights=weight)
    return {
        name: MetricValue(float(value), float(expected), int(weight.sum()), note)
        for name, (value, expected) in zip(names, means, strict=True)
    }


def _mixing_of_stratum(
    features: np.ndarray, experiments: np.ndarray, rng: np.random.Generator, seed: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Value and expected value of iLISI and of the classifier's AUROC in one stratum."""
    labels = with_shuffles(experiments.astype(str), rng)
    n_batches = len(np.unique(labels))
    # Independent rows: each is a lineage of its own.
    auroc = experiment_auroc(features, experiments, np.arange(len(features)), seed=seed)
    perplexity = perplexity_within(len(features) / n_batches)
    ilisi = scaled_ilisi(lisi(standardize(features), labels, perplexity), n_batches)
    return observed_and_shuffled(ilisi), (auroc.value, 0.5)


def perplexity_within(n_rows: float) -> float:
    """Perplexity at which a neighbourhood fits in a batch, at most that of large samples.

    LISI weighs the ``3 * perplexity`` nearest neighbours (``compute_lisi`` of Korsunsky et al.
    2019). Where a batch has fewer, neighbourhoods reach into other batches however far those are,
    and a batch effect seems to be mixing.

    Parameters
    ----------
    n_rows : float
        Observations of one batch.

    Returns
    -------
    float
    """
    return min(PERPLEXITY, n_rows / 3)


def class_separation(
    inputs: EvaluationInputs, variant: Variant, task_rows: TaskRows, experiment: str
) -> dict[str, MetricValue]:
    """``clisi`` and ``silhouette`` of a task's classes in one experiment."""
    rows, labels = labelled_sample(inputs, task_rows, [experiment])
    if _too_few(labels):
        missing = MetricValue(np.nan, n_rows=len(rows), note=TOO_FEW)
        return {"clisi": missing, "silhouette": missing}
    features = standardize(inputs.features[variant.name][rows])
    shuffled = with_shuffles(labels.astype(str), np.random.default_rng(inputs.seed))
    values = {
        "clisi": clisi(features, shuffled),
        "silhouette": class_silhouette(features, shuffled),
    }
    return {
        name: MetricValue(*observed_and_shuffled(value), len(rows), INDEPENDENT)
        for name, value in values.items()
    }


def retrieval(inputs: EvaluationInputs, variant: Variant, task_rows: TaskRows) -> MetricValue:
    """Whether observations find their class in the other mixed experiments."""
    rows, labels = labelled_sample(inputs, task_rows, inputs.mixed)
    experiments = inputs.experiments[rows]
    if _too_few(labels) or len(set(experiments)) < 2:
        return MetricValue(np.nan, n_rows=len(rows), note=f"{TOO_FEW}, or one experiment only")
    values = retrieval_map(
        standardize(inputs.features[variant.name][rows]),
        with_shuffles(labels.astype(str), np.random.default_rng(inputs.seed)),
        experiments,
    )
    return MetricValue(*observed_and_shuffled(values), len(rows), INDEPENDENT)


def _too_few(labels: np.ndarray) -> bool:
    names, counts = np.unique(labels.astype(str), return_counts=True)
    return len(names) < 2 or counts.min() < 5


def labelled_sample(
    inputs: EvaluationInputs, task_rows: TaskRows, experiments: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Independent labelled rows of some experiments, equally many of each, and their classes."""
    here = task_rows.labelled(experiments)
    here = here[np.isin(task_rows.rows[here], inputs.independent)]
    rows, labels = task_rows.rows[here], task_rows.labels[here]
    if len(rows) == 0:
        return rows, labels
    chosen = balanced_subsample(inputs.experiments[rows], MAX_LABELLED, inputs.seed)
    return rows[chosen], labels[chosen]


def isolated_state(inputs: EvaluationInputs, variant: Variant, task_rows: TaskRows) -> MetricValue:
    """Over-correction check: the last class of a task, left in one experiment alone.

    The state's observations are removed from all other experiments, a correction is fitted again on
    the rest, and the state must still be found; see `isolated_state_auroc`. The encoder was trained
    with the state in all experiments: this tests corrections, and does not show whether training
    itself would have dissolved a state of one experiment.
    """
    rows, labels = labelled_sample(inputs, task_rows, inputs.mixed)
    names = sorted(set(labels))
    if len(names) < 2:
        return MetricValue(np.nan, n_rows=len(rows), note="fewer than two classes")
    state = labels == names[-1]
    experiments = inputs.experiments[rows]
    counts = {name: int(state[experiments == name].sum()) for name in inputs.scored}
    alone = max(counts, key=counts.__getitem__)
    if counts[alone] < 5 or (experiments == alone).sum() - counts[alone] < 5:
        note = f"fewer than five cells that are or are not {names[-1]!r} in {alone}"
        return MetricValue(np.nan, n_rows=len(rows), note=note)
    kept = ~state | (experiments == alone)
    value = isolated_state_auroc(
        standardize(refitted_features(inputs, variant, rows[kept])),
        state[kept],
        experiments[kept] == alone,
        inputs.lineages[rows[kept]],
    )
    note = f"{names[-1]!r} left in {alone} alone, after training: tests corrections"
    return MetricValue(value, 0.5, int(kept.sum()), note)


def refitted_features(inputs: EvaluationInputs, variant: Variant, rows: np.ndarray) -> np.ndarray:
    """Features of some rows, corrected as if there were no others; shape (len(rows), d).

    Transport is fitted on control observations, which are all still there.
    """
    if variant.correction in ("", "transport"):
        return inputs.features[variant.name][rows]
    base = inputs.features[variant.base][rows]
    return zscore_by_experiment(base, inputs.experiments[rows])
