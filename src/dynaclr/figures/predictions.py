"""Figures of predicted classes: ROC curves, confusion matrices, calibration.

One row a task and one column a held-out experiment.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import roc_curve

from dynaclr.config.variants import first_of_each_kind, kind_title, ordered_variants, uncorrected
from dynaclr.figures.style import draw_nothing, figure_style, kind_color, save_figure
from dynaclr.figures.tasks import HELD_OUT, ScoredSet, Task, legend_beside, task_grid

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


def draw_roc(tasks: Sequence[Task], predictions: pd.DataFrame, path: str | Path) -> None:
    """ROC curves; with more than two classes the mean over one class against the rest.

    Parameters
    ----------
    tasks : sequence of Task
    predictions : pandas.DataFrame
        Probability of each class of held-out observations by each variant.
    path : str or Path
    """
    with figure_style():
        if not tasks:
            return draw_nothing("No evaluation task is configured", path)
        figure, rows = task_grid(tasks, 3.4, 3.5, legend=1.6)
        for row, task in zip(rows, tasks, strict=True):
            of_task = predictions[predictions["task"] == task.name]
            for axis, scored in zip(row, task.sets, strict=True):
                here = of_task[of_task["experiment"] == scored.experiment]
                _draw_roc_panel(axis, task, scored, here)
            legend_beside(row)
        return save_figure(figure, path)


def draw_confusion(tasks: Sequence[Task], confusion: pd.DataFrame, path: str | Path) -> None:
    """Confusion matrices of the first trained variant: share of each true class, and counts.

    Parameters
    ----------
    tasks : sequence of Task
    confusion : pandas.DataFrame
        The table of confusion counts.
    path : str or Path
    """
    with figure_style():
        if not tasks:
            return draw_nothing("No evaluation task is configured", path)
        figure, rows = task_grid(tasks, 3.6, 3.3)
        for row, task in zip(rows, tasks, strict=True):
            for axis, scored in zip(row, task.sets, strict=True):
                _draw_confusion_panel(axis, task, scored, task.rows(confusion, scored))
        return save_figure(figure, path)


def draw_reliability(tasks: Sequence[Task], reliability: pd.DataFrame, path: str | Path) -> None:
    """Observed against predicted frequency.

    Probabilities are at the class shares of the training rows. The area of a point shows how many
    observations are in its bin.

    Parameters
    ----------
    tasks : sequence of Task
    reliability : pandas.DataFrame
        The table of reliability by bin.
    path : str or Path
    """
    with figure_style():
        if not tasks:
            return draw_nothing("No evaluation task is configured", path)
        figure, rows = task_grid(tasks, 3.3, 3.4, legend=1.6)
        for row, task in zip(rows, tasks, strict=True):
            for axis, scored in zip(row, task.sets, strict=True):
                axis.plot([0, 1], [0, 1], "--", color="#444444", linewidth=1)
                here = task.rows(reliability, scored)
                variants = uncorrected(ordered_variants(here["variant"].unique()))
                for variant in first_of_each_kind(variants):
                    curve = here[here["variant"] == variant.name].set_index("bin")
                    # An empty bin has no row, and the line a gap there.
                    curve = curve.reindex(range(curve.index.max() + 1))
                    points = curve["predicted"], curve["observed"]
                    color = kind_color(variant.kind)
                    axis.plot(*points, color=color, label=variant.title)
                    area = 120 * curve["n_rows"] / curve["n_rows"].sum()
                    axis.scatter(*points, s=area, color=color)
                axis.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="predicted probability")
                axis.set_title(task.panel_title(scored))
            row[0].set_ylabel(_frequency(task))
            legend_beside(row)
        return save_figure(figure, path)


def _draw_roc_panel(axis: Axes, task: Task, scored: ScoredSet, predictions: pd.DataFrame) -> None:
    axis.plot([0, 1], [0, 1], "--", color="#444444", linewidth=1, zorder=1)
    variants = uncorrected(ordered_variants(predictions["variant"].unique()))
    labelled = predictions[predictions["label"].isin(task.classes)]
    for place, variant in enumerate(variants):
        false_rate, true_rate = mean_roc(
            labelled[labelled["variant"] == variant.name], task.classes
        )
        axis.plot(
            false_rate,
            true_rate,
            color=kind_color(variant.kind),
            label=kind_title(variant.kind) if variant in first_of_each_kind(variants) else None,
            # The trained model lies on top of its baselines.
            zorder=3 - 0.1 * place,
        )
    axis.set_aspect("equal")
    axis.set(
        xlim=(-0.02, 1.02),
        ylim=(-0.02, 1.02),
        xlabel="False positive rate",
        ylabel="True positive rate" + (", mean over classes" if len(task.classes) > 2 else ""),
    )
    axis.set_title(task.panel_title(scored))
    if not variants:
        reason = "" if scored.estimate == HELD_OUT else ":\nnothing is held out"
        axis.text(0.5, 0.25, f"no curve{reason}", ha="center")


def mean_roc(predictions: pd.DataFrame, classes: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """ROC curve; with more than two classes the mean of one against the rest.

    Parameters
    ----------
    predictions : pandas.DataFrame
        Label of each observation, and probability of each class.
    classes : tuple of str

    Returns
    -------
    false_rate, true_rate : numpy.ndarray
        Both ascending from 0 to 1; empty when only one class occurs.
    """
    curves = []
    for name in classes[1:] if len(classes) == 2 else classes:
        one = predictions[predictions["class"] == name]
        positive = (one["label"] == name).to_numpy()
        if 0 < positive.sum() < len(positive):
            curves.append(roc_curve(positive, one["probability"])[:2])
    if len(curves) == 1:
        return curves[0]
    if not curves:
        return np.empty(0), np.empty(0)
    grid = np.linspace(0, 1, 201)
    true_rate = np.mean([np.interp(grid, *curve) for curve in curves], axis=0)
    return np.append(0.0, grid), np.append(0.0, true_rate)


def _draw_confusion_panel(
    axis: Axes, task: Task, scored: ScoredSet, confusion: pd.DataFrame
) -> None:
    axis.grid(False)
    axis.set_title(task.panel_title(scored))
    if not confusion["count"].sum():
        axis.text(0.5, 0.5, "no predictions", transform=axis.transAxes, ha="center")
        axis.set_axis_off()
        return
    first = ordered_variants(confusion["variant"].unique())[0]
    counts = confusion.loc[confusion["variant"] == first.name, "count"].to_numpy()
    counts = counts.reshape(len(task.classes), len(task.classes))
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for (i, j), count in np.ndenumerate(counts):
        axis.text(
            j,
            i,
            f"{share[i, j]:.0%}\n({count:,.0f})",
            ha="center",
            va="center",
            fontsize=8,
            color="white" if share[i, j] > 0.6 else "black",
        )
    axis.set_xticks(range(len(task.classes)), task.classes)
    axis.set_yticks(range(len(task.classes)), task.classes)
    axis.set(xlabel=f"predicted ({first.title})", ylabel=f"true {task.label}")
    for spine in axis.spines.values():
        spine.set_visible(False)


def _frequency(task: Task) -> str:
    if len(task.classes) == 2:
        return f"share with {task.label} = {task.classes[1]}"
    return "share predicted rightly"
