"""Figures of what runs over hours: resolution of responses, displacement, distance to control."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dynaclr.config.variants import first_of_each_kind, ordered_variants, uncorrected
from dynaclr.figures.style import draw_nothing, figure_style, kind_color, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HOURS = "hours post infection or perturbation"
_COLUMNS = 4


def draw_resolution(curves: pd.DataFrame, path: str | Path) -> None:
    """AUROC within condition and hour window over hours, one panel a task and experiment.

    Parameters
    ----------
    curves : pandas.DataFrame
        The table of curves; an empty one gives a figure that says so.
    path : str or Path
    """
    _draw(curves, "window_auroc", path, (_HOURS, "AUROC within condition and window"), 0.5)


def draw_temporal(curves: pd.DataFrame, path: str | Path) -> None:
    """Mean squared displacement over lag, relative to random pairs, one panel an experiment."""
    _draw(curves, "msd", path, ("lag (hours)", "displacement² / that of random pairs"), 1.0)


def draw_kinetics(curves: pd.DataFrame, path: str | Path) -> None:
    """Distance (MMD, z-score) of each condition to control over hours, one panel an experiment."""
    _draw(curves, "mmd_z", path, (_HOURS, "MMD to control (z-score)"), 0.0)


def _draw(
    curves: pd.DataFrame,
    metric: str,
    path: str | Path,
    labels: tuple[str, str],
    chance: float,
) -> None:
    import matplotlib.pyplot as plt

    with figure_style():
        curves = curves[curves["metric"].str.split(":").str[0] == metric]
        if not len(curves):
            return draw_nothing("no curve: see the notes of the metrics table", path)
        panels = _panels(curves, metric)
        n_columns = min(_COLUMNS, len(panels))
        n_rows = -(-len(panels) // n_columns)
        figure, axes = plt.subplots(
            n_rows,
            n_columns,
            figsize=(3.1 * n_columns + 1.5, 2.7 * n_rows),
            squeeze=False,
            sharey=True,
        )
        for axis in axes.flat[len(panels) :]:
            axis.set_visible(False)
        for axis, (title, part) in zip(axes.flat, panels, strict=False):
            _draw_panel(axis, part, chance)
            axis.set(xlabel=labels[0], title=title)
        for row in axes:
            row[0].set_ylabel(labels[1])
        handles, names = axes[0, 0].get_legend_handles_labels()
        axes[0, -1].legend(handles[::-1], names[::-1], loc="center left", bbox_to_anchor=(1.0, 0.5))
        return save_figure(figure, path)


def _panels(curves: pd.DataFrame, metric: str) -> list[tuple[str, pd.DataFrame]]:
    panels = []
    keys = ["task", "experiment", "metric"]
    for (task, experiment, name), part in curves.groupby(keys, sort=True, dropna=False):
        words = [name.partition(":")[2], experiment.strip("()")]
        if metric == "window_auroc":
            words.insert(0, task)
        first = ordered_variants(part["variant"])[0].name
        n_rows = part.loc[part["variant"] == first, "n_rows"]
        count = f"n = {n_rows.min():,.0f} to {n_rows.max():,.0f} a point"
        panels.append((": ".join(filter(None, words)) + f"\n{count}", part))
    return panels


def _draw_panel(axis: Axes, table: pd.DataFrame, chance: float) -> None:
    axis.axhline(chance, color="#444444", linestyle="--", linewidth=1)
    variants = uncorrected(ordered_variants(table["variant"].unique()))
    shown = first_of_each_kind(variants)
    for place, variant in enumerate(reversed(variants)):
        line = table[table["variant"] == variant.name].sort_values("hours")
        color = kind_color(variant.kind)
        title = variant.title.partition(",")[0] if variant in shown else None
        axis.plot(line["hours"], line["value"], "o-", color=color, markersize=3, label=title)
        if variant == variants[0] and line["low"].notna().any():
            axis.fill_between(line["hours"], line["low"], line["high"], color=color, alpha=0.15)
        axis.lines[-1].set_zorder(2 + 0.01 * place)
