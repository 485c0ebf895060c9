"""Figures that hold models side by side, one a metric."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from dynaclr.config.variants import KINDS, kind_title
from dynaclr.figures.style import figure_style, kind_color, save_figure
from dynaclr.figures.tables import read_csv
from dynaclr.figures.titles import direction_of, title_of
from dynaclr.io.artifacts import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_metric(metrics: pd.DataFrame, differences: pd.DataFrame, path: str | Path) -> None:
    """One metric of all models: seeds, mean and interval, and the baselines on the same cells.

    An asterisk marks models that differ from the one they are contrasted with.

    Parameters
    ----------
    metrics : pandas.DataFrame
        Rows of the comparison's metrics table of one metric; one panel a task, estimate and
        condition.
    differences : pandas.DataFrame
        The differences table.
    path : str or Path
    """
    import matplotlib.pyplot as plt

    with figure_style():
        panels = list(metrics.groupby(["task", "estimate", "metric"], sort=True))
        models = list(dict.fromkeys(metrics["model"]))
        figure, axes = plt.subplots(
            1,
            len(panels),
            figsize=(3.6 * len(panels) + 2.6, 1.3 + 0.34 * len(models)),
            squeeze=False,
            sharey=True,
        )
        for axis, (place, table) in zip(axes[0], panels, strict=True):
            for line, model in enumerate(models):
                _draw_model(axis, table[table["model"] == model], line)
            _finish_panel(axis, table, place)
            _mark_differences(axis, differences, models, place)
        axes[0, 0].set_yticks(range(len(models)), models)
        axes[0, 0].set_ylim(len(models) - 0.4, -0.6)
        axes[0, -1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
        save_figure(figure, path)


def _draw_model(axis: Axes, rows: pd.DataFrame, line: int) -> None:
    for kind in KINDS:
        here = rows[rows["kind"] == kind]
        if here.empty or not np.isfinite(here["value"].iloc[0]):
            continue
        row, color = here.iloc[0], kind_color(kind)
        label = kind_title(kind) if line == 0 else None
        if kind != "trained":
            axis.plot(row["value"], line, "|", color=color, markersize=11, label=label)
            continue
        axis.plot([row["low"], row["high"]], [line, line], color=color, linewidth=2)
        axis.plot(
            row["value"], line, "o", color=color, label="trained: mean, 95 %" if label else None
        )
        seeds = [float(value) for value in row["per_seed"].split()]
        axis.plot(
            *(seeds, [line + 0.24] * len(seeds), "."),
            color=color,
            markersize=4,
            alpha=0.6,
            label="trained: seeds" if label else None,
        )


def _finish_panel(axis: Axes, table: pd.DataFrame, place: tuple[str, str, str]) -> None:
    direction = direction_of(table)
    words = title_of(place[2]) + (f" ({direction})" if direction else "")
    axis.set_xlabel(textwrap.fill(words, 36))
    trained = table[table["kind"] == "trained"]
    n_seeds, n_experiments = trained["n_seeds"].max(), trained["n_experiments"].max()
    words = [place[0], place[1].replace("_", " "), place[2].partition(":")[2]]
    count = f"n = {n_seeds} seed(s), {n_experiments} experiment(s)"
    axis.set_title(": ".join(filter(None, words)) + f"\n{count}", fontsize=9)
    if np.isfinite(trained["expected"]).any():
        chance = trained["expected"].mean()
        axis.axvline(chance, color="#444444", linestyle="--", linewidth=1, label="by chance")


def _mark_differences(
    axis: Axes, differences: pd.DataFrame, models: list[str], place: tuple[str, str, str]
) -> None:
    here = differences[(differences[["task", "estimate", "metric"]] == list(place)).all(axis=1)]
    for row in here[here["p_corrected"] <= 0.05].to_dict("records"):
        axis.annotate(
            f"* to {row['second']}",
            (1.0, models.index(row["first"])),
            xycoords=("axes fraction", "data"),
            xytext=(-2, 5),
            textcoords="offset points",
            ha="right",
            fontsize=7,
        )


def draw_comparison(folder: Path) -> None:
    """Draw ``figures/<metric>.svg`` of each compared metric from both tables of a comparison."""
    metrics, differences = (
        read_csv(folder / name).fillna({"task": ""}) for name in ("metrics.csv", "differences.csv")
    )
    base = metrics["metric"].str.split(":").str[0]
    with atomic_path(folder / "figures") as temporary:
        temporary.mkdir()
        for metric in base[metrics["compared"]].unique():
            draw_metric(metrics[base == metric], differences, temporary / f"{metric}.svg")
