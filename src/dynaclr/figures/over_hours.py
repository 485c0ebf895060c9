"""Figures over hours: resolution of responses, displacement, distance to control."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from dynaclr.config.variants import first_of_each_kind, ordered_variants, uncorrected
from dynaclr.figures.style import (
    REFERENCE,
    draw_message,
    figure_style,
    kind_color,
    legend_beside,
    panel_grid,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HOURS = "hours post infection or perturbation"
_N_COLUMNS = 4


class _Kind(NamedTuple):
    """What a figure shows: a metric of the table of curves, and its value by chance."""

    metric: str
    x_label: str
    y_label: str
    chance: float


FIGURES = {
    "resolution": _Kind("window_auroc", _HOURS, "AUROC within condition and window", 0.5),
    "temporal": _Kind("msd", "lag (hours)", "displacement² / that of random pairs", 1.0),
    "kinetics": _Kind("mmd_z", _HOURS, "MMD to control (z-score)", 0.0),
}


def draw_over_hours(curves: pd.DataFrame, name: str, path: str | Path) -> None:
    """Draw a metric over hours, one panel an experiment, condition or class.

    Parameters
    ----------
    curves : pandas.DataFrame
        The table of curves; without rows of the metric the figure says so.
    name : str
        One of `FIGURES`.
    path : str or Path
        Where to write; the suffix says the format.
    """
    kind = FIGURES[name]
    curves = curves[curves["metric"].str.split(":").str[0] == kind.metric]
    with figure_style():
        if not len(curves):
            return draw_message("no curve: see the notes of the metrics table", path)
        keys = ["task", "experiment", "metric"]
        panels = list(curves.groupby(keys, sort=True, dropna=False))
        figure, axes = panel_grid(len(panels), (3.1, 2.7), _N_COLUMNS, margin=1.5, sharey=True)
        for axis, ((task, experiment, metric), table) in zip(axes.flat, panels, strict=False):
            _draw_panel(axis, table, kind.chance)
            words = [metric.partition(":")[2], experiment.strip("()")]
            if name == "resolution":
                words.insert(0, task)
            first = ordered_variants(table["variant"])[0].name
            n_rows = table.loc[table["variant"] == first, "n_rows"]
            count = f"n = {n_rows.min():,.0f} to {n_rows.max():,.0f} a point"
            axis.set(xlabel=kind.x_label, title=": ".join(filter(None, words)) + f"\n{count}")
        for row in axes:
            row[0].set_ylabel(kind.y_label)
        legend_beside(axes[0, -1], axes[0, 0], reverse=True)
        return save_figure(figure, path)


def _draw_panel(axis: Axes, table: pd.DataFrame, chance: float) -> None:
    axis.axhline(chance, color=REFERENCE, linestyle="--", linewidth=1)
    variants = uncorrected(ordered_variants(table["variant"].unique()))
    labelled = first_of_each_kind(variants)
    for number, variant in enumerate(reversed(variants)):
        line = table[table["variant"] == variant.name].sort_values("hours")
        color = kind_color(variant.kind)
        title = variant.title.partition(",")[0] if variant in labelled else None
        axis.plot(line["hours"], line["value"], "o-", color=color, markersize=3, label=title)
        if variant == variants[0] and line["low"].notna().any():
            axis.fill_between(line["hours"], line["low"], line["high"], color=color, alpha=0.15)
        # The first variant lies on top.
        axis.lines[-1].set_zorder(2 + 0.01 * number)
