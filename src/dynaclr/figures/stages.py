"""What each ``dynaclr figures`` command reads and draws: the products of a stage in one folder."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dynaclr.experiments import ExperimentConfig, UserError
from dynaclr.experiments.files import atomic_path, read_json

# Columns of text in tables; a name may be all digits, a date for example, or read "NA".
_TEXT = (
    *("model", "variant", "kind", "task", "label", "estimate", "experiment", "metric", "better"),
    *("first", "second", "per_seed", "true"),
)


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


def draw_evaluation(folder: Path) -> None:
    """Draw all figures of an evaluation.

    Parameters
    ----------
    folder : Path
        With ``metrics.csv``, ``confusion.csv``, ``reliability.csv``, ``learning.csv``,
        ``curves.csv``, ``predictions.parquet`` and ``maps.h5ad``.
    """
    import anndata

    from dynaclr.figures import classifiers, curves, panels, predictions
    from dynaclr.figures.embedding import draw_embeddings
    from dynaclr.figures.tasks import tasks_of

    metrics = _read_csv(folder / "metrics.csv")
    # Its predicted classes are text, where those of other tables are numbers.
    confusion = _read_csv(folder / "confusion.csv", "predicted")
    over_hours = _read_csv(folder / "curves.csv")
    columns = ["task", "experiment", "variant", "label", "class", "probability"]
    predicted = pd.read_parquet(_made(folder / "predictions.parquet"), columns=columns)
    tasks = tasks_of(metrics, confusion)
    classifiers.draw_classifiers(tasks, metrics, folder / "classifiers.svg")
    classifiers.draw_learning(_read_csv(folder / "learning.csv"), folder / "learning.svg")
    predictions.draw_roc(tasks, predicted, folder / "roc.svg")
    predictions.draw_confusion(tasks, confusion, folder / "confusion.svg")
    reliability = _read_csv(folder / "reliability.csv")
    predictions.draw_reliability(tasks, reliability, folder / "reliability.svg")
    for name in ("mixing", "kept", "behaviour", "health"):
        getattr(panels, f"draw_{name}")(metrics, folder / f"{name}.svg")
    for name in ("resolution", "temporal", "kinetics"):
        getattr(curves, f"draw_{name}")(over_hours, folder / f"{name}.svg")
    store = anndata.read_h5ad(_made(folder / "maps.h5ad"))
    draw_embeddings(store, folder / "embedding.png")


def draw_comparison(folder: Path) -> None:
    """Draw ``figures/<metric>.svg`` of each compared metric from both tables of a comparison."""
    from dynaclr.figures.comparison import draw_metric

    metrics, differences = (
        _read_csv(folder / name).fillna({"task": ""}) for name in ("metrics.csv", "differences.csv")
    )
    base = metrics["metric"].str.split(":").str[0]
    with atomic_path(folder / "figures") as temporary:
        temporary.mkdir()
        for metric in base[metrics["compared"]].unique():
            draw_metric(metrics[base == metric], differences, temporary / f"{metric}.svg")


def _made(path: Path) -> Path:
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run the stage that makes it first.")
    return path


def _read_csv(path: Path, *text: str) -> pd.DataFrame:
    types = dict.fromkeys((*_TEXT, *text), str)
    return pd.read_csv(_made(path), dtype=types, keep_default_na=False, na_values=[""])
