"""All figures of one model's evaluation."""

from __future__ import annotations

from pathlib import Path

from dynaclr.figures import metric_panels, over_hours
from dynaclr.figures.classifiers import draw_classifiers, draw_learning
from dynaclr.figures.drift import draw_drift
from dynaclr.figures.embedding import draw_embeddings
from dynaclr.figures.predictions import draw_confusion, draw_reliability, draw_roc
from dynaclr.figures.tables import read_table
from dynaclr.figures.tasks import tasks_of
from dynaclr.figures.timing import draw_timing
from dynaclr.io.embeddings import open_anndata
from dynaclr.io.metric_tables import read_metrics
from dynaclr.io.parquet import read_parquet


def draw_evaluation(folder: Path) -> None:
    """Draw all figures of an evaluation.

    Parameters
    ----------
    folder : Path
        With ``metrics.csv``, ``confusion.csv``, ``reliability.csv``, ``learning.csv``,
        ``curves.csv``, ``timing.csv``, ``drift.csv``, ``predictions.parquet`` and
        ``maps.h5ad``.

    Raises
    ------
    UserError
        When one of them is missing, or has a metric that this version does not know.
    """
    metrics = read_metrics(folder / "metrics.csv")
    # Its predicted classes are text, where those of other tables are numbers.
    confusion = read_table(folder / "confusion.csv", "predicted")
    columns = ["task", "experiment", "variant", "label", "class", "probability"]
    predicted = read_parquet(folder / "predictions.parquet", columns).to_pandas()
    tasks = tasks_of(metrics, confusion)
    draw_classifiers(tasks, metrics, folder / "classifiers.svg")
    draw_learning(read_table(folder / "learning.csv"), folder / "learning.svg")
    draw_roc(tasks, predicted, folder / "roc.svg")
    draw_confusion(tasks, confusion, folder / "confusion.svg")
    draw_reliability(tasks, read_table(folder / "reliability.csv"), folder / "reliability.svg")
    draw_drift(read_table(folder / "drift.csv"), folder / "drift.svg")
    for name in metric_panels.FIGURES:
        metric_panels.draw_metric_panels(metrics, name, folder / f"{name}.svg")
    curves = read_table(folder / "curves.csv")
    for name in over_hours.FIGURES:
        over_hours.draw_over_hours(curves, name, folder / f"{name}.svg")
    draw_timing(read_table(folder / "timing.csv"), metrics, folder / "timing.svg")
    draw_embeddings(open_anndata(folder / "maps.h5ad"), folder / "embedding.png")
