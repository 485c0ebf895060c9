"""Figures of predicted classes: ROC curves, confusion matrices, calibration.

One row a task and one column a held-out experiment.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import roc_curve

from dynaclr.config.metrics import HELD_OUT
from dynaclr.config.variants import first_of_each_kind, kind_title, ordered_variants, uncorrected
from dynaclr.figures.style import REFERENCE, draw_shares, kind_color
from dynaclr.figures.tasks import ScoredSet, Task, draw_task_grid

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_UNIT = (-0.02, 1.02)


def draw_roc(tasks: Sequence[Task], predictions: pd.DataFrame, path: str | Path) -> None:
    """Draw ROC curves; with more than two classes the mean over one class against the rest.

    Parameters
    ----------
    tasks : sequence of Task
    predictions : pandas.DataFrame
        Probability of each class of held-out observations by each variant.
    path : str or Path
        Where to write; the suffix says the format.
    """

    def panel(axis: Axes, task: Task, scored: ScoredSet) -> None:
        own = (predictions["task"] == task.name) & (predictions["experiment"] == scored.experiment)
        _draw_roc_panel(axis, task, scored, predictions[own])

    draw_task_grid(tasks, panel, path, (3.4, 3.5), legend=1.6)


def draw_confusion(tasks: Sequence[Task], confusion: pd.DataFrame, path: str | Path) -> None:
    """Draw confusion matrices of the first trained variant: share of each true class, and counts.

    Parameters
    ----------
    tasks : sequence of Task
    confusion : pandas.DataFrame
        The table of confusion counts.
    path : str or Path
        Where to write; the suffix says the format.
    """

    def panel(axis: Axes, task: Task, scored: ScoredSet) -> None:
        axis.grid(False)
        table = task.rows(confusion, scored)
        if not table["count"].sum():
            axis.text(0.5, 0.5, "no predictions", transform=axis.transAxes, ha="center")
            axis.set_axis_off()
            return
        first = ordered_variants(table["variant"].unique())[0]
        counts = table.loc[table["variant"] == first.name, "count"].to_numpy()
        counts = counts.reshape(len(task.classes), len(task.classes))
        shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        texts = [
            [f"{share:.0%}\n({n:,.0f})" for share, n in zip(*row, strict=True)]
            for row in zip(shares, counts, strict=True)
        ]
        named = (task.classes, task.classes)
        draw_shares(axis, shares, texts, *named, white_above=0.6, vmin=0, vmax=1)
        axis.set(xlabel=f"predicted ({first.title})", ylabel=f"true {task.label}")
        axis.spines[:].set_visible(False)

    draw_task_grid(tasks, panel, path, (3.6, 3.3))


def draw_reliability(tasks: Sequence[Task], reliability: pd.DataFrame, path: str | Path) -> None:
    """Draw observed against predicted frequency.

    Probabilities are at the class shares of the training rows. The area of a point shows how many
    observations are in its bin.

    Parameters
    ----------
    tasks : sequence of Task
    reliability : pandas.DataFrame
        The table of reliability by bin.
    path : str or Path
        Where to write; the suffix says the format.
    """

    def panel(axis: Axes, task: Task, scored: ScoredSet) -> None:
        axis.plot([0, 1], [0, 1], "--", color=REFERENCE, linewidth=1)
        table = task.rows(reliability, scored)
        variants = uncorrected(ordered_variants(table["variant"].unique()))
        for variant in first_of_each_kind(variants):
            curve = table[table["variant"] == variant.name].set_index("bin")
            # An empty bin has no row, and the line a gap there.
            curve = curve.reindex(range(curve.index.max() + 1))
            points = curve["predicted"], curve["observed"]
            color = kind_color(variant.kind)
            axis.plot(*points, color=color, label=variant.title)
            axis.scatter(*points, s=120 * curve["n_rows"] / curve["n_rows"].sum(), color=color)
        axis.set(xlim=_UNIT, ylim=_UNIT, xlabel="predicted probability")
        if scored is task.sets[0]:
            two = len(task.classes) == 2
            meaning = f"with {task.label} = {task.classes[1]}" if two else "predicted rightly"
            axis.set_ylabel(f"share {meaning}")

    draw_task_grid(tasks, panel, path, (3.3, 3.4), legend=1.6)


def _draw_roc_panel(axis: Axes, task: Task, scored: ScoredSet, predictions: pd.DataFrame) -> None:
    axis.plot([0, 1], [0, 1], "--", color=REFERENCE, linewidth=1, zorder=1)
    variants = uncorrected(ordered_variants(predictions["variant"].unique()))
    labelled = predictions[predictions["label"].isin(task.classes)]
    for number, variant in enumerate(variants):
        axis.plot(
            *mean_roc(labelled[labelled["variant"] == variant.name], task.classes),
            color=kind_color(variant.kind),
            label=kind_title(variant.kind) if variant in first_of_each_kind(variants) else None,
            # The trained model lies on top of its baselines.
            zorder=3 - 0.1 * number,
        )
    axis.set_aspect("equal")
    axis.set(
        xlim=_UNIT,
        ylim=_UNIT,
        xlabel="False positive rate",
        ylabel="True positive rate" + (", mean over classes" if len(task.classes) > 2 else ""),
    )
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
