"""Figures of a comparison of models, one for each metric."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from dynaclr.config.variants import KINDS, kind_title
from dynaclr.figures.style import (
    REFERENCE,
    figure_style,
    kind_color,
    legend_beside,
    panel_grid,
    save_figure,
)
from dynaclr.figures.tables import read_table
from dynaclr.figures.titles import direction_of, title_of
from dynaclr.io.artifacts import atomic_path
from dynaclr.io.metric_tables import read_metrics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANEL_KEYS = ["task", "estimate", "metric"]


def draw_comparison(folder: Path) -> None:
    """Draw ``figures/<metric>.svg`` of each compared metric from both tables of a comparison.

    Parameters
    ----------
    folder : Path
        With ``metrics.csv`` and ``differences.csv``.

    Raises
    ------
    UserError
        When one of them is missing, or has a metric that this version does not know.
    """
    metrics = read_metrics(folder / "metrics.csv", "per_seed").fillna({"task": ""})
    differences = read_table(folder / "differences.csv").fillna({"task": ""})
    base = metrics["metric"].str.split(":").str[0]
    with atomic_path(folder / "figures") as temporary:
        temporary.mkdir()
        for metric in base[metrics["compared"]].unique():
            draw_metric(metrics[base == metric], differences, temporary / f"{metric}.svg")


def draw_metric(metrics: pd.DataFrame, differences: pd.DataFrame, path: str | Path) -> None:
    """Draw one metric of all models: seeds, mean and interval, and baselines on the same cells.

    An asterisk marks models that differ from the one they are contrasted with.

    Parameters
    ----------
    metrics : pandas.DataFrame
        Rows of the comparison's metrics table of one metric; one panel a task, estimate and
        condition.
    differences : pandas.DataFrame
        The differences table.
    path : str or Path
        Where to write; the suffix says the format.
    """
    with figure_style():
        panels = list(metrics.groupby(_PANEL_KEYS, sort=True))
        models = list(dict.fromkeys(metrics["model"]))
        size = (3.6, 1.3 + 0.34 * len(models))
        figure, axes = panel_grid(len(panels), size, margin=2.6, sharey=True)
        for axis, (keys, table) in zip(axes[0], panels, strict=True):
            for line, model in enumerate(models):
                _draw_model(axis, table[table["model"] == model], line)
            _label_panel(axis, table, *keys)
            here = differences[(differences[_PANEL_KEYS] == list(keys)).all(axis=1)]
            _mark_differences(axis, here, models)
        axes[0, 0].set_yticks(range(len(models)), models)
        axes[0, 0].set_ylim(len(models) - 0.4, -0.6)
        legend_beside(axes[0, -1])
        save_figure(figure, path)


def _draw_model(axis: Axes, rows: pd.DataFrame, line: int) -> None:
    for kind in KINDS:
        here = rows[rows["kind"] == kind]
        if here.empty or not np.isfinite(here["value"].iloc[0]):
            continue
        row, color = here.iloc[0], kind_color(kind)
        if kind != "trained":
            axis.plot(row["value"], line, "|", color=color, markersize=11, label=kind_title(kind))
            continue
        axis.plot([row["low"], row["high"]], [line, line], color=color, linewidth=2)
        axis.plot(row["value"], line, "o", color=color, label="trained: mean, 95 %")
        seeds = [float(value) for value in row["per_seed"].split()]
        small: dict[str, Any] = {"color": color, "markersize": 4, "alpha": 0.6}
        axis.plot(seeds, [line + 0.24] * len(seeds), ".", label="trained: seeds", **small)


def _label_panel(axis: Axes, table: pd.DataFrame, task: str, estimate: str, metric: str) -> None:
    direction = direction_of(table)
    axis.set_xlabel(textwrap.fill(title_of(metric) + (f" ({direction})" if direction else ""), 36))
    trained = table[table["kind"] == "trained"]
    n_seeds, n_experiments = trained["n_seeds"].max(), trained["n_experiments"].max()
    words = [task, estimate.replace("_", " "), metric.partition(":")[2]]
    count = f"n = {n_seeds} seed(s), {n_experiments} experiment(s)"
    axis.set_title(": ".join(filter(None, words)) + f"\n{count}", fontsize=9)
    if np.isfinite(trained["expected"]).any():
        chance = trained["expected"].mean()
        axis.axvline(chance, color=REFERENCE, linestyle="--", linewidth=1, label="by chance")


def _mark_differences(axis: Axes, differences: pd.DataFrame, models: Sequence[str]) -> None:
    for row in differences[differences["p_corrected"] <= 0.05].to_dict("records"):
        axis.annotate(
            f"* to {row['second']}",
            (1.0, models.index(row["first"])),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 5),
            textcoords="offset points",
            ha="right",
            fontsize=7,
        )
