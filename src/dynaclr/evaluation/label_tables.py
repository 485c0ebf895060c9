"""Label tables: CSV with a row per observation or track, and their join to observations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dynaclr.config import UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.evaluation.row_keys import check_unique, match_rows, normalize_keys, read_csv

# A column with more distinct values holds measurements, not classes.
MAX_CLASSES = 20


@dataclass(frozen=True)
class JoinedLabels:
    """Labels of one experiment's observations.

    Attributes
    ----------
    values : numpy.ndarray
        Class name of each observation, object, None where it has no label; shape (n,).
    n_unmatched : int
        Labelled rows of the table that match no observation.
    """

    values: np.ndarray
    n_unmatched: int


def join_labels(obs: pd.DataFrame, path: str | Path, column: str) -> JoinedLabels:
    """Class of each observation of one experiment, from a column of a label table.

    A table with a column ``t`` labels observations; one without labels whole tracks. An empty
    label (or ``nan``) is unknown.

    Parameters
    ----------
    obs : pandas.DataFrame
        Observations of one experiment, with fov, track_id and t; n rows.
    path : str or Path
        CSV file.
    column : str
        Column that holds the classes.

    Returns
    -------
    JoinedLabels

    Raises
    ------
    UserError
        When the file or a column is missing, a key is no whole number or is there twice, the
        column holds no classes, or no row matches an observation.
    """
    keys, labels = _read_labelled(obs, path, column, _class_names)
    if keys.empty:
        raise UserError(f"{path}: column {column!r} is empty in every row. Label some rows.")
    position = match_rows(keys, obs, path, "the experiment")
    found = position >= 0
    values = np.full(len(obs), None, dtype=object)
    values[found] = labels.to_numpy(dtype=object)[position[found]]
    return JoinedLabels(values, len(keys) - len(np.unique(position[found])))


def join_numbers(obs: pd.DataFrame, path: str | Path, column: str) -> np.ndarray:
    """Number of each observation of one experiment, from a column of a label table.

    Parameters and errors as for `join_labels`; a value that is no number is an error too.

    Returns
    -------
    numpy.ndarray
        float64, shape (n,), NaN where unknown.
    """
    keys, numbers = _read_labelled(obs, path, column, _numbers)
    if keys.empty:
        # No observation has an onset where nothing responds.
        return np.full(len(obs), np.nan)
    position = match_rows(keys, obs, path, "the experiment")
    return np.where(position >= 0, numbers.to_numpy(np.float64)[position], np.nan)


def _read_labelled(
    obs: pd.DataFrame,
    path: str | Path,
    column: str,
    convert: Callable[[pd.Series, str], pd.Series],
) -> tuple[pd.DataFrame, pd.Series]:
    """Keys and converted labels of the labelled rows of a table."""
    if not Path(path).is_file():
        raise UserError(f"{path}: no such label table. Correct the path in the experiment's entry.")
    table = read_csv(path)
    for name in ("fov", "track_id", column):
        if name not in table:
            raise UserError(f"{path}: no column {name!r}. {did_you_mean(name, table.columns)}.")
    key = [name for name in ("fov", "track_id", "t") if name in table]
    keys = normalize_keys(table[key], obs, path)
    labels = convert(table[column].str.strip(), f"{path}: column {column!r}")
    check_unique(keys, path)
    return keys[labels.notna()], labels[labels.notna()]


def _numbers(text: pd.Series, where: str) -> pd.Series:
    unknown = text.str.lower().isin(["", "nan"])
    numbers = pd.to_numeric(text, errors="coerce")
    bad = numbers.isna() & ~unknown
    if bad.any():
        raise UserError(f"{where} holds {text[bad].iloc[0]!r}, which is no number. Correct it.")
    return numbers


def _class_names(text: pd.Series, where: str) -> pd.Series:
    """Class names, None where unknown; ``1`` and ``1.0`` are one class.

    Measurements (not whole, or more than `MAX_CLASSES` values) are an error that begins with
    `where`.
    """
    # "None" and "NA" may be names of classes.
    text = text.mask(text.str.lower().isin(["", "nan"]))
    numbers = pd.to_numeric(text, errors="coerce")
    if numbers.notna().any() and numbers.notna().sum() == text.notna().sum():
        if (numbers.dropna() % 1 != 0).any():
            example = text[numbers % 1 != 0].dropna().iloc[0]
            raise UserError(
                f"{where} holds measurements such as {example}; a task needs classes. "
                "Bin the values into classes first, or choose another column."
            )
        text = numbers.astype("Int64").astype("string")
    found = text.dropna().unique()
    if len(found) > MAX_CLASSES:
        raise UserError(
            f"{where} has {len(found)} distinct values; a task needs at most {MAX_CLASSES} "
            "classes. Choose a column of classes."
        )
    return text.astype(object).where(text.notna(), None)
