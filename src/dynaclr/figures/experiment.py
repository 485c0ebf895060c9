"""Figures of one experiment: quality of its tracks, and drift of its intensities."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from dynaclr.config import ExperimentConfig
from dynaclr.figures.intensity import draw_intensity
from dynaclr.figures.tables import require_file
from dynaclr.figures.tracks import COLUMNS, draw_tracks
from dynaclr.io.artifacts import read_json


def draw_experiment(folder: Path) -> None:
    """Draw ``qc.svg`` and ``intensity.svg``.

    Parameters
    ----------
    folder : Path
        With ``cells.parquet``, ``summary.json`` and ``statistics.parquet``.

    Raises
    ------
    UserError
        When one of them is missing.
    """
    summary = read_json(folder / "summary.json")
    index = pq.read_table(require_file(folder / "cells.parquet"), columns=COLUMNS)
    draw_tracks(index, summary, folder / "qc.svg")
    statistics = pd.read_parquet(require_file(folder / "statistics.parquet"))
    entry = ExperimentConfig.model_validate(summary["entry"])
    draw_intensity(statistics, entry, folder / "intensity.svg")
