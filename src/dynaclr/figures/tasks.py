"""What tables say of evaluation tasks, and the grid of panels that shows them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from dynaclr.figures.style import count_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HELD_OUT = "held_out"


class ScoredSet(NamedTuple):
    """Observations that were scored together: of one experiment, or all that were trained on."""

    estimate: str
    experiment: str
    n_rows: int
    n_lineages: int


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

    def panel_title(self, scored: ScoredSet) -> str:
        """Task, experiment and number of observations."""
        return f"{self.name}: {set_title(scored)}"


def set_title(scored: ScoredSet) -> str:
    """Experiment and number of observations."""
    count = f"{count_of(scored.n_rows)} in {scored.n_lineages:,.0f} lineages"
    return f"{scored.experiment.strip('()')}\n{count}"


def tasks_of(metrics: pd.DataFrame, confusion: pd.DataFrame) -> list[Task]:
    """Tasks of an evaluation, in their order.

    Parameters
    ----------
    metrics, confusion : pandas.DataFrame
        Tables of the evaluation.
    """
    tasks = []
    for name, rows in metrics[metrics["metric"] == "auroc"].groupby("task", sort=False):
        whole = (rows["estimate"] == "cross_validated") & (rows["experiment"] == "(all training)")
        held_out = rows[rows["estimate"] == HELD_OUT]
        shown = held_out if len(held_out) else rows[whole]
        sets = shown.drop_duplicates("experiment")[list(ScoredSet._fields)]
        known = confusion[confusion["task"] == name]
        tasks.append(
            Task(
                name=name,
                label=next(iter(known["label"]), ""),
                classes=tuple(dict.fromkeys(known["true"])),
                sets=[ScoredSet(*row) for row in sets.itertuples(index=False)],
            )
        )
    return tasks


def task_grid(
    tasks: Sequence[Task], width: float, height: float, legend: float = 0.0
) -> tuple[Figure, list[list[Axes]]]:
    """Figure with a row a task and a panel for each of its sets; sizes in inches.

    Parameters
    ----------
    tasks : sequence of Task
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

    numbers = [len(task.sets) for task in tasks]
    size = (width * max(numbers) + legend, height * len(tasks))
    figure, axes = plt.subplots(len(tasks), max(numbers), figsize=size, squeeze=False)
    for row, number in zip(axes, numbers, strict=True):
        for axis in row[number:]:
            axis.set_visible(False)
    return figure, [list(row[:number]) for row, number in zip(axes, numbers, strict=True)]


def legend_beside(row: Sequence[Axes]) -> None:
    """Put the legend of the first panel of a row to the right of the last."""
    handles, names = row[0].get_legend_handles_labels()
    row[-1].legend(handles, names, loc="center left", bbox_to_anchor=(1.0, 0.5))
