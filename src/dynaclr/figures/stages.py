"""What each ``dynaclr figures`` command reads and draws: the products of a stage in one folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dynaclr.experiments import ExperimentConfig, UserError
from dynaclr.experiments.files import read_json


def draw_experiment(folder: Path, entry: ExperimentConfig | None = None) -> None:
    """Draw ``qc.svg`` and ``intensity.svg``, and ``simulation.png`` of a simulated experiment.

    Parameters
    ----------
    folder : Path
        With ``cells.parquet``, ``summary.json`` and ``statistics.parquet``.
    entry : ExperimentConfig, optional
        Of a simulated experiment, whose plate, tracks and truth are read.
    """
    import pyarrow.parquet as pq

    from dynaclr.figures.intensity import draw_intensity
    from dynaclr.figures.simulation import draw_simulation
    from dynaclr.figures.tracks import COLUMNS, draw_tracks

    summary = read_json(folder / "summary.json")
    cells = pq.read_table(_made(folder / "cells.parquet"), columns=COLUMNS)
    draw_tracks(cells, summary, folder / "qc.svg")
    statistics = pd.read_parquet(_made(folder / "statistics.parquet"))
    indexed = ExperimentConfig.model_validate(summary["entry"])
    draw_intensity(statistics, indexed, folder / "intensity.svg")
    if entry is not None and entry.simulation is not None:
        draw_simulation(entry, folder / "simulation.png")


def draw_collection(folder: Path) -> None:
    """Draw ``composition.svg`` from ``index.arrow``."""
    import pyarrow as pa

    from dynaclr.figures.composition import draw_composition

    with pa.memory_map(str(_made(folder / "index.arrow"))) as source:
        batch = pa.ipc.open_file(source).get_batch(0)
        draw_composition(batch, folder / "composition.svg")


def draw_training(folder: Path) -> None:
    """Draw ``curves.svg`` from ``metrics.csv`` and ``provenance.json``."""
    from dynaclr.figures.training import draw_curves

    history = pd.read_csv(_made(folder / "metrics.csv"))
    best_epoch = read_json(folder / "provenance.json")["best_epoch"]
    model, seed = folder.absolute().parts[-2:]
    draw_curves(history, best_epoch, f"{model}, {seed}", folder / "curves.svg")


def _made(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run the stage that makes it first.")
    return path
