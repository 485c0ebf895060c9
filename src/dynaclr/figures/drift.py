"""Figure of drift: a matrix of checks and experiments, coloured by verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dynaclr.figures.style import draw_message, figure_style, save_figure

if TYPE_CHECKING:
    import pandas as pd

# Light enough for black text; their words distinguish them without colour.
_COLORS = {"pass": "#D8EBD8", "warn": "#FBE3B0", "fail": "#F2B8A8", "not judged": "#EEEEEE"}


def draw_drift(drift: pd.DataFrame, path: str | Path) -> None:
    """Draw every check of every experiment, with its value and the interval that is expected.

    Parameters
    ----------
    drift : pandas.DataFrame
        The table of checks: experiment, check, value, low, high, verdict.
    path : str or Path
        Where to write; the suffix says the format.
    """
    import matplotlib.pyplot as plt
    from matplotlib.patches import Rectangle

    checks, experiments = drift["check"].unique(), drift["experiment"].unique()
    with figure_style():
        if drift.empty:
            return draw_message("no held-out experiment to check", path)
        size = (2.2 + 1.7 * len(experiments), 0.8 + 0.34 * len(checks))
        figure, axis = plt.subplots(figsize=size)
        for row in drift.to_dict("records"):
            x = int(np.flatnonzero(experiments == row["experiment"])[0])
            y = int(np.flatnonzero(checks == row["check"])[0])
            color = _COLORS[str(row["verdict"])]
            axis.add_patch(Rectangle((x, y), 1, 1, facecolor=color, edgecolor="white"))
            text = f"{row['verdict']}  {row['value']:.3g} ({_interval(row)})"
            axis.text(x + 0.5, y + 0.5, text, ha="center", va="center", fontsize=7.5)
        axis.set(xlim=(0, len(experiments)), ylim=(len(checks), 0))
        axis.set_xticks(np.arange(len(experiments)) + 0.5, experiments)
        axis.set_yticks(np.arange(len(checks)) + 0.5, checks)
        axis.xaxis.tick_top()
        axis.tick_params(length=0)
        axis.grid(False)
        axis.spines[:].set_visible(False)
        return save_figure(figure, path)


def _interval(row: dict[str, object]) -> str:
    """What is expected, in words; a share has no lower end."""
    low, high = (float(str(row[end])) for end in ("low", "high"))
    if not np.isfinite(high):
        return "no reference"
    return f"{low:.3g} to {high:.3g}" if np.isfinite(low) else f"up to {high:.3g}"
