"""Evaluation tasks in the tables, and the grid of panels that shows them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dynaclr.config.metrics import ALL_TRAINING, CROSS_VALIDATED, HELD_OUT
from dynaclr.figures.style import (
    count_text,
    draw_message,
    figure_style,
    legend_beside,
    panel_grid,
    save_figure,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

NO_TASK = "No evaluation task is configured"


class ScoredSet(NamedTuple):
    """Observations that were scored together: of one experiment, or all that were trained on."""

    estimate: str
    experiment: str
    n_rows: int
    n_lineages: int

    @property
    def title(self) -> str:
        """Experiment and number of observations."""
        count = f"{count_text(self.n_rows)} in {self.n_lineages:,.0f} lineages"
        return f"{self.experiment.strip('()')}\n{count}"


class Task(NamedTuple):
    """One evaluation task.

    Attributes
    ----------
    name : str
    label : str
        Column that holds the classes.
    classes : tuple of str
        Empty when nothing could be trained.
    sets : list of ScoredSet
        What is shown: held-out experiments; without any, all of the training by cross-validation.
    """

    name: str
    label: str
    classes: tuple[str, ...]
    sets: list[ScoredSet]

    def rows(self, table: pd.DataFrame, scored: ScoredSet) -> pd.DataFrame:
        """Rows of a table about one of the sets."""
        own = (table["task"] == self.name) & (table["estimate"] == scored.estimate)
        return table[own & (table["experiment"] == scored.experiment)]


def tasks_of(metrics: pd.DataFrame, confusion: pd.DataFrame) -> list[Task]:
    """Tasks of an evaluation, in their order.

    Parameters
    ----------
    metrics, confusion : pandas.DataFrame
        Tables of the evaluation.
    """
    tasks = []
    for name, rows in metrics[metrics["metric"] == "auroc"].groupby("task", sort=False):
        whole = (rows["estimate"] == CROSS_VALIDATED) & (rows["experiment"] == ALL_TRAINING)
        held_out = rows[rows["estimate"] == HELD_OUT]
        shown = held_out if len(held_out) else rows[whole]
        sets = shown.drop_duplicates("experiment")[list(ScoredSet._fields)]
        known = confusion[confusion["task"] == name]
        tasks.append(
            Task(
                name=str(name),
                label=next(iter(known["label"]), ""),
                classes=tuple(dict.fromkeys(known["true"])),
                sets=[ScoredSet(*row) for row in sets.itertuples(index=False)],
            )
        )
    return tasks


def draw_task_grid(
    tasks: Sequence[Task],
    draw_panel: Callable[[Axes, Task, ScoredSet], None],
    path: str | Path,
    size: tuple[float, float],
    legend: float = 0.0,
) -> None:
    """Draw a figure of one row a task and one panel for each of its sets.

    Parameters
    ----------
    tasks : sequence of Task
    draw_panel : callable
        Draws into the axes that it is given.
    path : str or Path
        Where to write; the suffix says the format.
    size : tuple of float
        Width and height of a panel, inches.
    legend : float
        Width of the legend beside each row, inches; 0 for no legend.
    """
    with figure_style():
        if not tasks:
            return draw_message(NO_TASK, path)
        n_columns = max(len(task.sets) for task in tasks)
        figure, axes = panel_grid(len(tasks) * n_columns, size, n_columns, margin=legend)
        for row, task in zip(axes, tasks, strict=True):
            for axis in row[len(task.sets) :]:
                axis.set_visible(False)
            for axis, scored in zip(row, task.sets, strict=False):
                draw_panel(axis, task, scored)
                axis.set_title(f"{task.name}: {scored.title}")
            if legend:
                legend_beside(row[len(task.sets) - 1], row[0])
        return save_figure(figure, path)
