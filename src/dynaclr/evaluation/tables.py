"""Result tables: columns of each file, and how files are written."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from dynaclr.config.metrics import join_notes
from dynaclr.evaluation.metrics.bootstrap import percentile_interval
from dynaclr.io.artifacts import atomic_path
from dynaclr.io.embeddings import KEY

_VARIANT = ["model", "variant", "kind", "seed"]
METRIC_COLUMNS = [
    *_VARIANT,
    *("task", "estimate", "experiment", "metric", "value", "low", "high"),
    *("n_rows", "n_lineages", "n_positive", "note", "family", "expected", "better"),
]
CURVE_COLUMNS = [
    *_VARIANT,
    *("task", "experiment", "metric", "hours", "value", "low", "high", "n_rows"),
]
DIFFERENCE_COLUMNS = [
    *("model", "task", "estimate", "experiment", "metric", "baseline", "value", "low", "high"),
    *("n_seeds", "n_rows", "n_lineages", "note"),
]
CONFUSION_COLUMNS = [
    *(*_VARIANT, "task", "label", "estimate", "experiment", "true", "predicted", "count"),
]
LEARNING_COLUMNS = [
    *(
        *_VARIANT,
        "task",
        "experiment",
        "metric",
        "n_lineages",
        "value",
        "low",
        "high",
        "n_draws",
        "n_rows",
    ),
]
RELIABILITY_COLUMNS = [
    *(*_VARIANT, "task", "estimate", "experiment", "bin", "predicted", "observed", "n_rows"),
]
ONSET_COLUMNS = [
    *(*_VARIANT, "experiment", "fov", "track_id", "condition", "hours", "low", "high"),
    "true_hours",
]
TIMING_COLUMNS = [
    *(*_VARIANT, "experiment", "marker", "statistic", "group", "hours", "value", "low", "high"),
    *("n_rows", "n_lineages"),
]
TRAJECTORY_COLUMNS = ["model", "variant", *KEY, "hours_since_onset", "pseudotime"]
PREDICTION_COLUMNS = [
    *("model", "variant", "task", *KEY, "lineage_id", "group", "hours"),
    *("label", "class", "probability"),
]
OBSERVATION_COLUMNS = ["model", "experiment", "held_out", "n_rows", "n_lineages", "digest"]
RESAMPLED_COLUMNS = [
    *("model", "variant", "task", "estimate", "experiment", "metric", "n_lineages", "values"),
]
_INTEGERS = ("seed", "n_positive", "n_lineages", "n_rows", "n_experiments")

Row = dict[str, object]


class MetricValue(NamedTuple):
    """One value of a metric.

    Attributes
    ----------
    value : float
    expected : float
        Value without an effect, NaN where it is not known.
    n_rows : int
        Observations behind the value.
    note : str
        Why there is no value, or what a reader should know about it.
    low, high : float
        95 % interval, NaN where there is none.
    n_lineages : int or None
        Independent units behind the value, where they were counted.
    resampled : numpy.ndarray or None
        Values on resampled lineages, by which models are paired; shape (n_resamples,).
    """

    value: float
    expected: float = np.nan
    n_rows: int = 0
    note: str = ""
    low: float = np.nan
    high: float = np.nan
    n_lineages: int | None = None
    resampled: np.ndarray | None = None


def value_with_interval(
    value: float,
    expected: float,
    n_rows: int,
    resampled: np.ndarray,
    n_lineages: int,
    note: str = "",
) -> MetricValue:
    """A value with the 95 % interval of its resamples; arguments as in `MetricValue`."""
    low, high, reason = percentile_interval(resampled, n_lineages)
    note = join_notes(note, reason)
    return MetricValue(value, expected, n_rows, note, low, high, n_lineages, resampled)


class Rows(NamedTuple):
    """Rows of the metrics table, and of the table of curves."""

    metrics: list[Row]
    curves: list[Row]


def metric_rows(values: Mapping[str, MetricValue], **columns: object) -> list[Row]:
    """Rows of the metrics table.

    Parameters
    ----------
    values : mapping of str to MetricValue
        Metric to its value.
    **columns : object
        Columns that all these rows share: variant, task, estimate, experiment.

    Returns
    -------
    list of dict
    """
    return [{**columns, "metric": name, **value._asdict()} for name, value in values.items()]


def join_tables(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Rows of all tables that have any; a table without columns where none has."""
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame()


def write_csv(path: Path, table: pd.DataFrame, columns: list[str]) -> None:
    """Write some columns of a table, the same bytes for the same numbers.

    Parameters
    ----------
    path : Path
    table : pandas.DataFrame
    columns : list of str
        Columns to write; one that the table lacks is empty.
    """
    table = table.reindex(columns=columns)
    for column in _INTEGERS:
        if column in table:
            table[column] = table[column].astype("Int64")
    with atomic_path(path) as temporary:
        # Further digits differ between processors and mean nothing.
        table.to_csv(temporary, index=False, float_format="%.6g", lineterminator="\n")


def digest_of_rows(table: pd.DataFrame) -> str:
    """SHA-256 of the content of a table, rows in the order given, as 64 hexadecimal digits."""
    hashes = pd.util.hash_pandas_object(table.astype(str), index=False)
    return hashlib.sha256(hashes.to_numpy().tobytes()).hexdigest()
