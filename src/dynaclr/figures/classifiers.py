"""Figures of classifiers beside baselines: their scores, and how many annotations they need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dynaclr.config.metrics import HELD_OUT
from dynaclr.config.variants import Variant, first_of_each_kind, ordered_variants
from dynaclr.figures.style import (
    REFERENCE,
    count_text,
    draw_message,
    figure_style,
    kind_color,
    legend_beside,
    marker_face,
    panel_grid,
    save_figure,
)
from dynaclr.figures.tasks import NO_TASK, Task
from dynaclr.figures.titles import title_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MARKERS = "osD^vPX"
_NULL = "#dddddd"
_METRICS = ("auroc", "average_precision")


def draw_classifiers(tasks: Sequence[Task], metrics: pd.DataFrame, path: str | Path) -> None:
    """Draw AUROC and average precision with 95 % intervals, one row a task, baselines below.

    The broken line is chance: 0.5, or the share of positives; the grey bar behind a line is what
    shuffled labels give.

    Parameters
    ----------
    tasks : sequence of Task
    metrics : pandas.DataFrame
        The metrics table.
    path : str or Path
        Where to write; the suffix says the format.
    """
    with figure_style():
        if not tasks:
            return draw_message(NO_TASK, path)
        tables = []
        for task in tasks:
            own = (metrics["task"] == task.name) & (metrics["estimate"] == task.sets[0].estimate)
            shown = metrics["experiment"].isin([scored.experiment for scored in task.sets])
            tables.append(metrics[own & shown & metrics["metric"].isin([*_METRICS, "auroc_null"])])
        n_lines = max(
            table["variant"].nunique() * len(task.sets)
            for task, table in zip(tasks, tables, strict=True)
        )
        height = max(2.2, 0.9 + 0.3 * n_lines)
        figure, axes = panel_grid(2 * len(tasks), (4.2, height), 2, sharey="row")
        for row, task, table in zip(axes, tasks, tables, strict=True):
            _draw_task(row, task, table)
        return save_figure(figure, path)


def _draw_task(row: Sequence[Axes], task: Task, table: pd.DataFrame) -> None:
    """Draw the AUROC and the average precision of one task."""
    for axis, metric in zip(row, _METRICS, strict=True):
        _draw_intervals(axis, task, table[table["metric"] == metric], metric)
    variants = ordered_variants(table["variant"].unique())
    nulls = table[table["metric"] == "auroc_null"].groupby("variant")[["low", "high"]].mean()
    for line, variant in enumerate(variants):
        if variant.name in nulls.index:
            span = nulls.loc[variant.name]
            row[0].fill_betweenx([line - 0.4, line + 0.4], *span, color=_NULL, zorder=0, lw=0)
    if nulls.notna().any(axis=None):
        row[1].fill_between([], [], color=_NULL, label="AUROC of shuffled\nlabels (95 %)")
    row[0].set_yticks(range(len(variants)), [variant.title for variant in variants])
    row[0].set_ylim(len(variants) - 0.4, -0.6)
    row[0].set_title(f"{task.name}: {title_of('auroc')}")
    positive = " (mean over classes)" if task.classes else ""
    if len(task.classes) == 2:
        positive = f" ({task.label} = {task.classes[1]})"
    row[1].set_title(f"{title_of('average_precision')}{positive}")
    held_out = task.sets[0].estimate == HELD_OUT
    legend_beside(row[1], title="Held out" if held_out else "Cross-validated")


def _draw_intervals(axis: Axes, task: Task, table: pd.DataFrame, metric: str) -> None:
    """Draw one metric of a task: a marker an experiment, a line a variant."""
    for number, scored in enumerate(task.sets):
        here = table[table["experiment"] == scored.experiment].set_index("variant")
        marker = _MARKERS[number % len(_MARKERS)]
        offset = 0.6 * ((number + 0.5) / len(task.sets) - 0.5)
        for line, variant in enumerate(ordered_variants(here.index)):
            _draw_interval(axis, here.loc[variant.name], variant, line + offset, marker)
        axis.plot([], [], marker, color=REFERENCE, label=scored.title)
    # Of a classifier that knows nothing; the same for all variants.
    chance = table.drop_duplicates("experiment")["expected"].mean()
    chance = chance if np.isfinite(chance) else 0.5
    axis.axvline(chance, color=REFERENCE, linestyle="--", linewidth=1, label="chance")
    axis.set_xlim(np.fmin(chance, table[["value", "low"]].min().min()) - 0.04, 1.09)
    axis.set_xlabel(f"{title_of(metric)}, 95 % interval")
    if table["value"].isna().all():
        text = "no value: see the notes of the table"
        axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center")


def _draw_interval(axis: Axes, row: pd.Series, variant: Variant, y: float, marker: str) -> None:
    if not np.isfinite(row["value"]):
        return
    color = kind_color(variant.kind)
    axis.plot([row["low"], row["high"]], [y, y], color=color, lw=2, solid_capstyle="butt")
    axis.plot(row["value"], y, marker, color=color, **marker_face(variant))
    right = np.fmax(row["high"], row["value"])
    text = f"{row['value']:.2f}"
    axis.annotate(text, (right, y), (4, 0), textcoords="offset points", va="center", fontsize=7)


def draw_learning(learning: pd.DataFrame, path: str | Path) -> None:
    """Draw AUROC on held-out experiments over the number of annotated lineages, a panel a task.

    Parameters
    ----------
    learning : pandas.DataFrame
        The table of learning curves.
    path : str or Path
        Where to write; the suffix says the format.
    """
    with figure_style():
        if not len(learning):
            return draw_message("no learning curve: nothing is held out or trained", path)
        tasks = learning.groupby("task", sort=False)
        figure, axes = panel_grid(tasks.ngroups, (3.4, 3.1), margin=1.6, sharey=True)
        for axis, (name, table) in zip(axes[0], tasks, strict=True):
            variants = ordered_variants(table["variant"].unique())
            for variant in first_of_each_kind(variants):
                own = table[table["variant"] == variant.name]
                # The mean over held-out experiments.
                line = own.groupby("n_lineages")[["value", "low", "high"]].mean().reset_index()
                color = kind_color(variant.kind)
                axis.plot(line["n_lineages"], line["value"], "o-", color=color, label=variant.title)
                if variant == variants[0]:
                    span = (line["low"], line["high"])
                    axis.fill_between(line["n_lineages"], *span, color=color, alpha=0.15)
            axis.axhline(0.5, color=REFERENCE, linestyle="--", linewidth=1)
            sizes = sorted(table["n_lineages"].unique())
            axis.set_xscale("log", base=2)
            axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
            axis.minorticks_off()
            n_rows = table.drop_duplicates("experiment")["n_rows"].sum()
            title = f"{name}\n{count_text(n_rows)}"
            axis.set(xlabel="annotated lineages", title=title)
        axes[0, 0].set_ylabel("AUROC, held out\n(mean and range of draws)")
        legend_beside(axes[0, -1])
        return save_figure(figure, path)
