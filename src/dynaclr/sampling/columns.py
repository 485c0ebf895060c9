"""Columns of labels or numbers as integer codes whose order depends on the values alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

# Codes below this many fit 16 bits, where a stable argsort is a radix sort.
_FEW_CODES = 1 << 16


def as_names(columns: str | Sequence[str] | None, option: str) -> tuple[str, ...]:
    """Return column names as a tuple: one name, several names, or none.

    Raises
    ------
    TypeError
        For anything else; the message names `option`, the argument that they are of.
    """
    if columns is None:
        return ()
    names = (columns,) if isinstance(columns, str) else columns
    if not isinstance(names, Iterable) or not all(isinstance(name, str) for name in names):
        raise TypeError(
            f"{option} must be a column name, several of them or None, not {columns!r}."
        )
    return tuple(names)


def check_table(table: Any, option: str) -> None:
    """Raise a TypeError unless a table is a mapping, and a ValueError if it has no column."""
    if not (hasattr(table, "keys") and hasattr(table, "__getitem__")):
        raise TypeError(
            f"{option} must be a pandas.DataFrame or a mapping of column name to 1-D array, not a "
            f"{type(table).__name__}."
        )
    if not len(table.keys()):
        raise ValueError(f"{option} is empty: it has no column.")


def take_column(table: Mapping[str, Any], name: str, option: str) -> Any:
    """Return ``table[name]``.

    Parameters
    ----------
    table : pandas.DataFrame or mapping of str to array_like
    name : str
        The column wanted.
    option : str
        The argument that asked for it, for the message.

    Raises
    ------
    ValueError
        If there is no such column, with those that there are, or it is not 1-D.
    """
    if name not in table:
        present = ", ".join(map(repr, table.keys()))
        raise ValueError(f"{option} names the column {name!r}; the table has only: {present}.")
    column = table[name]
    if np.ndim(column) != 1:
        raise ValueError(f"Column {name!r} ({option}) has {np.ndim(column)} dimensions, not 1.")
    return column


def check_length(column: Any, name: str, n_rows: int) -> None:
    """Raise a ValueError unless a column has as many rows as the others."""
    if len(column) != n_rows:
        raise ValueError(f"Column {name!r} has {len(column)} rows where others have {n_rows}.")


def encode(column: Any, name: str) -> tuple[NDArray[np.integer], list[Any]]:
    """Return codes and sorted labels of one column.

    Parameters
    ----------
    column : array_like, shape (N,)
        A pandas Series or Categorical, an array or a sequence.
    name : str
        Its name, for messages.

    Returns
    -------
    codes : ndarray of int, shape (N,)
        Indices into `labels`.
    labels : list
        The distinct values in sorted order, so that neither the order of the rows nor that of a
        categorical's categories matters.

    Raises
    ------
    ValueError
        If a value is missing (None or NaN).
    """
    known = isinstance(column, pd.Series | pd.Index | pd.Categorical | np.ndarray)
    codes, values = pd.factorize(column if known else np.asarray(column))
    missing = np.flatnonzero(codes < 0)
    if missing.size:
        raise ValueError(
            f"Column {name!r} has {missing.size} missing value(s), the first in row {missing[0]}. "
            "Fill or drop these rows."
        )
    labels = [value.item() if isinstance(value, np.generic) else value for value in values]
    by_value = _sorted_positions(labels)
    code_of = np.empty(len(labels), dtype=_code_type(len(labels)))
    code_of[by_value] = np.arange(len(labels))
    return code_of[codes], [labels[position] for position in by_value]


def encode_together(
    table: Mapping[str, Any], names: tuple[str, ...], n_rows: int, option: str
) -> tuple[NDArray[np.integer], list[Any]]:
    """Return codes and labels of the combinations of several columns.

    Parameters
    ----------
    table : pandas.DataFrame or mapping of str to array_like
    names : tuple of str
        The columns. None of them gives one label, None, for all rows; one of them gives its
        values; several give tuples of values.
    n_rows : int
        The number of rows every column must have.
    option : str
        The argument that names the columns, for messages.

    Returns
    -------
    codes : ndarray of int, shape (N,)
        Indices into `labels`.
    labels : list
        The combinations that occur, in sorted order.

    Raises
    ------
    ValueError
        If a column is missing, has another length or a missing value.
    """
    if not names:
        return np.zeros(n_rows, dtype=np.uint16), [None]
    encoded = []
    for name in names:
        column = take_column(table, name, option)
        check_length(column, name, n_rows)
        encoded.append(encode(column, name))
    codes, labels = encoded[0]
    if len(encoded) == 1:
        return codes, labels
    labels = [(label,) for label in labels]
    for more_codes, more_labels in encoded[1:]:
        pairs = codes.astype(np.int64) * len(more_labels) + more_codes
        codes, distinct = pd.factorize(pairs, sort=True)
        first, second = np.divmod(distinct, len(more_labels))
        labels = [(*labels[i], more_labels[j]) for i, j in zip(first, second, strict=True)]
    return codes.astype(_code_type(len(labels))), labels


def encode_numbers(column: Any, name: str) -> tuple[NDArray[np.integer], NDArray[np.float64]]:
    """Return codes and the sorted distinct values of a column of numbers.

    Raises
    ------
    ValueError
        If it does not hold numbers, or one is not finite.
    """
    values = np.asarray(column)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"Column {name!r} holds {values.dtype}, not numbers.")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ValueError(
            f"Column {name!r} has {bad.size} value(s) that are not finite, the first in row "
            f"{bad[0]}. Fill or drop these rows."
        )
    codes, distinct = pd.factorize(values, sort=True)
    return codes.astype(_code_type(distinct.size)), distinct.astype(np.float64)


def stable_order(codes: NDArray[np.integer], n_codes: int) -> NDArray[np.int64]:
    """Return the stable argsort of codes in ``[0, n_codes)``, by radix where they are few."""
    if n_codes <= _FEW_CODES:
        codes = codes.astype(np.uint16, copy=False)
    return np.argsort(codes, kind="stable")


def _sorted_positions(labels: list[Any]) -> list[int]:
    try:
        return sorted(range(len(labels)), key=labels.__getitem__)
    except TypeError:  # values of several types, which have no order among them
        return sorted(range(len(labels)), key=lambda i: (type(labels[i]).__name__, str(labels[i])))


def _code_type(n_codes: int) -> type[np.uint16] | type[np.int64]:
    return np.uint16 if n_codes <= _FEW_CODES else np.int64
