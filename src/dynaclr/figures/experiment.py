"""Figures of one experiment: quality of its tracks, and drift of its intensities."""

from __future__ import annotations

from pathlib import Path

from dynaclr.config import ExperimentConfig
from dynaclr.figures.intensity import draw_intensity
from dynaclr.figures.tracks import COLUMNS, draw_tracks
from dynaclr.io.artifacts import read_json, verified_digest
from dynaclr.io.parquet import read_parquet


def draw_experiment(folder: Path) -> None:
    """Draw ``qc.svg`` and ``intensity.svg``.

    Parameters
    ----------
    folder : Path
        With ``cells.parquet``, ``summary.json`` and ``statistics.parquet``.

    Raises
    ------
    UserError
        When one of them is missing, damaged or changed.
    """
    for name in ("cells.parquet", "statistics.parquet"):
        verified_digest(folder / name)
    summary = read_json(folder / "summary.json")
    index = read_parquet(folder / "cells.parquet", COLUMNS)
    draw_tracks(index, summary, folder / "qc.svg")
    statistics = read_parquet(folder / "statistics.parquet").to_pandas()
    entry = ExperimentConfig.model_validate(summary["entry"])
    draw_intensity(statistics, entry, folder / "intensity.svg")
