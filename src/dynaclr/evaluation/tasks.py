"""Rows of a task: which observations take part, their classes, and what is never split."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dynaclr.config import TaskConfig
from dynaclr.config.expression import Expression
from dynaclr.evaluation.label_tables import join_labels

LabelPaths = Mapping[str, Mapping[str, "str | Path | None"]]


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
        Code of the lineage or field of view, as the task is configured: never split between
        training and testing, shape (m,).
    lineages : numpy.ndarray
        Code of the lineage: the unit that intervals resample, shape (m,).
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


def select_task(obs: pd.DataFrame, task: TaskConfig, labels: LabelPaths) -> TaskRows:
    """Rows, classes and groups of a task.

    Parameters
    ----------
    obs : pandas.DataFrame
        Observations of all experiments, index 0 to n - 1.
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
    values, notes = _join_all_labels(obs, task, labels)
    rows = _rows_where(obs, task)
    kept = obs.iloc[rows]
    return TaskRows(
        rows=rows,
        experiments=kept["experiment"].to_numpy(dtype=object),
        labels=values[rows],
        groups=group_codes(obs, task.groups)[rows],
        lineages=group_codes(obs, "lineage")[rows],
        notes=notes,
    )


def group_codes(obs: pd.DataFrame, groups: str) -> np.ndarray:
    """Integer code of each row's lineage or field of view, distinct between experiments.

    Parameters
    ----------
    obs : pandas.DataFrame
        With experiment, fov and lineage_id; n rows.
    groups : {"lineage", "fov"}

    Returns
    -------
    numpy.ndarray
        int64, shape (n,).
    """
    key = ["experiment", "fov"] + (["lineage_id"] if groups == "lineage" else [])
    return obs.groupby(key, sort=True, observed=True).ngroup().to_numpy()


def combined_codes(*keys: np.ndarray) -> np.ndarray:
    """One integer code for each distinct combination of keys, each of shape (n,)."""
    columns = [np.unique(key.astype(str), return_inverse=True)[1] for key in keys]
    return np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)[1].ravel()


def _join_all_labels(
    obs: pd.DataFrame, task: TaskConfig, labels: LabelPaths
) -> tuple[np.ndarray, dict[str, str]]:
    values = np.full(len(obs), None, dtype=object)
    notes: dict[str, str] = {}
    for experiment, rows in obs.groupby("experiment", sort=True).indices.items():
        path = labels.get(experiment, {}).get(task.source)
        if path is None:
            notes[experiment] = f"experiment {experiment} has no {task.source}"
            continue
        joined = join_labels(obs.iloc[rows], path, task.label)
        values[rows] = joined.values
        if joined.n_unmatched:
            notes[experiment] = (
                f"{joined.n_unmatched} rows of {Path(path).name} match no observation"
            )
    return values, notes


def _rows_where(obs: pd.DataFrame, task: TaskConfig) -> np.ndarray:
    """Positions of the rows that the task's condition keeps."""
    if task.where is None:
        return np.arange(len(obs))
    where = f"evaluation task {task.name!r}: where"
    return np.flatnonzero(Expression(task.where).rows(obs, where))
