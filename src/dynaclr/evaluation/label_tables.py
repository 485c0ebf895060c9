"""Label tables: CSV with a row per observation or track, and their join to observations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from dynaclr.config import UserError
from dynaclr.config.errors import did_you_mean

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
    table = _read_table(path, column, _class_names)
    if table.empty:
        raise UserError(f"{path}: column {column!r} is empty in every row. Label some rows.")
    position, known = _match(obs, table, path)
    values = np.full(len(obs), None, dtype=object)
    values[position >= 0] = table["label"].to_numpy(dtype=object)[position[position >= 0]]
    return JoinedLabels(values, int((~known).sum()))


def join_numbers(obs: pd.DataFrame, path: str | Path, column: str) -> np.ndarray:
    """Number of each observation of one experiment, from a column of a label table.

    Parameters and errors as for `join_labels`; a value that is no number is an error too.

    Returns
    -------
    numpy.ndarray
        float64, shape (n,), NaN where unknown.
    """
    table = _read_table(path, column, _numbers)
    if table.empty:
        # No observation has an onset where nothing responds.
        return np.full(len(obs), np.nan)
    position, _ = _match(obs, table, path)
    return np.where(position >= 0, table["label"].to_numpy(np.float64)[position], np.nan)


def _match(
    obs: pd.DataFrame, table: pd.DataFrame, path: str | Path
) -> tuple[np.ndarray, np.ndarray]:
    """Row of the table for each observation (-1: none), and which of its rows have one."""
    key = [name for name in ("fov", "track_id", "t") if name in table]
    observed = pd.MultiIndex.from_frame(
        pd.DataFrame({name: obs[name].astype(str if name == "fov" else np.int64) for name in key})
    )
    labelled = pd.MultiIndex.from_frame(table[key])
    known = labelled.isin(observed)
    if not known.any():
        raise UserError(
            f"{path}: none of its {len(table)} labelled rows matches an observation by "
            f"{', '.join(key)} (first row: {_describe(table.iloc[0], key)}; first observation: "
            f"{_describe(obs.iloc[0], key)}). Are these the labels of this experiment?"
        )
    return labelled.get_indexer(observed), known


def _read_table(
    path: str | Path, column: str, convert: Callable[[pd.Series, str], pd.Series]
) -> pd.DataFrame:
    """Labelled rows of a table: fov, track_id, t where the table has it, and ``label``."""
    raw = _read_csv(Path(path))
    for name in ("fov", "track_id", column):
        if name not in raw:
            raise UserError(f"{path}: no column {name!r}. {did_you_mean(name, raw.columns)}.")
    table = pd.DataFrame({"fov": raw["fov"].str.strip()})
    for name in ("track_id", "t"):
        if name in raw:
            table[name] = _whole_numbers(raw[name], path)
    key = list(table)
    table["label"] = convert(raw[column], f"{path}: column {column!r}")
    _check_unique(table, key, path)
    return table[table["label"].notna()].reset_index(drop=True)


def _numbers(values: pd.Series, where: str) -> pd.Series:
    text = values.str.strip()
    unknown = text.str.lower().isin(["", "nan"])
    numbers = pd.to_numeric(text, errors="coerce")
    bad = numbers.isna() & ~unknown
    if bad.any():
        raise UserError(f"{where} holds {text[bad].iloc[0]!r}, which is no number. Correct it.")
    return numbers


def _class_names(values: pd.Series, where: str) -> pd.Series:
    """Class names from the text of a column, None where unknown; ``1`` and ``1.0`` are one class.

    Measurements (not whole, or more than `MAX_CLASSES` values) are an error that begins with
    `where`.
    """
    text = values.str.strip()
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


def _read_csv(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise UserError(f"{path}: no such label table. Correct the path in the experiment's entry.")
    try:
        raw = pd.read_csv(
            path, dtype=str, keep_default_na=False, skipinitialspace=True, skip_blank_lines=False
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as CSV ({error}). Fix the file.") from None
    # Blank lines are read and then dropped, so that index + 2 is the line in the file.
    raw = raw.fillna("")
    return raw[(raw != "").any(axis=1)]


def _whole_numbers(values: pd.Series, path: str | Path) -> pd.Series:
    numbers = pd.to_numeric(values, errors="coerce")
    bad = numbers.isna() | (numbers % 1 != 0)
    if bad.any():
        row = values.index[bad][0]
        raise UserError(
            f"{path}, line {row + 2}: {values.name} is {values[row]!r}, not a whole number "
            f"({int(bad.sum())} such rows). Correct it, or remove the row."
        )
    return numbers.astype(np.int64)


def _check_unique(table: pd.DataFrame, key: list[str], path: str | Path) -> None:
    repeated = table.duplicated(key)
    if not repeated.any():
        return
    row = table.index[repeated][0]
    first = table.index[(table[key] == table.loc[row, key]).all(axis=1)][0]
    hint = "" if "t" in key else " A table without a column t has one row per track."
    raise UserError(
        f"{path}, line {row + 2}: {_describe(table.loc[row], key)} was already labelled in line "
        f"{first + 2} ({int(repeated.sum())} repeated rows). Keep one of them.{hint}"
    )


def _describe(row: pd.Series, key: list[str]) -> str:
    return ", ".join(f"{name} {row[name]}" for name in key)
