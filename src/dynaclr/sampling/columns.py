"""Columns of labels or numbers as integer codes whose order depends on the values alone."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

# Below this many distinct values a binary search in the table of values stays in cache and is
# faster than sorting all rows; stable argsort of 16-bit codes is a radix sort.
_FEW_VALUES = 1 << 16


def as_names(columns: str | Sequence[str] | None, option: str) -> tuple[str, ...]:
    """Return column names as a tuple: one name, several names, or none.

    Anything else is a TypeError that names `option`, the argument that they are of.
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
    """Return ``table[name]``, or raise a ValueError that names `option` and the columns there are.

    Parameters
    ----------
    table
        A pandas.DataFrame or a mapping of column name to 1-D array.
    name
        The column wanted.
    option
        The argument that asked for it, for the message.
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


def encode(column: Any, name: str) -> tuple[np.ndarray, list]:
    """Return codes and sorted labels of one column.

    Parameters
    ----------
    column
        A pandas Series or Categorical, an array or a sequence, ``(N,)``.
    name
        Its name, for messages.

    Returns
    -------
    codes : np.ndarray
        ``(N,)`` integers into `labels`.
    labels : list
        The distinct values in sorted order, so that neither the order of the rows nor that of a
        categorical's categories matters.

    Raises
    ------
    ValueError
        If a value is missing (None or NaN).
    """
    codes, values = _factorize(column)
    missing = np.flatnonzero(codes < 0)
    if missing.size:
        raise ValueError(
            f"Column {name!r} has {missing.size} missing value(s), the first in row {missing[0]}. "
            "Fill or drop these rows."
        )
    used = np.flatnonzero(np.bincount(codes, minlength=len(values)))
    labels = [_plain(values[code]) for code in used]
    by_value = _sorted_positions(labels)
    rank = np.zeros(len(values), dtype=_code_type(len(labels)))
    rank[used[by_value]] = np.arange(len(labels))
    return rank[codes], [labels[position] for position in by_value]


def encode_together(
    table: Mapping[str, Any], names: tuple[str, ...], n_rows: int, option: str
) -> tuple[np.ndarray, list]:
    """Return codes and labels of the combinations of several columns.

    Parameters
    ----------
    table
        A pandas.DataFrame or a mapping of column name to 1-D array.
    names
        The columns. None of them gives one label, None, for all rows; one of them gives its
        values; several give tuples of values.
    n_rows
        The number of rows every column must have.
    option
        The argument that names the columns, for messages.

    Returns
    -------
    codes : np.ndarray
        ``(N,)`` integers into `labels`.
    labels : list
        The combinations that occur, in sorted order.
    """
    if not names:
        return np.zeros(n_rows, dtype=np.uint16), [None]
    codes, labels = None, []
    for name in names:
        column = take_column(table, name, option)
        check_length(column, name, n_rows)
        more_codes, more_labels = encode(column, name)
        if codes is None:
            codes, labels = more_codes, [(label,) for label in more_labels]
            continue
        pairs, codes = _distinct(codes.astype(np.int64) * len(more_labels) + more_codes)
        first, second = np.divmod(pairs, len(more_labels))
        labels = [(*labels[i], more_labels[j]) for i, j in zip(first, second, strict=True)]
    if len(names) == 1:
        labels = [label for (label,) in labels]
    return codes.astype(_code_type(len(labels)), copy=False), labels


def encode_numbers(column: Any, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return codes and the sorted distinct values (float64) of a column of finite numbers."""
    values = np.asarray(column)
    if values.dtype.kind not in "biuf":
        raise ValueError(f"Column {name!r} holds {values.dtype}, not numbers.")
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        raise ValueError(
            f"Column {name!r} has {bad.size} value(s) that are not finite, the first in row "
            f"{bad[0]}. Fill or drop these rows."
        )
    distinct, codes = _distinct(values)
    return codes, distinct.astype(np.float64)


def stable_order(codes: np.ndarray, n_codes: int) -> np.ndarray:
    """Return the stable argsort of codes in ``[0, n_codes)``, by radix where they are few."""
    if n_codes <= _FEW_VALUES:
        codes = codes.astype(np.uint16, copy=False)
    return np.argsort(codes, kind="stable")


def _factorize(column: Any) -> tuple[np.ndarray, Sequence]:
    """Return codes (-1 where missing) and distinct values in no particular order."""
    categorical = getattr(column, "cat", column)
    if hasattr(categorical, "categories") and hasattr(categorical, "codes"):
        return np.asarray(categorical.codes), categorical.categories
    if hasattr(column, "factorize"):
        return column.factorize()
    values = np.asarray(column)
    if values.dtype.kind in "biu":
        distinct, codes = _distinct(values)
        return codes, distinct
    if values.dtype.kind == "f":
        present = values == values
        distinct, present_codes = _distinct(values[present])
        codes = np.full(values.size, -1, dtype=np.int64)
        codes[present] = present_codes
        return codes, distinct
    return _factorize_objects(values)


def _factorize_objects(values: np.ndarray) -> tuple[np.ndarray, list]:
    # Hashing beats sorting by far for strings, which NumPy compares one by one.
    seen: dict[Any, int] = {}
    codes = np.empty(values.size, dtype=np.int64)
    for start in range(0, values.size, _FEW_VALUES):
        block = values[start : start + _FEW_VALUES].tolist()
        codes[start : start + len(block)] = [seen.setdefault(value, len(seen)) for value in block]
    distinct = list(seen)
    missing = np.array([_is_missing(value) for value in distinct], dtype=bool)
    return np.where(missing[codes], -1, codes), distinct


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    differs = value != value
    # pandas.NA compares as neither true nor false, but as NA again.
    return differs if isinstance(differs, (bool, np.bool_)) else True


def _distinct(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return sorted distinct values and the code of each value."""
    distinct = np.unique(values)
    if distinct.size <= _FEW_VALUES:
        return distinct, np.searchsorted(distinct, values).astype(_code_type(distinct.size))
    return np.unique(values, return_inverse=True)


def _sorted_positions(labels: list) -> np.ndarray:
    try:
        order = sorted(range(len(labels)), key=labels.__getitem__)
    except TypeError:  # values of several types, which have no order among them
        order = sorted(range(len(labels)), key=lambda i: (type(labels[i]).__name__, str(labels[i])))
    return np.asarray(order, dtype=np.int64)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _code_type(n_codes: int) -> type:
    return np.uint16 if n_codes <= _FEW_VALUES else np.int64
