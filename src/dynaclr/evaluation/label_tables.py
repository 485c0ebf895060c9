"""Labels of an evaluation: columns of annotations and truth, joined to observations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dynaclr.config import TaskConfig, UserError
from dynaclr.config.columns import MARKER, UNKNOWN, names_in
from dynaclr.config.errors import did_you_mean
from dynaclr.io.label_tables import FoundRows, LabelTable, as_classes, read_label_table

# A column with more distinct values holds measurements, not classes.
MAX_CLASSES = 20

LabelPaths = Mapping[str, Mapping[str, "str | Path | None"]]


@dataclass(frozen=True)
class JoinedLabels:
    """Columns of labels of all observations.

    Attributes
    ----------
    columns : dict of str to pandas.Series
        Those that some table has, by name: float64, NaN where unknown, or text, "unknown" where it
        is; n rows.
    notes : dict of str to str
        Experiment to what a reader should know about its labels.
    """

    columns: dict[str, pd.Series]
    notes: dict[str, str]


def join_labels(
    obs: pd.DataFrame, names: Iterable[str], labels: LabelPaths, source: str, label: str
) -> JoinedLabels:
    """Join columns of the experiments' label tables to observations.

    Parameters
    ----------
    obs : pandas.DataFrame
        Observations, index 0 to n - 1.
    names : iterable of str
        Columns that are wanted, where there are any.
    labels : mapping
        Experiment to the paths of its tables, ``annotations`` and ``truth`` (None: has none).
    source : {"annotations", "truth"}
    label : str
        The one of `names` that a reader should know about where a table lacks it.

    Raises
    ------
    UserError
        When a table cannot be read, or does not fit its observations.
    """
    names, notes = set(names), dict[str, str]()
    joined: dict[str, np.ndarray] = {}
    for experiment, rows in obs.groupby("experiment", sort=True).indices.items():
        path = labels.get(experiment, {}).get(source)
        if path is None:
            notes[experiment] = f"experiment {experiment} has no {source}"
            continue
        table, found = _find(obs.iloc[rows], path, f"experiment {experiment}")
        used = [name for name in table.labels if name in names]
        for name in used:
            values = joined.setdefault(name, np.full(len(obs), None, dtype=object))
            values[rows] = found.take(as_classes(table.labels[name]))
        lost = int((found.unmatched & table.labels[used].notna().any(axis=1)).sum())
        if lost:
            notes[experiment] = f"{lost} rows of {Path(path).name} match no observation"
        elif label in names - {*used}:
            notes[experiment] = f"the {source} of experiment {experiment} have no {label!r}"
    return JoinedLabels({name: _filled(values) for name, values in joined.items()}, notes)


def check_columns(task: TaskConfig, columns: Iterable[str], labels: LabelPaths) -> None:
    """Check that the index, or the label table of some experiment, has what a task names.

    Parameters
    ----------
    task : TaskConfig
    columns : iterable of str
        Of the index.
    labels : mapping
        Experiment to the paths of its tables.

    Raises
    ------
    UserError
        When nothing has its label, though there are tables, or a column of its condition or groups.
    """
    columns, what = list(columns), f"evaluation task {task.name!r}"
    annotated = _known_columns("annotations", columns, labels)
    known = _known_columns("truth", columns, labels) if task.source == "truth" else annotated
    of_index = [] if task.source == "truth" else columns
    if known and task.label not in {*known, *of_index}:
        where = ", ".join(sorted(name for name, paths in labels.items() if paths.get(task.source)))
        raise UserError(
            f"{what}: no column {task.label!r} in the index, nor in the {task.source} of {where}. "
            f"{did_you_mean(task.label, [*columns, *sorted(known)])}."
        )
    named = [("where", name) for name in sorted(names_in(task.where or ""))]
    for key, name in [*named, ("groups", task.groups)]:
        if name not in {"lineage", task.label, *columns, *annotated}:
            near = did_you_mean(name, [*columns, *sorted(annotated)])
            raise UserError(f"{what}: {key}: no column {name!r}. {near}.")


def _known_columns(source: str, columns: list[str], labels: LabelPaths) -> set[str]:
    """Columns of labels in the tables of all experiments."""
    paths = [paths.get(source) for paths in labels.values()]
    tables = [read_label_table(path, with_markers=MARKER in columns) for path in paths if path]
    return {str(name) for table in tables for name in table.labels}


def _find(obs: pd.DataFrame, path: str | Path, what: str) -> tuple[LabelTable, FoundRows]:
    table = read_label_table(path, with_markers=MARKER in obs)
    table.check_identifies({what: obs})
    return table, table.find(obs, what)


def _filled(values: np.ndarray) -> pd.Series:
    """Numbers where there is nothing else, NaN where unknown; else text, "unknown" where it is."""
    given = [value for value in values if value is not None and value == value]
    if given and not any(isinstance(value, str) for value in given):
        return pd.Series(values.astype(np.float64))
    return pd.Series([str(v) if v is not None and v == v else UNKNOWN for v in values])


def join_numbers(obs: pd.DataFrame, path: str | Path, column: str) -> np.ndarray:
    """Number of each observation of one experiment, from a column of a label table.

    Returns
    -------
    numpy.ndarray
        float64, shape (n,), NaN where unknown.

    Raises
    ------
    UserError
        When the table cannot be read, does not fit, has no such column, or one without numbers.
    """
    table, found = _find(obs, path, "the experiment")
    numbers = table.column(column)
    if numbers.notna().any() and not pd.api.types.is_numeric_dtype(numbers):
        text = numbers.dropna()
        wrong = text[pd.to_numeric(text, errors="coerce").isna()]
        example = wrong.iloc[0] if len(wrong) else text.iloc[0]
        raise UserError(
            f"{path}: column {column!r} holds {example!r}, which is no number. Correct it."
        )
    return found.take(numbers, np.nan).astype(np.float64)


def class_names(values: pd.Series, where: str) -> np.ndarray:
    """Class names of a column of labels, object, None where unknown; shape (n,).

    Raises
    ------
    UserError
        When it holds measurements (not whole, or more than `MAX_CLASSES` values); the message
        begins with `where`.
    """
    values = as_classes(values)
    if pd.api.types.is_numeric_dtype(values):
        example = values[values % 1 != 0].dropna().iloc[0]
        raise UserError(
            f"{where} holds measurements such as {example}; a task needs classes. "
            "Bin the values into classes first, or choose another column."
        )
    is_known = values.notna() & (values != UNKNOWN)
    names: Any = values.astype(object).where(is_known, None)
    n_classes = names.nunique()
    if n_classes > MAX_CLASSES:
        raise UserError(
            f"{where} has {n_classes} distinct values; a task needs at most {MAX_CLASSES} "
            "classes. Choose a column of classes."
        )
    return names.map(str, na_action="ignore").to_numpy(dtype=object)
