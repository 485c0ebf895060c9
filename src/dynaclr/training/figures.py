"""Figures of a training run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynaclr.experiments.figures import (
    CATEGORICAL,
    SEQUENTIAL,
    color_of,
    figure_style,
    save_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = (
    ("loss", "loss", "Does it still learn, and does validation follow?"),
    ("alignment", "squared distance of positives", "Alignment (lower: positives are close)"),
    ("uniformity", "log mean pair potential", "Uniformity (lower: spread out)"),
    ("effective_rank", "effective rank of features", "Effective rank (near 1: collapsed)"),
)


def save_curves(history: pd.DataFrame, best_epoch: int, path: Path, title: str) -> None:
    """Draw the metrics history, training and validation together, and mark the epoch kept."""
    import matplotlib.pyplot as plt

    with figure_style():
        figure, axes = plt.subplots(1, len(_PANELS), figsize=(3.1 * len(_PANELS), 2.9))
        for axis, (metric, label, heading) in zip(axes, _PANELS, strict=True):
            for stage, color in zip(("train", "val"), CATEGORICAL, strict=False):
                if f"{metric}/{stage}" in history:
                    axis.plot(
                        history["epoch"] + 1, history[f"{metric}/{stage}"], color=color, label=stage
                    )
            axis.axvline(best_epoch + 1, color="0.6", lw=0.8, ls=":", label="epoch kept")
            axis.set(xlabel="epoch", ylabel=label)
            axis.set_title(heading, fontsize=8.5)
        axes[0].legend()
        figure.suptitle(f"{title}, n = {len(history)} epochs", x=0.01, ha="left", fontsize=10)
        save_figure(figure, path)


def draw_embedding(
    coordinates: NDArray[np.float64],
    shares: NDArray[np.float64],
    columns: Mapping[str, NDArray[Any]],
    title: str,
) -> Figure:
    """Draw cells in two principal components, one panel a column that colours them.

    Parameters
    ----------
    coordinates : NDArray, shape (N, 2)
    shares : NDArray, shape (2,)
        Share of the variance that each component explains.
    columns : mapping of str to NDArray, shape (N,)
        Text (dtype object) gets a legend, numbers a colour bar.
    title : str

    Returns
    -------
    Figure
        On a canvas of its own, unknown to pyplot: nobody has to close it.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with figure_style():
        figure = Figure(figsize=(3.4 * len(columns), 3.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(1, len(columns), squeeze=False, sharex=True, sharey=True)[0]
        for axis, (name, values) in zip(axes, columns.items(), strict=True):
            _colour_by(axis, coordinates, values)
            axis.set_title(name)
            axis.set_xlabel(f"PC 1 ({shares[0]:.0%} of variance)")
        axes[0].set_ylabel(f"PC 2 ({shares[1]:.0%} of variance)")
        figure.suptitle(title, x=0.01, ha="left", fontsize=10)
    return figure


def _colour_by(axis: Axes, coordinates: NDArray[np.float64], values: NDArray[Any]) -> None:
    points = {"s": 6, "alpha": 0.7, "linewidths": 0}
    if values.dtype != object:
        drawn = axis.scatter(*coordinates.T, c=values, cmap=SEQUENTIAL, **points)
        axis.figure.colorbar(drawn, ax=axis)
        return
    for name, color in color_of(list(values)).items():
        axis.scatter(*coordinates[values == name].T, color=color, label=name, **points)
    axis.legend(markerscale=2)
