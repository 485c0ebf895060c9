"""Figures that question a classifier: calibration, and how many annotated lineages it needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dynaclr.evaluation.calibration import reliability_curve
from dynaclr.evaluation.classification import TaskScores
from dynaclr.evaluation.figures import (
    count_of,
    draw_nothing,
    kind_color,
    legend_beside,
    panel_title,
    task_grid,
)
from dynaclr.experiments.variants import first_of_each_kind, ordered_variants, uncorrected
from dynaclr.figures.style import figure_style, save_figure


def draw_reliability(scores: Sequence[TaskScores], path: str | Path) -> None:
    """Observed against predicted frequency, one row a task and one column a scored experiment.

    Probabilities are at the class shares of the training rows. The area of a point shows how many
    observations are in its bin.
    """
    with figure_style():
        if not scores:
            return draw_nothing("No evaluation task is configured", path)
        figure, rows = task_grid(scores, 3.3, 3.4, legend=1.6)
        for row, task in zip(rows, scores, strict=True):
            for axis, scored in zip(row, task.shown_sets, strict=True):
                axis.plot([0, 1], [0, 1], "--", color="#444444", linewidth=1)
                variants = uncorrected(ordered_variants(scored.probability))
                for variant in first_of_each_kind(variants) if len(scored.true) else []:
                    curve = reliability_curve(scored.true, scored.calibrated(variant.name))
                    color = kind_color(variant.kind)
                    axis.plot(curve.predicted, curve.observed, color=color, label=variant.title)
                    area = 120 * curve.weight / curve.weight.sum()
                    axis.scatter(curve.predicted, curve.observed, s=area, color=color)
                axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="predicted probability")
                axis.set_title(panel_title(task, scored))
            row[0].set_ylabel(_frequency(task))
            legend_beside(row)
        return save_figure(figure, path)


def _frequency(task: TaskScores) -> str:
    if len(task.classes) == 2:
        return f"share with {task.task.label} = {task.classes[1]}"
    return "share predicted rightly"


def draw_learning(learning: pd.DataFrame, path: str | Path) -> None:
    """AUROC on held-out experiments over the number of annotated lineages, one panel a task.

    Parameters
    ----------
    learning : pandas.DataFrame
        Of `dynaclr.evaluation.controls.learning_curve`, with the task.
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
