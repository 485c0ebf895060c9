"""Rows of a task: which observations take part, their classes, and what is never split."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from dynaclr.config import TaskConfig, UserError
from dynaclr.config.columns import UNKNOWN, names_in
from dynaclr.config.errors import did_you_mean
from dynaclr.config.expression import Expression
from dynaclr.evaluation.label_tables import LabelPaths, check_columns, class_names, join_labels

# Columns whose values are names or numbers within an experiment alone.
_WITHIN_EXPERIMENT = ("well", "fov", "track_id", "parent_track_id", "lineage_id", "branch")


@dataclass(frozen=True)
class TaskRows:
    """The observations that a task's condition keeps.

    Attributes
    ----------
    rows : numpy.ndarray
        Positions in the observations, int64, shape (m,).
    experiments : numpy.ndarray
        Experiment of each row, object, shape (m,).
    labels : numpy.ndarray
        Class name, object, None where unknown, shape (m,).
    groups : numpy.ndarray
        Code of what labels are shared within, as the task is configured: never split between
        training and testing, and what intervals resample; shape (m,).
    lineages : numpy.ndarray
        Code of the lineage, shape (m,).
    notes : dict of str to str
        Experiment to what a reader should know about its labels.
    """

    rows: np.ndarray
    experiments: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    lineages: np.ndarray
    notes: dict[str, str]

    def labelled(self, experiments: list[str]) -> np.ndarray:
        """Positions within the task's rows of the labelled rows of some experiments."""
        known = np.array([label is not None for label in self.labels], dtype=bool)
        return np.flatnonzero(known & np.isin(self.experiments, experiments))


def label_column(task: TaskConfig) -> str:
    """Column that `with_labels` gives observations for a task."""
    return f"{task.name} ({task.source})"


def select_task(obs: pd.DataFrame, task: TaskConfig, labels: LabelPaths) -> TaskRows:
    """Rows, classes and groups of a task.

    Parameters
    ----------
    obs : pandas.DataFrame
        Observations, index 0 to n - 1.
    task : TaskConfig
    labels : mapping
        Experiment to the paths of its tables, ``annotations`` and ``truth`` (None: has none).

    Returns
    -------
    TaskRows

    Raises
    ------
    UserError
        When the task's condition cannot be evaluated, or a table does not fit.
    """
    check_columns(task, obs.columns, labels)
    labelled, notes = with_labels(obs, task, labels)
    return task_rows(labelled, task, notes)


def with_labels(
    obs: pd.DataFrame, task: TaskConfig, labels: LabelPaths
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Observations with all that a task uses of label tables.

    Returns
    -------
    obs : pandas.DataFrame
        With the columns of annotations that the task names, and its classes in `label_column`:
        names, object, None where unknown or not of the task.
    notes : dict of str to str
        Experiment to what a reader should know about its labels.
    """
    where = f"evaluation task {task.name!r}"
    try:
        obs, values, notes = _labelled(obs, task, labels)
    except UserError as error:
        raise UserError(f"{where}: {error}") from None
    classes = class_names(values, f"{where}: label {task.label!r}")
    kept = np.full(len(obs), None, dtype=object)
    rows = _rows_where(obs, task)
    kept[rows] = classes[rows]
    return obs.assign(**{label_column(task): kept}), notes


def classes_of(obs: pd.DataFrame, task: TaskConfig, labels: LabelPaths) -> np.ndarray:
    """Class of each observation: names, object, None where unknown or not of the task; shape (n,).

    Arguments and errors are those of `with_labels`.
    """
    return with_labels(obs, task, labels)[0][label_column(task)].to_numpy(dtype=object)


def task_rows(obs: pd.DataFrame, task: TaskConfig, notes: dict[str, str]) -> TaskRows:
    """Rows, classes and groups of a task among observations of `with_labels`."""
    rows = _rows_where(obs, task)
    kept = obs.iloc[rows]
    labels = kept[label_column(task)].astype(object)
    return TaskRows(
        rows=rows,
        experiments=kept["experiment"].to_numpy(dtype=object),
        labels=labels.where(labels.notna(), None).to_numpy(dtype=object),
        groups=group_codes(obs, task.groups)[rows],
        lineages=group_codes(obs, "lineage")[rows],
        notes=notes,
    )


def _labelled(
    obs: pd.DataFrame, task: TaskConfig, labels: LabelPaths
) -> tuple[pd.DataFrame, pd.Series, dict[str, str]]:
    """Observations with the annotations that a task names, its labels, and notes on these."""
    named = {task.label} if task.source == "annotations" else set()
    named |= names_in(task.where or "") | ({task.groups} - {"lineage"})
    named -= {*obs.columns}
    joined = join_labels(obs, named, labels, "annotations", task.label)
    # What other experiments may have labels of is unknown here.
    missing = dict.fromkeys(named - {*joined.columns, task.label}, UNKNOWN)
    obs = obs.assign(**joined.columns, **missing)
    if task.source == "truth":
        truth = join_labels(obs, {task.label}, labels, "truth", task.label)
        if truth.columns:
            return obs, truth.columns[task.label], truth.notes
        joined = truth
    if task.label in obs:
        in_tables = task.label in joined.columns
        return obs, obs[task.label], joined.notes if in_tables else {}
    return obs, pd.Series(None, obs.index, dtype=object), joined.notes


def group_codes(obs: pd.DataFrame, groups: str) -> np.ndarray:
    """Integer code of what each row's labels are shared within.

    A lineage is never split: all of it has the group that some of its rows are known to be of, and
    is a group of its own where none is.

    Parameters
    ----------
    obs : pandas.DataFrame
        With experiment, fov and lineage_id; n rows.
    groups : str
        ``lineage`` or a column. Wells, fields of view and whatever else the index numbers within an
        experiment are others in each one; a donor or a family is the same in all.

    Returns
    -------
    numpy.ndarray
        int64, shape (n,).

    Raises
    ------
    UserError
        When there is no such column, or it splits a lineage.
    """
    lineages = obs.groupby(["experiment", "fov", "lineage_id"], sort=True, observed=True).ngroup()
    if groups == "lineage":
        return lineages.to_numpy()
    if groups not in obs:
        raise UserError(f"groups: no column {groups!r}. {did_you_mean(groups, obs.columns)}.")
    key = ["experiment", groups] if groups in _WITHIN_EXPERIMENT else [groups]
    known = obs[groups].notna() & (obs[groups] != UNKNOWN)
    codes = obs[known].groupby(key, sort=True, observed=True).ngroup()
    of_lineage = codes.groupby(lineages[known]).agg(["min", "max"])
    split = of_lineage.index[of_lineage["min"] != of_lineage["max"]]
    if len(split):
        row = obs[lineages == split[0]].iloc[0]
        raise UserError(
            f"groups: column {groups!r} splits {len(split)} lineages, the first with track "
            f"{row['track_id']} in {row['experiment']} {row['fov']}. Choose one that lineages "
            "share."
        )
    group = lineages.map(of_lineage["min"])
    return group.fillna(lineages + len(obs)).to_numpy().astype(np.int64)


def combined_codes(*keys: np.ndarray) -> np.ndarray:
    """One integer code for each distinct combination of keys, each of shape (n,)."""
    columns = [np.unique(key.astype(str), return_inverse=True)[1] for key in keys]
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].ravel()


def _rows_where(obs: pd.DataFrame, task: TaskConfig) -> np.ndarray:
    """Positions of the rows that the task's condition keeps."""
    if task.where is None:
        return np.arange(len(obs))
    where = f"evaluation task {task.name!r}: where"
    return np.flatnonzero(Expression(task.where).rows(obs, where))
