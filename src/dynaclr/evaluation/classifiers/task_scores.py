"""Linear classifiers of one task: trained on a collection, scored within it and on held-out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dynaclr.config import TaskConfig
from dynaclr.config.metrics import ALL_TRAINING, CROSS_VALIDATED, HELD_OUT, LEFT_OUT, join_notes
from dynaclr.config.variants import ordered_variants
from dynaclr.evaluation.classifiers.linear import (
    STRENGTHS,
    LinearClassifier,
    fit_linear_classifier,
    leave_one_out,
)
from dynaclr.evaluation.classifiers.score_tables import ScoredSet, ScoreTables, tabulate_scores
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.io.embeddings import Cohort, key_of


@dataclass(frozen=True)
class TaskScores:
    """Everything that one task gave.

    Attributes
    ----------
    task : TaskConfig
    classes : tuple of str
        Empty when nothing could be trained.
    classifiers : dict of str to LinearClassifier
        One a variant, fitted on all training experiments.
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
    def shown_sets(self) -> list[ScoredSet]:
        """What figures and the headline show: held-out experiments, else all of the training."""
        held_out = [scored for scored in self.sets if scored.estimate == HELD_OUT]
        within = (CROSS_VALIDATED, ALL_TRAINING)
        return held_out or [s for s in self.sets if (s.estimate, s.experiment) == within]


def score_task(
    cohort: Cohort,
    task: TaskConfig,
    rows: TaskRows,
    train_experiments: list[str],
    held_out_experiments: list[str],
    n_bootstrap: int,
    seed: int,
) -> TaskScores:
    """Fit one classifier a variant on the training experiments and score it where it was not fit.

    Parameters
    ----------
    cohort : Cohort
        The observations and their features.
    task : TaskConfig
    rows : TaskRows
        Of `select_task`.
    train_experiments, held_out_experiments : list of str
    n_bootstrap : int
        Resamples of lineages behind each interval.
    seed : int
        Decides folds and resamples; the same for all variants, so that they can be paired.

    Returns
    -------
    TaskScores
        A score that cannot be had is NaN with the reason in the column ``note``.
    """
    train = rows.labelled(train_experiments)
    fits = _fit_variants(cohort, rows, train, seed)
    whole_and_each = {ALL_TRAINING: train_experiments, **{n: [n] for n in train_experiments}}
    sets = [
        _validated_set(cohort, rows, train, (estimate, title), experiments, fits)
        for estimate in (CROSS_VALIDATED, LEFT_OUT)
        for title, experiments in whole_and_each.items()
    ]
    sets += [_held_out_set(cohort, rows, name, fits) for name in held_out_experiments]
    variants = ordered_variants(cohort.features)
    tables = tabulate_scores(sets, variants, fits.classes, n_bootstrap, seed)
    predictions = _predictions(cohort, rows, held_out_experiments, fits.classifiers)
    return TaskScores(task, fits.classes, fits.classifiers, sets, tables, predictions)


@dataclass(frozen=True)
class _Fits:
    """Classifiers of all variants, and their probabilities of training rows they did not see.

    ``validated`` and ``problems`` are by estimate: cross-validated, or experiments left out.
    """

    classes: tuple[str, ...]
    shares: np.ndarray | None
    classifiers: dict[str, LinearClassifier]
    validated: dict[str, dict[str, np.ndarray]]
    problems: dict[str, str]


def _fit_variants(cohort: Cohort, rows: TaskRows, train: np.ndarray, seed: int) -> _Fits:
    labels, groups = rows.labels[train], rows.groups[train]
    names, counts = np.unique(labels.astype(str), return_counts=True)
    classes = tuple(map(str, names))
    if len(classes) < 2:
        found = f"are {classes[0]!r}" if classes else "are missing"
        problem = f"all labels of the training experiments {found}: nothing was trained"
        return _Fits(
            (), None, {}, {}, dict.fromkeys((CROSS_VALIDATED, LEFT_OUT, HELD_OUT), problem)
        )
    classifiers, validations = {}, {CROSS_VALIDATED: {}, LEFT_OUT: {}}
    for variant in ordered_variants(cohort.features):
        features = cohort.features[variant.name][rows.rows[train]]
        # A corrected variant takes over the penalty of what it corrects: a fifth of the fits.
        strengths = (classifiers[variant.base].strength,) if variant.correction else STRENGTHS
        classifiers[variant.name], validations[CROSS_VALIDATED][variant.name] = (
            fit_linear_classifier(features, labels, groups, strengths=strengths, seed=seed)
        )
        validations[LEFT_OUT][variant.name] = leave_one_out(
            features, labels, rows.experiments[train], strengths=strengths
        )
    # Labels and groups decide whether rows can be split, so all variants share the note.
    problems = {name: next(iter(of.values())).note for name, of in validations.items()}
    return _Fits(
        classes=classes,
        shares=counts / counts.sum(),
        classifiers=classifiers,
        validated={
            name: {} if problems[name] else {variant: v.probability for variant, v in of.items()}
            for name, of in validations.items()
        },
        problems={**problems, HELD_OUT: ""},
    )


def _validated_set(
    cohort: Cohort,
    rows: TaskRows,
    train: np.ndarray,
    place: tuple[str, str],
    experiments: list[str],
    fits: _Fits,
) -> ScoredSet:
    """Probabilities of the training rows of some experiments by classifiers that saw others."""
    here = np.isin(rows.experiments[train], experiments)
    validated = fits.validated.get(place[0], {})
    probability = {variant: values[here] for variant, values in validated.items()}
    notes = [rows.notes.get(name, "") for name in experiments]
    note = join_notes(fits.problems[place[0]], *notes)
    return _scored_set(cohort, rows, train[here], place, probability, fits, note)


def _held_out_set(cohort: Cohort, rows: TaskRows, experiment: str, fits: _Fits) -> ScoredSet:
    """Probabilities of a held-out experiment's rows; classes not seen in training are left out."""
    here = rows.labelled([experiment])
    note = fits.problems[HELD_OUT]
    if not note:
        known = np.isin(rows.labels[here], fits.classes)
        if not known.all():
            unseen = ", ".join(map(repr, sorted(set(rows.labels[here][~known]))))
            note = f"{(~known).sum()} rows of {unseen}, not seen in training, are left out"
        here = here[known]
    probability = {
        variant: classifier.predict_proba(cohort.features[variant][rows.rows[here]])
        for variant, classifier in fits.classifiers.items()
    }
    note = join_notes(note, rows.notes.get(experiment, ""))
    return _scored_set(cohort, rows, here, (HELD_OUT, experiment), probability, fits, note)


def _scored_set(
    cohort: Cohort,
    rows: TaskRows,
    here: np.ndarray,
    place: tuple[str, str],
    probability: dict[str, np.ndarray],
    fits: _Fits,
    note: str,
) -> ScoredSet:
    labels, classes = rows.labels[here], fits.classes
    return ScoredSet(
        estimate=place[0],
        experiment=place[1],
        rows=here,
        true=np.searchsorted(np.array(classes, dtype=object), labels) if classes else labels,
        lineages=rows.lineages[here],
        probability=probability,
        note=note,
        shares=fits.shares,
        n_filled={
            variant: int(np.isnan(features[rows.rows[here]]).any(axis=1).sum())
            for variant, features in cohort.features.items()
        },
    )


def _predictions(
    cohort: Cohort,
    rows: TaskRows,
    experiments: list[str],
    classifiers: dict[str, LinearClassifier],
) -> pd.DataFrame:
    """Probability of each class for every held-out row of the task, labelled or not."""
    here = np.flatnonzero(np.isin(rows.experiments, experiments))
    told = [*key_of(cohort.obs), "lineage_id", "hours"]
    keys = cohort.obs.iloc[rows.rows[here]][told].reset_index(drop=True)
    columns = [*told, "variant", "label", "class", "probability"]
    parts = []
    for name, classifier in classifiers.items():
        probability = classifier.predict_proba(cohort.features[name][rows.rows[here]])
        for number, class_name in enumerate(classifier.classes):
            part = keys.assign(variant=name, label=rows.labels[here])
            parts.append(
                part.assign(**{"class": class_name, "probability": probability[:, number]})
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
