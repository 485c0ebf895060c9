"""All tables of an evaluation stage: collected, written into a folder, and joined over folders."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from dynaclr.config.columns import MARKER
from dynaclr.config.metrics import (
    CROSS_VALIDATED,
    INCLUDES_TRAINING,
    LEFT_OUT,
    POOLED,
    join_notes,
    metric_info,
)
from dynaclr.config.variants import CEILING
from dynaclr.evaluation import drift, tables
from dynaclr.evaluation.classifiers.score_tables import ScoreTables
from dynaclr.evaluation.inputs import EvaluationInputs
from dynaclr.evaluation.tables import Row, Rows, digest_of_rows, join_tables, write_csv
from dynaclr.io.artifacts import atomic_path, reading
from dynaclr.io.embeddings import key_of
from dynaclr.io.parquet import read_parquet

_CSV = {
    "metrics": tables.METRIC_COLUMNS,
    "curves": tables.CURVE_COLUMNS,
    "differences": tables.DIFFERENCE_COLUMNS,
    "confusion": tables.CONFUSION_COLUMNS,
    "reliability": tables.RELIABILITY_COLUMNS,
    "learning": tables.LEARNING_COLUMNS,
    "onsets": tables.ONSET_COLUMNS,
    "timing": tables.TIMING_COLUMNS,
    "cells": tables.OBSERVATION_COLUMNS,
    "drift": drift.COLUMNS,
}
# Columns of tables with a row an observation, and the types of those that are no text.
_PARQUET = {
    "predictions": (
        tables.PREDICTION_COLUMNS,
        dict.fromkeys(["track_id", "t", "lineage_id", "group"], "int64")
        | dict.fromkeys(["hours", "probability"], "float64"),
    ),
    "trajectories": (
        tables.TRAJECTORY_COLUMNS,
        dict.fromkeys(["track_id", "t"], "int64")
        | dict.fromkeys(["hours_since_onset", "pseudotime"], "float64"),
    ),
}
_OF_TRAINING = (CROSS_VALIDATED, LEFT_OUT)


@dataclass
class StageTables:
    """Rows of every table of one stage.

    Attributes
    ----------
    metrics, curves, learning, timing, cells, drift : list of dict
    differences, confusion, reliability, onsets, trajectories, predictions : list of
        pandas.DataFrame
    """

    metrics: list[Row] = field(default_factory=list)
    curves: list[Row] = field(default_factory=list)
    learning: list[Row] = field(default_factory=list)
    timing: list[Row] = field(default_factory=list)
    cells: list[Row] = field(default_factory=list)
    drift: list[Row] = field(default_factory=list)
    differences: list[pd.DataFrame] = field(default_factory=list)
    confusion: list[pd.DataFrame] = field(default_factory=list)
    reliability: list[pd.DataFrame] = field(default_factory=list)
    onsets: list[pd.DataFrame] = field(default_factory=list)
    trajectories: list[pd.DataFrame] = field(default_factory=list)
    predictions: list[pd.DataFrame] = field(default_factory=list)

    def add(self, *parts: Rows) -> None:
        """Add rows of metrics and curves."""
        for part in parts:
            self.metrics += part.metrics
            self.curves += part.curves

    def add_scores(self, task: str, label: str, scores: ScoreTables) -> None:
        """Add the tables of a task's classifiers."""
        self.metrics += scores.metrics.assign(task=task).to_dict("records")
        for name in ("differences", "confusion", "reliability"):
            table = getattr(scores, name).assign(task=task, label=label)
            getattr(self, name).append(table)

    def add_cells(self, obs: pd.DataFrame, experiment: str, held_out: bool) -> None:
        """Add the number of observations of an experiment, and a digest of which they are."""
        key = [*key_of(obs), "lineage_id"]
        self.cells.append(
            {
                "experiment": experiment,
                "held_out": held_out,
                "n_rows": len(obs),
                "n_lineages": len(obs[["fov", "lineage_id"]].drop_duplicates()),
                "digest": digest_of_rows(obs[key]),
            }
        )

    def write(self, folder: Path, model: str, inputs: EvaluationInputs) -> None:
        """Write the tables into a folder: CSV, or Parquet where they have a row an observation.

        Parameters
        ----------
        folder : Path
        model : str
            A column of all of them.
        inputs : EvaluationInputs
            Says which corrections could not be made.
        """
        made = {name: _as_table(getattr(self, name)) for name in _CSV}
        metrics = made["metrics"] = _with_notes(inputs, made["metrics"])
        for name, columns in _CSV.items():
            table = made[name].assign(model=model)
            write_csv(folder / f"{name}.csv", table, _marked(columns, table))
        for name, (columns, types) in _PARQUET.items():
            table = _as_table(getattr(self, name)).assign(model=model)
            _write_parquet(folder / f"{name}.parquet", _typed(table, columns, types))
        _write_parquet(folder / "resampled.parquet", _resampled(metrics.assign(model=model)))


def _as_table(parts: list[Row] | list[pd.DataFrame]) -> pd.DataFrame:
    """One table of rows, or of tables."""
    frames = [part for part in parts if isinstance(part, pd.DataFrame)]
    return join_tables(frames) if frames else pd.DataFrame(parts)


def join_folders(folders: Iterable[Path], out: Path) -> None:
    """Write the tables of several folders, one below the other, into another folder."""
    folders = list(folders)
    for name in _CSV:
        parts = [_read_text(folder / f"{name}.csv") for folder in folders]
        columns = max((list(part) for part in parts), key=len)
        joined = pd.concat(parts, ignore_index=True).reindex(columns=columns).fillna("")
        _write_text(out / f"{name}.csv", joined)
    for name in (*_PARQUET, "resampled"):
        found = [read_parquet(folder / f"{name}.parquet").to_pandas() for folder in folders]
        filled = [part for part in found if len(part)]
        joined = pd.concat(filled, ignore_index=True) if filled else found[0]
        _write_parquet(out / f"{name}.parquet", joined)


def change_tables(folder: Path, out: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Write the tables of a folder into another one, each as a function of what it was."""
    for name in _CSV:
        _write_text(out / f"{name}.csv", change(_read_text(folder / f"{name}.csv")))
    for name in (*_PARQUET, "resampled"):
        table = read_parquet(folder / f"{name}.parquet").to_pandas()
        _write_parquet(out / f"{name}.parquet", change(table))


def _read_text(path: Path) -> pd.DataFrame:
    """A table as the text that is in its file."""
    with reading(path):
        return pd.read_csv(path, dtype=str, keep_default_na=False)


def _write_text(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        table.to_csv(temporary, index=False, lineterminator="\n")


def _write_parquet(path: Path, table: pd.DataFrame) -> None:
    with atomic_path(path) as temporary:
        table.to_parquet(temporary, index=False)


def _with_notes(inputs: EvaluationInputs, metrics: pd.DataFrame) -> pd.DataFrame:
    """Metrics with what their rows share: notes on corrections and on rows of training."""
    if metrics.empty:
        return pd.DataFrame(columns=[*tables.METRIC_COLUMNS, "resampled"])
    corrections = {name: name.partition("+")[2] for name in metrics["variant"].unique()}
    on_variant = {name: inputs.note_on(correction) for name, correction in corrections.items()}
    on_estimate = {POOLED: INCLUDES_TRAINING}
    # Its encoder has seen the labels of training rows, whichever its classifier is fitted on.
    flattered = {(name, e) for name in on_variant if name.startswith(CEILING) for e in _OF_TRAINING}
    columns = zip(metrics["note"], metrics["variant"], metrics["estimate"], strict=True)
    notes = [
        join_notes(
            *(note, on_variant[variant], on_estimate.get(estimate, "")),
            "trained on these labels" if (variant, estimate) in flattered else "",
        )
        for note, variant, estimate in columns
    ]
    infos = [metric_info(metric) for metric in metrics["metric"]]
    return metrics.assign(
        note=notes,
        family=[info.family for info in infos],
        better=[info.better for info in infos],
    )


def _marked(columns: list[str], table: pd.DataFrame) -> list[str]:
    """Columns to write: with the marker after the frame or track, where the table has markers."""
    if MARKER not in table or MARKER in columns:
        return columns
    position = columns.index("t" if "t" in columns else "track_id") + 1
    return [*columns[:position], MARKER, *columns[position:]]


def _typed(table: pd.DataFrame, columns: list[str], types: Mapping[str, str]) -> pd.DataFrame:
    """A table whose column types are the same without any row; those not named are text."""
    columns = _marked(columns, table)
    return table.reindex(columns=columns).astype({**dict.fromkeys(columns, "string"), **types})


def _resampled(metrics: pd.DataFrame) -> pd.DataFrame:
    """Values on resampled lineages of uncorrected variants, by which models are paired."""
    columns = tables.RESAMPLED_COLUMNS
    types = {**dict.fromkeys(columns[1:-2], "string"), "n_lineages": "int64"}
    if "resampled" not in metrics:
        return pd.DataFrame(columns=columns).astype(types)
    uncorrected = ~metrics["kind"].astype(str).str.contains("+", regex=False)
    known = metrics[uncorrected & metrics["resampled"].notna()]
    return known.rename(columns={"resampled": "values"}).reindex(columns=columns).astype(types)
