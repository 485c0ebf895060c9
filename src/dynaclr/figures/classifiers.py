"""Figures of classifiers beside baselines: their scores, and how many annotations they need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dynaclr.config.variants import Variant, first_of_each_kind, ordered_variants
from dynaclr.figures.style import (
    count_of,
    draw_nothing,
    face_of,
    figure_style,
    kind_color,
    save_figure,
)
from dynaclr.figures.tasks import HELD_OUT, Task, set_title
from dynaclr.figures.titles import title_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MARKERS = "osD^vPX"
_NULL = "#dddddd"
_METRICS = ("auroc", "average_precision")


def draw_classifiers(tasks: Sequence[Task], metrics: pd.DataFrame, path: str | Path) -> None:
    """AUROC and average precision with 95 % intervals, one row a task, baselines below.

    The broken line is chance: 0.5, or the share of positives; the grey bar behind a line is what
    shuffled labels give.

    Parameters
    ----------
    tasks : sequence of Task
    metrics : pandas.DataFrame
        The metrics table.
    path : str or Path
    """
    import matplotlib.pyplot as plt

    with figure_style():
        if not tasks:
            return draw_nothing("No evaluation task is configured", path)
        tables = [_scores(metrics, task) for task in tasks]
        n_lines = max(
            table["variant"].nunique() * len(task.sets)
            for task, table in zip(tasks, tables, strict=True)
        )
        height = len(tasks) * max(2.2, 0.9 + 0.3 * n_lines)
        figure, axes = plt.subplots(
            len(tasks), 2, figsize=(8.4, height), squeeze=False, sharey="row"
        )
        for row, task, table in zip(axes, tasks, tables, strict=True):
            for axis, metric in zip(row, _METRICS, strict=True):
                _draw_intervals(axis, task, table[table["metric"] == metric], metric)
            variants = ordered_variants(table["variant"].unique())
            if _draw_nulls(row[0], table[table["metric"] == "auroc_null"], variants):
                row[1].fill_between([], [], color=_NULL, label="AUROC of shuffled\nlabels (95 %)")
            row[0].set_yticks(range(len(variants)), [variant.title for variant in variants])
            row[0].set_ylim(len(variants) - 0.4, -0.6)
            row[0].set_title(f"{task.name}: {title_of('auroc')}")
            row[1].set_title(f"{title_of('average_precision')}{_positive(task)}")
            held_out = task.sets[0].estimate == HELD_OUT
            title = "Held out" if held_out else "Cross-validated"
            row[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title=title)
        return save_figure(figure, path)


def _scores(metrics: pd.DataFrame, task: Task) -> pd.DataFrame:
    """What is drawn of a task: scores of the shown sets, and of shuffled labels."""
    own = metrics[(metrics["task"] == task.name) & (metrics["estimate"] == task.sets[0].estimate)]
    shown = [scored.experiment for scored in task.sets]
    return own[own["metric"].isin([*_METRICS, "auroc_null"]) & own["experiment"].isin(shown)]


def _draw_nulls(axis: Axes, nulls: pd.DataFrame, variants: Sequence[Variant]) -> bool:
    """Grey bars of what shuffled labels give, mean over the shown experiments; whether any is."""
    for place, variant in enumerate(variants):
        here = nulls[nulls["variant"] == variant.name]
        span = [here["low"].mean(), here["high"].mean()]
        axis.fill_betweenx([place - 0.4, place + 0.4], *span, color=_NULL, zorder=0, linewidth=0)
    return bool(nulls["value"].notna().any())


def _draw_intervals(axis: Axes, task: Task, table: pd.DataFrame, metric: str) -> None:
    for number, scored in enumerate(task.sets):
        here = table[table["experiment"] == scored.experiment].set_index("variant")
        marker = _MARKERS[number % len(_MARKERS)]
        offset = 0.6 * ((number + 0.5) / len(task.sets) - 0.5)
        for place, variant in enumerate(ordered_variants(here.index)):
            _draw_interval(axis, here.loc[variant.name], variant, place + offset, marker)
        axis.plot([], [], marker, color="#444444", label=set_title(scored))
    # Of a classifier that knows nothing; the same for all variants.
    chance = table.drop_duplicates("experiment")["expected"].mean()
    chance = chance if np.isfinite(chance) else 0.5
    axis.axvline(chance, color="#444444", linestyle="--", linewidth=1, label="chance")
    axis.set_xlim(np.fmin(chance, table[["value", "low"]].min().min()) - 0.04, 1.09)
    axis.set_xlabel(f"{title_of(metric)}, 95 % interval")
    if table["value"].isna().all():
        text = "no value: see the notes of the table"
        axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center")


def _draw_interval(
    axis: Axes, line: pd.Series, variant: Variant, place: float, marker: str
) -> None:
    if not np.isfinite(line["value"]):
        return
    color = kind_color(variant.kind)
    ends = [line["low"], line["high"]]
    axis.plot(ends, [place, place], color=color, linewidth=2, solid_capstyle="butt")
    axis.plot(line["value"], place, marker, color=color, **face_of(variant))
    right = np.fmax(line["high"], line["value"])
    axis.annotate(
        f"{line['value']:.2f}",
        (right, place),
        (4, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
    )


def _positive(task: Task) -> str:
    if len(task.classes) != 2:
        return " (mean over classes)" if task.classes else ""
    return f" ({task.label} = {task.classes[1]})"


def draw_learning(learning: pd.DataFrame, path: str | Path) -> None:
    """AUROC on held-out experiments over the number of annotated lineages, one panel a task.

    Parameters
    ----------
    learning : pandas.DataFrame
        The table of learning curves.
    path : str or Path
    """
    import matplotlib.pyplot as plt

    with figure_style():
        if not len(learning):
            return draw_nothing("no learning curve: nothing is held out or trained", path)
        tasks = learning.groupby("task", sort=False)
        figure, axes = plt.subplots(
            1, tasks.ngroups, figsize=(3.4 * tasks.ngroups + 1.6, 3.1), squeeze=False, sharey=True
        )
        for axis, (name, table) in zip(axes[0], tasks, strict=True):
            variants = ordered_variants(table["variant"].unique())
            for variant in first_of_each_kind(variants):
                line = table[table["variant"] == variant.name].sort_values("n_lineages")
                color = kind_color(variant.kind)
                axis.plot(line["n_lineages"], line["value"], "o-", color=color, label=variant.title)
                if variant == variants[0]:
                    span = (line["low"], line["high"])
                    axis.fill_between(line["n_lineages"], *span, color=color, alpha=0.15)
            axis.axhline(0.5, color="#444444", linestyle="--", linewidth=1)
            sizes = sorted(table["n_lineages"].unique())
            axis.set_xscale("log", base=2)
            axis.set_xticks(sizes, [f"{size:g}" for size in sizes])
            axis.minorticks_off()
            axis.set(
                xlabel="annotated lineages", title=f"{name}\n{count_of(table['n_rows'].max())}"
            )
        axes[0, 0].set_ylabel("AUROC, held out\n(mean and range of draws)")
        axes[0, -1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        return save_figure(figure, path)
