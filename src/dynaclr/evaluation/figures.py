"""Figures of scores: classifiers beside baselines, ROC curves, confusion matrices."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sklearn.metrics import roc_curve

from dynaclr.evaluation.classification import TaskScores
from dynaclr.evaluation.measures import HELD_OUT
from dynaclr.evaluation.score_tables import ScoredSet
from dynaclr.evaluation.scores import confusion_matrix
from dynaclr.experiments.variants import Variant, kind_title, ordered_variants, uncorrected
from dynaclr.figures.style import CATEGORICAL, figure_style, save_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Baselines in quiet colours; what is judged stands out.
_KIND_COLORS = {
    "trained": CATEGORICAL[0],
    "untrained": "#777777",
    "intensity": CATEGORICAL[1],
    "pixels": CATEGORICAL[3],
}
_MARKERS = "osD^vPX"
_NULL = "#dddddd"
_METRIC_TITLES = {"auroc": "AUROC", "average_precision": "Average precision"}


def draw_classifiers(scores: Sequence[TaskScores], metrics: pd.DataFrame, path: str | Path) -> None:
    """AUROC and average precision with 95 % intervals, one row a task, baselines below.

    The broken line is chance: 0.5, or the share of positives; the grey bar behind a line is what
    shuffled labels give.

    Parameters
    ----------
    scores : sequence of TaskScores
    metrics : pandas.DataFrame
        The metrics table, which holds the shuffles.
    path : str or Path
    """
    import matplotlib.pyplot as plt

    with figure_style():
        if not scores:
            return draw_nothing("No evaluation task is configured", path)
        n_lines = max(_n_variants(task) * max(1, len(task.shown_sets)) for task in scores)
        height = len(scores) * max(2.2, 0.9 + 0.3 * n_lines)
        figure, axes = plt.subplots(
            len(scores), 2, figsize=(8.4, height), squeeze=False, sharey="row"
        )
        for row, task in zip(axes, scores, strict=True):
            for axis, metric in zip(row, _METRIC_TITLES, strict=True):
                _draw_intervals(axis, task, metric)
            if _draw_nulls(row[0], task, metrics):
                row[1].fill_between([], [], color=_NULL, label="AUROC of shuffled\nlabels (95 %)")
            _label_variants(row[0], task)
            row[0].set_title(f"{task.task.name}: {_METRIC_TITLES['auroc']}")
            row[1].set_title(f"{_METRIC_TITLES['average_precision']}{_positive(task)}")
            row[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5), title=_estimate(task))
        return save_figure(figure, path)


def draw_roc(scores: Sequence[TaskScores], path: str | Path) -> None:
    """ROC curves, one row a task and one column a held-out experiment.

    With more than two classes: the mean over one class against the rest.
    """
    with figure_style():
        if not scores:
            return draw_nothing("No evaluation task is configured", path)
        figure, rows = task_grid(scores, 3.4, 3.5, legend=1.6)
        for row, task in zip(rows, scores, strict=True):
            for axis, scored in zip(row, task.shown_sets, strict=True):
                _draw_roc_panel(axis, task, scored)
            legend_beside(row)
        return save_figure(figure, path)


def draw_confusion(scores: Sequence[TaskScores], path: str | Path) -> None:
    """Confusion matrices of the first trained variant: share of each true class, and counts."""
    with figure_style():
        if not scores:
            return draw_nothing("No evaluation task is configured", path)
        figure, rows = task_grid(scores, 3.6, 3.3)
        for row, task in zip(rows, scores, strict=True):
            for axis, scored in zip(row, task.shown_sets, strict=True):
                _draw_confusion_panel(axis, task, scored)
        return save_figure(figure, path)


def task_grid(
    scores: Sequence[TaskScores], width: float, height: float, legend: float = 0.0
) -> tuple[Figure, list[list[Axes]]]:
    """Figure with a row a task and a panel for each of its shown sets; sizes in inches.

    Parameters
    ----------
    scores : sequence of TaskScores
    width, height : float
        Of a panel.
    legend : float
        Width that is left for a legend.

    Returns
    -------
    figure : matplotlib.figure.Figure
    rows : list of list of Axes
        As many of each task as it has sets.
    """
    import matplotlib.pyplot as plt

    numbers = [len(task.shown_sets) for task in scores]
    size = (width * max(numbers) + legend, height * len(scores))
    figure, axes = plt.subplots(len(scores), max(numbers), figsize=size, squeeze=False)
    for row, number in zip(axes, numbers, strict=True):
        for axis in row[number:]:
            axis.set_visible(False)
    return figure, [list(row[:number]) for row, number in zip(axes, numbers, strict=True)]


def legend_beside(row: Sequence[Axes]) -> None:
    """Tell what the first panel of a row shows to the right of the last."""
    handles, names = row[0].get_legend_handles_labels()
    row[-1].legend(handles, names, loc="center left", bbox_to_anchor=(1.0, 0.5))


def face_of(variant: Variant) -> dict[str, str]:
    """Hollow markers for corrected variants."""
    return {"markerfacecolor": "white"} if variant.correction else {}


def _draw_nulls(axis: Axes, task: TaskScores, metrics: pd.DataFrame) -> bool:
    """Grey bars of what shuffled labels give, mean over the shown experiments; whether any is."""
    nulls = metrics[(metrics["metric"] == "auroc_null") & (metrics["task"] == task.task.name)]
    variants = ordered_variants(task.tables.metrics["variant"].unique())
    for place, variant in enumerate(variants):
        here = nulls[nulls["variant"] == variant.name]
        span = [here["low"].mean(), here["high"].mean()]
        axis.fill_betweenx([place - 0.4, place + 0.4], *span, color=_NULL, zorder=0, linewidth=0)
    return bool(nulls["value"].notna().any())


def kind_color(kind: str) -> str:
    """Colour of a kind of variant, the same in every figure, whatever the correction."""
    return _KIND_COLORS.get(kind.partition("+")[0], CATEGORICAL[2])


def _draw_intervals(axis: Axes, task: TaskScores, metric: str) -> None:
    sets = task.shown_sets
    table = task.tables.metrics
    table = table[(table["metric"] == metric) & (table["estimate"] == sets[0].estimate)]
    for number, scored in enumerate(sets):
        here = table[table["experiment"] == scored.experiment].set_index("variant")
        marker = _MARKERS[number % len(_MARKERS)]
        offset = 0.6 * ((number + 0.5) / len(sets) - 0.5)
        for place, variant in enumerate(ordered_variants(here.index)):
            _draw_interval(axis, here.loc[variant.name], variant, place + offset, marker)
        title = f"{_name(scored)}\n{_count(scored)}"
        axis.plot([], [], marker, color="#444444", label=title)
    chance = _chance(task, metric)
    axis.axvline(chance, color="#444444", linestyle="--", linewidth=1, label="chance")
    shown = table[table["experiment"].isin([scored.experiment for scored in sets])]
    axis.set_xlim(np.fmin(chance, shown[["value", "low"]].min().min()) - 0.04, 1.09)
    axis.set_xlabel(f"{_METRIC_TITLES[metric]}, 95 % interval")
    if shown["value"].isna().all():
        text = "no value: see the notes of the table"
        axis.text(0.5, 0.5, text, transform=axis.transAxes, ha="center")


def _draw_interval(
    axis: Axes, line: pd.Series, variant: Variant, place: float, marker: str
) -> None:
    if not np.isfinite(line["value"]):
        return
    color = kind_color(line["kind"])
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


def _chance(task: TaskScores, metric: str) -> float:
    """Value of a classifier that knows nothing: 0.5, or the mean share of positives."""
    if metric == "auroc":
        return 0.5
    if len(task.classes) > 2:
        return 1.0 / len(task.classes)
    shares = [float((s.true == 1).mean()) for s in task.shown_sets if len(s.true)]
    return float(np.mean(shares)) if shares else 0.5


def _label_variants(axis: Axes, task: TaskScores) -> None:
    variants = ordered_variants(task.tables.metrics["variant"].unique())
    axis.set_yticks(range(len(variants)), [variant.title for variant in variants])
    axis.set_ylim(len(variants) - 0.4, -0.6)


def _draw_roc_panel(axis: Axes, task: TaskScores, scored: ScoredSet) -> None:
    axis.plot([0, 1], [0, 1], "--", color="#444444", linewidth=1, zorder=1)
    for place, variant in enumerate(uncorrected(ordered_variants(scored.probability))):
        false_rate, true_rate = mean_roc(scored.true, scored.probability[variant.name])
        first = variant.name == _first_of_kind(scored, variant.kind).name
        axis.plot(
            false_rate,
            true_rate,
            color=kind_color(variant.kind),
            label=kind_title(variant.kind) if first else None,
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
    axis.set_title(panel_title(task, scored))
    if not scored.probability:
        axis.text(0.5, 0.25, "no curve", ha="center")


def mean_roc(true: np.ndarray, probability: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """ROC curve; with more than two classes the mean of one against the rest.

    Parameters
    ----------
    true : numpy.ndarray
        Class codes, shape (n,).
    probability : numpy.ndarray
        Shape (n, K).

    Returns
    -------
    false_rate, true_rate : numpy.ndarray
        Both ascending from 0 to 1; empty when only one class occurs.
    """
    n_classes = probability.shape[1]
    curves = [
        roc_curve(true == k, probability[:, k])[:2]
        for k in (range(1, 2) if n_classes == 2 else range(n_classes))
        if 0 < (true == k).sum() < len(true)
    ]
    if len(curves) == 1:
        return curves[0]
    if not curves:
        return np.empty(0), np.empty(0)
    grid = np.linspace(0, 1, 201)
    true_rate = np.mean([np.interp(grid, *curve) for curve in curves], axis=0)
    return np.append(0.0, grid), np.append(0.0, true_rate)


def _draw_confusion_panel(axis: Axes, task: TaskScores, scored: ScoredSet) -> None:
    axis.grid(False)
    axis.set_title(panel_title(task, scored))
    variants = ordered_variants(scored.probability)
    if not variants or not len(scored.true):
        axis.text(0.5, 0.5, "no predictions", transform=axis.transAxes, ha="center")
        axis.set_axis_off()
        return
    predicted = scored.probability[variants[0].name].argmax(axis=1)
    counts = confusion_matrix(scored.true, predicted, len(task.classes))
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
    axis.set(xlabel=f"predicted ({variants[0].title})", ylabel=f"true {task.task.label}")
    for spine in axis.spines.values():
        spine.set_visible(False)


def panel_title(task: TaskScores, scored: ScoredSet) -> str:
    """Task, experiment and number of observations."""
    return f"{task.task.name}: {_name(scored)}\n{_count(scored)}"


def _count(scored: ScoredSet) -> str:
    return f"{count_of(len(scored.true))} in {scored.n_lineages:,} lineages"


def count_of(n_rows: float) -> str:
    """Words for a number of observations."""
    return f"n = {n_rows:,.0f}"


def _name(scored: ScoredSet) -> str:
    return scored.experiment.strip("()")


def _positive(task: TaskScores) -> str:
    if len(task.classes) != 2:
        return " (mean over classes)" if task.classes else ""
    return f" ({task.task.label} = {task.classes[1]})"


def _estimate(task: TaskScores) -> str:
    sets = task.shown_sets
    return "Held out" if sets and sets[0].estimate == HELD_OUT else "Cross-validated"


def _n_variants(task: TaskScores) -> int:
    return task.tables.metrics["variant"].nunique()


def _first_of_kind(scored: ScoredSet, kind: str) -> Variant:
    return next(v for v in ordered_variants(scored.probability) if v.kind == kind)


def draw_nothing(text: str, path: str | Path) -> None:
    """A figure that says why there is none."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(5, 1.5))
    axis.text(0.5, 0.5, text, ha="center", va="center")
    axis.set_axis_off()
    save_figure(figure, path)
