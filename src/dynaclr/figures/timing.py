"""Timing of markers: intensity over the hours since the onset, responding against control cells."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dynaclr.config.variants import parse_variant
from dynaclr.figures.style import (
    CATEGORICAL,
    REFERENCE,
    draw_message,
    figure_style,
    legend_beside,
    panel_grid,
    save_figure,
    title_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GROUPS = {
    "responding": ("responding cells", CATEGORICAL[5]),
    "control": ("control cells\nof the same hours", CATEGORICAL[7]),
}
_STATISTICS = {"intensity_mean": "mean", "intensity_std": "spread within the patch"}


def draw_timing(timing: pd.DataFrame, metrics: pd.DataFrame, path: str | Path) -> None:
    """Draw a row of panels an experiment: mean and spread of each marker's intensity.

    Parameters
    ----------
    timing : pandas.DataFrame
        The table of markers' timing; without rows the figure says so.
    metrics : pandas.DataFrame
        The metrics table, which says how good the onsets are.
    path : str or Path
        Where to write; the suffix says the format.
    """
    with figure_style():
        if not len(timing):
            return draw_message("no timing: too few onsets seen, or no control", path)
        # A bag of channels has one marker, without a name.
        timing = timing.fillna({"marker": ""})
        columns = list(timing.groupby(["marker", "statistic"], sort=True).groups)
        experiments = sorted(timing["experiment"].unique())
        n_panels = len(columns) * len(experiments)
        figure, axes = panel_grid(n_panels, (3.0, 2.5), len(columns), margin=1.5, sharex=True)
        for row, experiment in zip(axes, experiments, strict=True):
            own = timing[timing["experiment"] == experiment]
            for axis, (marker, statistic) in zip(row, columns, strict=True):
                shown = (own["marker"] == marker) & (own["statistic"] == statistic)
                _draw_panel(axis, own[shown])
                title = f"{marker} {_STATISTICS[statistic]}".strip()
                cells = own.loc[shown & (own["group"] == "responding"), "n_rows"]
                count = f"n = {cells.min():,.0f} to {cells.max():,.0f} a point"
                axis.set_title(f"{title}\n{count}")
            row[0].set_ylabel(f"{experiment}\nnormalized intensity")
        for axis in axes[-1]:
            axis.set_xlabel("hours since the onset")
        legend_beside(axes[0, -1], axes[0, 0])
        title_figure(figure, _title(timing, metrics), fontsize=9)
        return save_figure(figure, path)


def _draw_panel(axis: Axes, table: pd.DataFrame) -> None:
    axis.axvline(0, color=REFERENCE, linestyle="--", linewidth=1)
    for group, (label, color) in _GROUPS.items():
        line = table[table["group"] == group].sort_values("hours")
        axis.plot(line["hours"], line["value"], "o-", color=color, markersize=3, label=label)
        axis.fill_between(line["hours"], line["low"], line["high"], color=color, alpha=0.2, lw=0)


def _title(timing: pd.DataFrame, metrics: pd.DataFrame) -> str:
    """By what tracks were aligned and, of every experiment, how good its onsets are."""
    name = timing["variant"].iloc[0]
    about_onsets = metrics["metric"].isin(["onset_rate", "onset_error_hours"])
    own = metrics[(metrics["variant"] == name) & about_onsets]
    own = own.set_index(["experiment", "metric"]).sort_index()
    lines = [f"Aligned by onsets that were found by: {parse_variant(name).title}"]
    for experiment in sorted(timing["experiment"].unique()):
        rate = own.loc[(experiment, "onset_rate")]
        words = f"onset seen in {rate['value']:.0%} of treated tracks"
        words += f", and in {rate['expected']:.0%} of control tracks"
        if (experiment, "onset_error_hours") in own.index:
            error = own.loc[(experiment, "onset_error_hours")]
            value, of_one_hour, note = error["value"], error["expected"], str(error["note"])
            words += f"; error {value:.2f} h, of one hour for all {of_one_hour:.2f} h"
            # The note begins with the verdict, where there is one.
            verdict = note.partition(";")[0]
            words += f"\n    {verdict}" if "than one hour for all cells" in verdict else ""
        lines.append(f"{experiment}: {words}")
    return "\n".join(lines)
