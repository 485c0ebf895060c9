"""Keys of table rows (experiment, field of view, track, frame), matched to observations.

Tables are indexed by the row number in their file, which errors name.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dynaclr.config.errors import UserError


def normalize_keys(keys: pd.DataFrame, obs: pd.DataFrame, where: str | Path) -> pd.DataFrame:
    """Keys as whole numbers where ``obs`` has whole numbers, as text elsewhere.

    Parameters
    ----------
    keys : pandas.DataFrame
        Key columns of a table.
    obs : pandas.DataFrame
        Observations with these columns.
    where : str or Path
        Path of the table, for the error.

    Returns
    -------
    pandas.DataFrame
        The same rows; int64 or text.

    Raises
    ------
    UserError
        When a value is no whole number where ``obs`` has whole numbers.
    """
    columns = {}
    for name in keys:
        if not pd.api.types.is_integer_dtype(obs[name]):
            columns[name] = keys[name].astype(str).str.strip()
            continue
        numbers = pd.to_numeric(keys[name], errors="coerce")
        bad = numbers.isna() | (numbers % 1 != 0) | (numbers.abs() >= 2.0**63)
        if bad.any():
            row = keys.index[bad][0]
            raise UserError(
                f"{where}, row {row}: {name} is {keys.loc[row, name]!r}, not a whole number "
                f"({int(bad.sum())} such rows). Correct it, or remove the row."
            )
        columns[name] = numbers.astype(np.int64)
    return pd.DataFrame(columns)


def check_unique(keys: pd.DataFrame, where: str | Path) -> None:
    """Refuse a table in which a key is repeated.

    Raises
    ------
    UserError
        Naming the first repeated key, and both of its rows.
    """
    repeated = keys.duplicated()
    if not repeated.any():
        return
    row = keys.index[repeated][0]
    first = keys.index[(keys == keys.loc[row]).all(axis=1)][0]
    raise UserError(
        f"{where}, row {row}: {describe_key(keys.loc[row], list(keys))} is in row {first} already "
        f"({int(repeated.sum())} repeated rows). Keep one of them, or give the table the column "
        "that distinguishes them (t, for example)."
    )


def match_rows(keys: pd.DataFrame, obs: pd.DataFrame, where: str | Path, what: str) -> np.ndarray:
    """Position in a table of the row of each observation.

    Parameters
    ----------
    keys : pandas.DataFrame
        Keys of the table, normalized and unique.
    obs : pandas.DataFrame
        n observations.
    where : str or Path
        Path of the table, for the error.
    what : str
        What the observations are, for the error.

    Returns
    -------
    numpy.ndarray
        int64, shape (n,); -1 for an observation without a row.

    Raises
    ------
    UserError
        When no observation has a row.
    """
    key = list(keys)
    wanted = normalize_keys(obs[key].reset_index(drop=True), obs, what)
    position = pd.MultiIndex.from_frame(keys).get_indexer(pd.MultiIndex.from_frame(wanted))
    if (position < 0).all():
        raise UserError(
            f"{where}: none of its {len(keys)} rows matches an observation of {what} by "
            f"{', '.join(key)} (first row: {describe_key(keys.iloc[0], key)}; first observation: "
            f"{describe_key(wanted.iloc[0], key)}). Do they belong together?"
        )
    return position


def describe_key(values: Sequence[Any] | pd.Series, key: Sequence[str]) -> str:
    """Names and values of a key, for a message."""
    return ", ".join(f"{name} {value}" for name, value in zip(key, values, strict=True))
