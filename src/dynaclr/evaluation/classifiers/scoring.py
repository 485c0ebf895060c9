"""Rows that a task's classifiers were not fitted on, their scores, and predictions of all rows."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from dynaclr.config.metrics import ALL_TRAINING, HELD_OUT, join_notes
from dynaclr.config.variants import Variant
from dynaclr.evaluation.classifiers.fitted_task import FittedTask, Validation
from dynaclr.evaluation.classifiers.score_tables import ScoredSet
from dynaclr.evaluation.tables import join_tables
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.io.embeddings import key_of


def validated_sets(
    fitted: FittedTask, validation: Validation, task_rows: TaskRows, experiments: list[str]
) -> list[ScoredSet]:
    """The training rows, together and of each experiment, by classifiers fitted without them.

    Parameters
    ----------
    fitted : FittedTask
    validation : Validation
    task_rows : TaskRows
    experiments : list of str
        Of training.

    Returns
    -------
    list of ScoredSet
        All of one estimate, the whole first, then all of the next.
    """
    subsets = {ALL_TRAINING: experiments, **{name: [name] for name in experiments}}
    sets = []
    for estimate, problem in validation.problems.items():
        for name, members in subsets.items():
            here = np.isin(task_rows.experiments[validation.train], members)
            scored = _scored_set(
                *(fitted, task_rows, validation.train[here], estimate, name),
                join_notes(problem, *(task_rows.notes.get(member, "") for member in members)),
            )
            for variant, probability in validation.probabilities[estimate].items():
                scored.probability[variant] = probability[here]
            for variant, lacking in validation.lacking.items():
                scored.n_filled[variant] = int(lacking[here].sum())
            sets.append(scored)
    return sets


def held_out_set(fitted: FittedTask, task_rows: TaskRows, experiment: str) -> ScoredSet:
    """Labelled rows of a held-out experiment, without classes that training did not have.

    They have no probabilities yet.
    """
    here = task_rows.labelled([experiment])
    note = fitted.problem
    if not note:
        known = np.isin(task_rows.labels[here], fitted.classes)
        if not known.all():
            unseen = ", ".join(map(repr, sorted(set(task_rows.labels[here][~known]))))
            note = f"{(~known).sum()} rows of {unseen}, not seen in training, are left out"
        here = here[known]
    note = join_notes(note, task_rows.notes.get(experiment, ""))
    return _scored_set(fitted, task_rows, here, HELD_OUT, experiment, note)


def _scored_set(
    fitted: FittedTask, task_rows: TaskRows, here: np.ndarray, estimate: str, name: str, note: str
) -> ScoredSet:
    labels, classes = task_rows.labels[here], np.array(fitted.classes, dtype=object)
    return ScoredSet(
        estimate=estimate,
        experiment=name,
        rows=here,
        true=np.searchsorted(classes, labels) if len(classes) else labels,
        groups=task_rows.groups[here],
        probability={},
        note=note,
        priors=fitted.priors,
    )


def apply_task(fitted: FittedTask, scored: ScoredSet, variant: str, features: np.ndarray) -> None:
    """Give a held-out set its probabilities by one variant.

    Parameters
    ----------
    fitted : FittedTask
    scored : ScoredSet
    variant : str
    features : numpy.ndarray
        Of the rows of the set, shape (n, d); NaN where missing.
    """
    scored.n_filled[variant] = int(np.isnan(features).any(axis=1).sum())
    if not fitted.problem:
        scored.probability[variant] = fitted.classifiers[variant].predict_proba(features)


def prediction_table(
    obs: pd.DataFrame,
    task_rows: TaskRows,
    fitted: FittedTask,
    variant: Variant,
    features: np.ndarray,
) -> pd.DataFrame:
    """Probability of each class for every row of the task, labelled or not.

    Parameters
    ----------
    obs : pandas.DataFrame
        All observations, n rows.
    task_rows : TaskRows
    fitted : FittedTask
    variant : Variant
    features : numpy.ndarray
        Of all observations, shape (n, d).

    Returns
    -------
    pandas.DataFrame
        Key, lineage_id, hours, group, variant, task, label, class, probability.
    """
    columns = [*key_of(obs), "lineage_id", "hours"]
    rows = obs.iloc[task_rows.rows][columns].reset_index(drop=True)
    rows = rows.assign(
        group=task_rows.groups, variant=variant.name, task=fitted.task.name, label=task_rows.labels
    )
    probability = fitted.classifiers[variant.name].predict_proba(features[task_rows.rows])
    parts: Iterable[pd.DataFrame] = [
        rows.assign(**{"class": name, "probability": probability[:, number]})
        for number, name in enumerate(fitted.classes)
    ]
    return join_tables(list(parts))
