"""All figures of one model's evaluation."""

from __future__ import annotations

from pathlib import Path

import anndata
import pandas as pd

from dynaclr.figures import classifiers, curves, panels, predictions
from dynaclr.figures.embedding import draw_embeddings
from dynaclr.figures.tables import made, read_csv
from dynaclr.figures.tasks import tasks_of


def draw_evaluation(folder: Path) -> None:
    """Draw all figures of an evaluation.

    Parameters
    ----------
    folder : Path
        With ``metrics.csv``, ``confusion.csv``, ``reliability.csv``, ``learning.csv``,
        ``curves.csv``, ``predictions.parquet`` and ``maps.h5ad``.
    """
    metrics = read_csv(folder / "metrics.csv")
    # Its predicted classes are text, where those of other tables are numbers.
    confusion = read_csv(folder / "confusion.csv", "predicted")
    over_hours = read_csv(folder / "curves.csv")
    columns = ["task", "experiment", "variant", "label", "class", "probability"]
    predicted = pd.read_parquet(made(folder / "predictions.parquet"), columns=columns)
    tasks = tasks_of(metrics, confusion)
    classifiers.draw_classifiers(tasks, metrics, folder / "classifiers.svg")
    classifiers.draw_learning(read_csv(folder / "learning.csv"), folder / "learning.svg")
    predictions.draw_roc(tasks, predicted, folder / "roc.svg")
    predictions.draw_confusion(tasks, confusion, folder / "confusion.svg")
    reliability = read_csv(folder / "reliability.csv")
    predictions.draw_reliability(tasks, reliability, folder / "reliability.svg")
    for name in ("mixing", "kept", "behaviour", "health"):
        getattr(panels, f"draw_{name}")(metrics, folder / f"{name}.svg")
    for name in ("resolution", "temporal", "kinetics"):
        getattr(curves, f"draw_{name}")(over_hours, folder / f"{name}.svg")
    store = anndata.read_h5ad(made(folder / "maps.h5ad"))
    draw_embeddings(store, folder / "embedding.png")
