"""Names of index columns: those of the index itself, those that can be stored or are used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from dynaclr.config.expression import Expression

# The index's own columns; the entry's `metadata` and its labels come behind them.
INDEX_COLUMNS = (
    *("experiment", "well", "fov", "condition", "organelle", "microscope", "cell_type", "date"),
    *("moi", "t", "hours", "track_id", "parent_track_id", "lineage_id", "generation", "branch"),
    *("branch_end", "y", "x", "z", "frames_to_division", "track_length"),
)
SPLIT = "split"
# What a row of a bag of channels shows; `sampling` knows it, and embeddings have it.
MARKER = "marker"
# Columns that are there without metadata and labels.
OWN_COLUMNS = (*INDEX_COLUMNS, SPLIT, MARKER)
# Text that says nothing: absent in the entry, or not labelled.
UNKNOWN = "unknown"
_RESERVED = {"", ".", "..", "_index"}
_LONGEST = 100


def check_column_name(name: str) -> None:
    """Refuse a name that cannot be a column of an embedding store, or is the index's own.

    Raises
    ------
    ValueError
        With what is wrong and how to fix it.
    """
    if name in (*INDEX_COLUMNS, SPLIT):
        raise ValueError(f"{name!r} is a column of the index itself; rename it")
    check_storable(name)


def check_storable(name: str) -> None:
    """Refuse a name that AnnData cannot store as a column.

    Raises
    ------
    ValueError
        With what is wrong and how to fix it.
    """
    if name in _RESERVED or re.search(r"[/\x00-\x1f\x7f]|^\.z", name) or len(name) > _LONGEST:
        raise ValueError(
            f"{name!r} cannot be the name of a column in AnnData (no '/', no control character, "
            f"not '_index', at most {_LONGEST} characters); rename it"
        )


def names_in(expression: str) -> set[str]:
    """Columns that an expression names, those in backticks included; none if it is no expression.

    >>> sorted(names_in("condition == 'mock' and `cell state` != 'dead'"))
    ['cell state', 'condition']
    """
    try:
        return set(Expression(expression).columns)
    except ValueError:
        return set()


def columns_of_data(data: Mapping[str, Any]) -> set[str]:
    """Columns that the `data` section of a training configuration names."""
    sampling = data.get("sampling") or {}
    named = [data.get("carry"), sampling.get("batch_group_by"), sampling.get("stratify_by")]
    if not isinstance(data.get("positives"), str):
        named.append(data.get("positives"))
    columns = {name for names in named for name in _as_names(names)}
    return columns | names_in(data.get("query") or "")


def columns_of_training(training: Mapping[str, Any]) -> set[str]:
    """Columns that a training configuration names, for its data or to show them.

    Heads and classifiers learn from what `data.carry` names.
    """
    callbacks = (training.get("trainer") or {}).get("callbacks") or []
    shown = [
        (callback.get("init_args") or {}).get("columns")
        for callback in (callbacks if isinstance(callbacks, list) else [callbacks])
        if isinstance(callback, Mapping)
    ]
    columns = columns_of_data(training.get("data") or {})
    return columns | {name for names in shown for name in _as_names(names)}


def _as_names(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])
