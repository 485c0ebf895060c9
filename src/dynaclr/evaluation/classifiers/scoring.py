"""Linear classifiers of one task: fitted on the training experiments, scored on other rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dynaclr.config import TaskConfig
from dynaclr.config.metrics import ALL_TRAINING, CROSS_VALIDATED, HELD_OUT, LEFT_OUT, join_notes
from dynaclr.config.variants import ordered_variants
from dynaclr.evaluation.classifiers.cross_validation import (
    STRENGTHS,
    ClassWeight,
    leave_one_out,
)
from dynaclr.evaluation.classifiers.linear import LinearClassifier, fit_linear_classifier
from dynaclr.evaluation.classifiers.score_tables import ScoredSet, ScoreTables, tabulate_scores
from dynaclr.evaluation.tables import Row, join_tables
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.io.embeddings import Embeddings, key_of


@dataclass(frozen=True)
class TaskScores:
    """Classifiers of one task and their scores.

    Attributes
    ----------
    task : TaskConfig
    classes : tuple of str
        Empty when nothing could be trained.
    classifiers : dict of str to LinearClassifier
        One per variant, fitted on all training experiments.
    sets : list of ScoredSet
    tables : ScoreTables
    predictions : pandas.DataFrame
        Probability of each class for each held-out row of the task and each variant.
    """

    task: TaskConfig
    classes: tuple[str, ...]
    classifiers: dict[str, LinearClassifier]
    sets: list[ScoredSet]
    tables: ScoreTables
    predictions: pd.DataFrame

    @property
    def main_estimate(self) -> str:
        """Estimate of figures and of the headline: held-out, or cross-validated without it."""
        held_out = any(scored.estimate == HELD_OUT for scored in self.sets)
        return HELD_OUT if held_out else CROSS_VALIDATED

    @property
    def main_sets(self) -> list[ScoredSet]:
        """Sets of `main_estimate`: each held-out experiment, or all training experiments."""
        if self.main_estimate == HELD_OUT:
            return [scored for scored in self.sets if scored.estimate == HELD_OUT]
        main = (CROSS_VALIDATED, ALL_TRAINING)
        return [scored for scored in self.sets if (scored.estimate, scored.experiment) == main]

    def metric_rows(self) -> list[Row]:
        """Rows of the metrics table."""
        return self.tables.metrics.assign(task=self.task.name).to_dict("records")


def score_task(
    embeddings: Embeddings,
    task: TaskConfig,
    task_rows: TaskRows,
    train_experiments: list[str],
    held_out_experiments: list[str],
    n_bootstrap: int,
    seed: int,
) -> TaskScores:
    """Fit one classifier per variant on the training experiments and score it on other rows.

    Parameters
    ----------
    embeddings : Embeddings
    task : TaskConfig
    task_rows : TaskRows
        Of `select_task`.
    train_experiments, held_out_experiments : list of str
    n_bootstrap : int
        Resamples of lineages behind each interval.
    seed : int
        Seed of folds and resamples; the same for all variants, so that they can be paired.

    Returns
    -------
    TaskScores
        A score that is missing is NaN with the reason in the column ``note``.
    """
    fits = _fit_variants(embeddings, task_rows, train_experiments, task.class_weight, seed)
    subsets = {ALL_TRAINING: train_experiments, **{name: [name] for name in train_experiments}}
    sets = [
        _validated_set(embeddings, task_rows, fits, estimate, name, experiments)
        for estimate in (CROSS_VALIDATED, LEFT_OUT)
        for name, experiments in subsets.items()
    ]
    sets += [_held_out_set(embeddings, task_rows, fits, name) for name in held_out_experiments]
    variants = ordered_variants(embeddings.features)
    return TaskScores(
        task=task,
        classes=fits.classes,
        classifiers=fits.classifiers,
        sets=sets,
        tables=tabulate_scores(sets, variants, fits.classes, n_bootstrap, seed),
        predictions=_predictions(embeddings, task_rows, held_out_experiments, fits.classifiers),
    )


@dataclass(frozen=True)
class _Fits:
    """Classifiers of all variants, and their probabilities of the training rows.

    Attributes
    ----------
    train : numpy.ndarray
        Labelled rows of the training experiments, positions within the task's rows, shape (m,).
    classes : tuple of str
        K class names; empty when nothing could be trained.
    priors : numpy.ndarray or None
        Frequency of each class in the training rows, shape (K,).
    classifiers : dict of str to LinearClassifier
    probabilities : dict of str to dict of str to numpy.ndarray
        Estimate (cross-validated, or experiments left out) to variant to probabilities of the
        training rows by classifiers that were fitted without them, shape (m, K).
    problems : dict of str to str
        Estimate to why it has no probabilities.
    """

    train: np.ndarray
    classes: tuple[str, ...]
    priors: np.ndarray | None
    classifiers: dict[str, LinearClassifier]
    probabilities: dict[str, dict[str, np.ndarray]]
    problems: dict[str, str]


def _fit_variants(
    embeddings: Embeddings,
    task_rows: TaskRows,
    experiments: list[str],
    class_weight: ClassWeight,
    seed: int,
) -> _Fits:
    train = task_rows.labelled(experiments)
    labels, groups = task_rows.labels[train], task_rows.groups[train]
    names, counts = np.unique(labels.astype(str), return_counts=True)
    classes = tuple(map(str, names))
    if len(classes) < 2:
        found = f"are {classes[0]!r}" if classes else "are missing"
        problem = f"all labels of the training experiments {found}: nothing was trained"
        problems = dict.fromkeys((CROSS_VALIDATED, LEFT_OUT, HELD_OUT), problem)
        return _Fits(train, (), None, {}, {}, problems)
    classifiers: dict[str, LinearClassifier] = {}
    probabilities: dict[str, dict[str, np.ndarray]] = {CROSS_VALIDATED: {}, LEFT_OUT: {}}
    # Labels and groups decide whether rows can be split, so that all variants share the note.
    problems = {HELD_OUT: ""}
    for variant in ordered_variants(embeddings.features):
        features = embeddings.features[variant.name][task_rows.rows[train]]
        # A corrected variant takes the penalty of its base: a fifth of the fits.
        strengths = (classifiers[variant.base].strength,) if variant.correction else STRENGTHS
        classifiers[variant.name], within = fit_linear_classifier(
            features, labels, groups, strengths=strengths, class_weight=class_weight, seed=seed
        )
        between = leave_one_out(
            features,
            labels,
            task_rows.experiments[train],
            strengths=strengths,
            class_weight=class_weight,
        )
        for estimate, validation in ((CROSS_VALIDATED, within), (LEFT_OUT, between)):
            problems[estimate] = validation.note
            if not validation.note:
                probabilities[estimate][variant.name] = validation.probability
    return _Fits(train, classes, counts / counts.sum(), classifiers, probabilities, problems)


def _validated_set(
    embeddings: Embeddings,
    task_rows: TaskRows,
    fits: _Fits,
    estimate: str,
    name: str,
    experiments: list[str],
) -> ScoredSet:
    """Training rows of some experiments, by classifiers that were fitted without them."""
    here = np.isin(task_rows.experiments[fits.train], experiments)
    validated = fits.probabilities.get(estimate, {})
    probability = {variant: values[here] for variant, values in validated.items()}
    notes = [task_rows.notes.get(experiment, "") for experiment in experiments]
    note = join_notes(fits.problems[estimate], *notes)
    return _scored_set(
        embeddings, task_rows, fits, fits.train[here], (estimate, name), probability, note
    )


def _held_out_set(
    embeddings: Embeddings, task_rows: TaskRows, fits: _Fits, experiment: str
) -> ScoredSet:
    """Labelled rows of a held-out experiment, without classes that training did not have."""
    here = task_rows.labelled([experiment])
    note = fits.problems[HELD_OUT]
    if not note:
        known = np.isin(task_rows.labels[here], fits.classes)
        if not known.all():
            unseen = ", ".join(map(repr, sorted(set(task_rows.labels[here][~known]))))
            note = f"{(~known).sum()} rows of {unseen}, not seen in training, are left out"
        here = here[known]
    probability = {
        variant: classifier.predict_proba(embeddings.features[variant][task_rows.rows[here]])
        for variant, classifier in fits.classifiers.items()
    }
    note = join_notes(note, task_rows.notes.get(experiment, ""))
    return _scored_set(embeddings, task_rows, fits, here, (HELD_OUT, experiment), probability, note)


def _scored_set(
    embeddings: Embeddings,
    task_rows: TaskRows,
    fits: _Fits,
    here: np.ndarray,
    name: tuple[str, str],
    probability: dict[str, np.ndarray],
    note: str,
) -> ScoredSet:
    labels, classes = task_rows.labels[here], np.array(fits.classes, dtype=object)
    return ScoredSet(
        estimate=name[0],
        experiment=name[1],
        rows=here,
        true=np.searchsorted(classes, labels) if len(classes) else labels,
        groups=task_rows.groups[here],
        probability=probability,
        note=note,
        priors=fits.priors,
        n_filled={
            variant: int(np.isnan(features[task_rows.rows[here]]).any(axis=1).sum())
            for variant, features in embeddings.features.items()
        },
    )


def _predictions(
    embeddings: Embeddings,
    task_rows: TaskRows,
    experiments: list[str],
    classifiers: dict[str, LinearClassifier],
) -> pd.DataFrame:
    """Probability of each class for every held-out row of the task, labelled or not."""
    here = np.flatnonzero(np.isin(task_rows.experiments, experiments))
    columns = [*key_of(embeddings.obs), "lineage_id", "hours"]
    rows = embeddings.obs.iloc[task_rows.rows[here]][columns].reset_index(drop=True)
    rows["group"] = task_rows.groups[here]
    parts = []
    for variant, classifier in classifiers.items():
        probability = classifier.predict_proba(embeddings.features[variant][task_rows.rows[here]])
        for k, name in enumerate(classifier.classes):
            part = rows.assign(variant=variant, label=task_rows.labels[here])
            parts.append(part.assign(**{"class": name, "probability": probability[:, k]}))
    return join_tables(parts)
