"""The figure of an experiment's intensities over time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from dynaclr.config import ExperimentConfig
from dynaclr.figures.style import color_of, figure_style, panel_grid, save_figure


def draw_intensity(table: pd.DataFrame, entry: ExperimentConfig, path: str | Path) -> None:
    """Draw median and interquartile range over time, one panel a channel, one line a field of view.

    It answers: is the illumination stable, and do conditions differ in brightness alone?

    Parameters
    ----------
    table : pandas.DataFrame
        Intensity statistics of the experiment, of all levels.
    entry : ExperimentConfig
    path : str or Path
        Where to write; the suffix says the format.
    """
    frames = table[table["level"] == "frame"]
    colors = color_of(entry.condition_wells)
    with figure_style():
        figure, axes = panel_grid(len(entry.channels), (4.2, 3))
        for axis, channel in zip(axes[0], entry.channels, strict=True):
            chosen = frames[frames["marker"] == channel.marker]
            for (well, fov), rows in chosen.groupby(["well", "fov"], observed=True):
                condition = entry.condition_of_well[well]
                color, hours = colors[condition], entry.hours(rows["t"].to_numpy())
                axis.fill_between(hours, rows["p25"], rows["p75"], color=color, alpha=0.12, lw=0)
                axis.plot(hours, rows["median"], color=color, label=condition)
                known = np.flatnonzero(rows["median"].notna())
                if known.size:
                    end = hours[known[-1]], rows["median"].iloc[known[-1]]
                    axis.annotate(fov, end, fontsize=6, color="0.4")
            title = f"{channel.marker} ({channel.name}), n = {chosen['fov'].nunique()} fields"
            n_unreadable = int((chosen["n"] + chosen["n_nan"] == 0).sum())
            if n_unreadable:
                title += f"\n{n_unreadable} frames cannot be read"
            labels = {"xlabel": "hours post infection", "ylabel": "pixel intensity (median, IQR)"}
            axis.set(title=title, **labels)
        handles, names = axes[0, 0].get_legend_handles_labels()
        unique = dict(zip(names, handles, strict=True))
        axes[0, 0].legend(unique.values(), unique.keys())
        save_figure(figure, path)
