"""Linear classifiers of one task: trained on a collection, scored within it and on held-out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dynaclr.evaluation.linear_classifier import LinearClassifier, fit_linear_classifier
from dynaclr.evaluation.score_tables import (
    ALL_TRAINING,
    CROSS_VALIDATED,
    HELD_OUT,
    ScoredSet,
    ScoreTables,
    join_notes,
    tabulate_scores,
)
from dynaclr.evaluation.stores import KEY, Cohort
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.evaluation.variants import ordered_variants
from dynaclr.experiments.project import TaskConfig


@dataclass(frozen=True)
class TaskScores:
    """Everything that one task gave.

    Attributes
    ----------
    task : TaskConfig
    classes : tuple of str
        Empty when nothing could be trained.
    sets : list of ScoredSet
    tables : ScoreTables
    predictions : pandas.DataFrame
        Probability of each class for each held-out row of the task and each variant.
    """

    task: TaskConfig
    classes: tuple[str, ...]
    sets: list[ScoredSet]
    tables: ScoreTables
    predictions: pd.DataFrame

    @property
    def shown_sets(self) -> list[ScoredSet]:
        """What figures and the headline show: held-out experiments, else all of the training."""
        held_out = [scored for scored in self.sets if scored.estimate == HELD_OUT]
        return held_out or [s for s in self.sets if s.experiment == ALL_TRAINING]


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
    sets = [
        _validated_set(cohort, rows, train, ALL_TRAINING, train_experiments, fits),
        *(_validated_set(cohort, rows, train, name, [name], fits) for name in train_experiments),
        *(_held_out_set(cohort, rows, name, fits) for name in held_out_experiments),
    ]
    variants = ordered_variants(cohort.features)
    tables = tabulate_scores(sets, variants, fits.classes, n_bootstrap, seed)
    predictions = _predictions(cohort, rows, held_out_experiments, fits.classifiers)
    return TaskScores(task, fits.classes, sets, tables, predictions)


@dataclass(frozen=True)
class _Fits:
    """Classifiers of all variants, their out-of-fold probabilities, and why there are none."""

    classes: tuple[str, ...]
    classifiers: dict[str, LinearClassifier]
    validated: dict[str, np.ndarray]
    problem: str
    validation_problem: str


def _fit_variants(cohort: Cohort, rows: TaskRows, train: np.ndarray, seed: int) -> _Fits:
    classes = tuple(sorted(set(rows.labels[train])))
    if len(classes) < 2:
        found = f"are {classes[0]!r}" if classes else "are missing"
        problem = f"all labels of the training experiments {found}: nothing was trained"
        return _Fits((), {}, {}, problem, problem)
    fitted = {
        variant: fit_linear_classifier(
            features[rows.rows[train]], rows.labels[train], rows.groups[train], seed=seed
        )
        for variant, features in cohort.features.items()
    }
    # Labels and groups decide whether rows can be split, so all variants share the note.
    note = next(iter(fitted.values()))[1].note
    return _Fits(
        classes=classes,
        classifiers={variant: classifier for variant, (classifier, _) in fitted.items()},
        validated={} if note else {name: v.probability for name, (_, v) in fitted.items()},
        problem="",
        validation_problem=note,
    )


def _validated_set(
    cohort: Cohort,
    rows: TaskRows,
    train: np.ndarray,
    title: str,
    experiments: list[str],
    fits: _Fits,
) -> ScoredSet:
    """Out-of-fold probabilities of the training rows of some experiments."""
    here = np.isin(rows.experiments[train], experiments)
    probability = {variant: values[here] for variant, values in fits.validated.items()}
    note = join_notes(fits.validation_problem, *(rows.notes.get(name, "") for name in experiments))
    return _scored_set(
        cohort, rows, train[here], (CROSS_VALIDATED, title), probability, fits.classes, note
    )


def _held_out_set(cohort: Cohort, rows: TaskRows, experiment: str, fits: _Fits) -> ScoredSet:
    """Probabilities of a held-out experiment's rows; classes not seen in training are left out."""
    here = rows.labelled([experiment])
    note = fits.problem
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
    return _scored_set(cohort, rows, here, (HELD_OUT, experiment), probability, fits.classes, note)


def _scored_set(
    cohort: Cohort,
    rows: TaskRows,
    here: np.ndarray,
    place: tuple[str, str],
    probability: dict[str, np.ndarray],
    classes: tuple[str, ...],
    note: str,
) -> ScoredSet:
    labels = rows.labels[here]
    return ScoredSet(
        estimate=place[0],
        experiment=place[1],
        true=np.searchsorted(np.array(classes, dtype=object), labels) if classes else labels,
        lineages=rows.lineages[here],
        probability=probability,
        note=note,
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
    keys = cohort.obs.iloc[rows.rows[here]][[*KEY, "hours"]].reset_index(drop=True)
    columns = [*KEY, "hours", "variant", "label", "class", "probability"]
    parts = []
    for name, classifier in classifiers.items():
        probability = classifier.predict_proba(cohort.features[name][rows.rows[here]])
        for number, class_name in enumerate(classifier.classes):
            part = keys.assign(variant=name, label=rows.labels[here])
            parts.append(
                part.assign(**{"class": class_name, "probability": probability[:, number]})
            )
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)
