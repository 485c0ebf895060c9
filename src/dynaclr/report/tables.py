"""Tables of the page: text of their cells, and sort order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from dynaclr.config.metrics import HELD_OUT, POOLED

# More rows make a page that no one reads and browsers bear badly.
MAX_ROWS = 2000
# What is asked for first, of each column; a metric that is not named comes after these.
_ESTIMATES = (HELD_OUT, POOLED)
_METRICS = ("auroc", "auroc_null", "auroc_p", "average_precision", "balanced_accuracy")


class Cell(NamedTuple):
    """A cell of a table.

    Attributes
    ----------
    text : str
    key : float or str
        What the column is sorted by.
    bar : dict of str to float, optional
        An interval as a drawing: ``low``, ``value``, ``high``, ``expected`` as shares of its width.
    """

    text: str
    key: float | str
    bar: dict[str, float] | None = None


@dataclass(frozen=True)
class Table:
    """A table that sorts.

    Attributes
    ----------
    title, caption : str
    columns : list of str
    rows : list of list of Cell
    filters : dict of str to str
        Columns that can be filtered, with the value that is chosen at first, or "".
    n_left_out : int
        Rows beyond `MAX_ROWS`.
    source : str
        File that holds all rows, relative to the results folder.
    """

    title: str
    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    filters: dict[str, str] = field(default_factory=dict)
    n_left_out: int = 0
    source: str = ""

    def is_number(self, column: int) -> bool:
        """Whether a column holds numbers, which stand on the right."""
        keys = [row[column].key for row in self.rows if row[column].text]
        return bool(keys) and all(isinstance(key, float) for key in keys)


def cell(value: Any) -> Cell:
    """A value as a cell: numbers with some digits, nothing for what is missing."""
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return Cell("", "")
    if isinstance(value, (bool, np.bool_, str)):
        return Cell(str(value), str(value))
    if isinstance(value, (int, np.integer)):
        return Cell(f"{value:,}", float(value))
    return Cell(number(float(value)), float(value))


def number(value: float) -> str:
    """Three or four significant digits, whole numbers whole."""
    size = abs(value)
    if not 0.1 <= size < 1e9:
        return f"{value:.3g}"
    if value == round(value) or size >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{4 - len(str(int(size)))}f}"


def records_table(
    title: str, caption: str, records: Sequence[Mapping[str, Any]], source: str = ""
) -> Table:
    """A table of records that share their keys."""
    columns = list(records[0]) if records else []
    rows = [[cell(record[name]) for name in columns] for record in records]
    return Table(title, caption, columns, rows, source=source)


def metric_table(
    title: str,
    caption: str,
    frame: pd.DataFrame,
    filters: Mapping[str, str],
    source: str = "",
) -> Table:
    """A table of values, each with its interval and what would be expected by chance.

    Parameters
    ----------
    title, caption : str
    frame : pandas.DataFrame
        With ``value``; ``low``, ``high`` and ``expected`` are drawn with it where they are there.
        Columns without any value are left out. Of more than `MAX_ROWS` rows those stay that are
        asked for first: held out before others, uncorrected features before corrected ones, AUROC
        and its null before other metrics.
    filters : mapping
        Columns to filter by, with the value chosen at first, or "".
    source : str
    """
    shown = _sort_by_interest(frame).iloc[:MAX_ROWS]
    drawn = [name for name in ("low", "high", "expected") if name in shown]
    filled = [name for name in shown if shown[name].notna().any() and name not in drawn]
    scales = _scales(shown)
    rows = [
        [
            _value_cell(record, scales[record.get("metric")])
            if name == "value"
            else cell(record[name])
            for name in filled
        ]
        for record in shown.astype(object).where(shown.notna(), None).to_dict("records")
    ]
    kept = {name: value for name, value in filters.items() if name in filled}
    return Table(title, caption, filled, rows, kept, len(frame) - len(shown), source)


def _sort_by_interest(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows by what is asked for first; those alike in that stay in their order."""
    ranks = pd.DataFrame(index=range(len(frame)))
    for column, rank in (
        ("estimate", lambda values: ~values.isin(_ESTIMATES)),
        ("kind", lambda values: values.astype(str).str.contains("+", regex=False)),
        ("metric", lambda values: values.map({name: n for n, name in enumerate(_METRICS)})),
    ):
        if column in frame:
            ranks[column] = rank(frame[column].reset_index(drop=True))
    if ranks.empty:
        return frame
    return frame.iloc[ranks.sort_values(list(ranks), kind="stable", na_position="last").index]


def _scales(frame: pd.DataFrame) -> dict[Any, tuple[float, float]]:
    """Range of the drawing of each metric: 0 to 1 where all of it lies there."""
    names = [name for name in ("value", "low", "high", "expected") if name in frame]
    groups = frame.groupby("metric") if "metric" in frame else [(None, frame)]
    scales = {}
    for metric, part in groups:
        values = part[names].to_numpy(dtype=float)
        values = values[np.isfinite(values)]
        low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
        scales[metric] = (0.0, 1.0) if low >= 0 and high <= 1 else (min(low, 0.0), max(high, 0.0))
    return scales


def _value_cell(record: Mapping[str, Any], scale: tuple[float, float]) -> Cell:
    value = record["value"]
    if value is None:
        return Cell("", "")
    text = number(float(value))
    if record.get("low") is not None and record.get("high") is not None:
        text += f" ({number(float(record['low']))} to {number(float(record['high']))})"
    low, high = scale
    bar = {
        name: (float(record[name]) - low) / max(high - low, 1e-12)
        for name in ("low", "value", "high", "expected")
        if record.get(name) is not None
    }
    return Cell(text, float(value), bar)
