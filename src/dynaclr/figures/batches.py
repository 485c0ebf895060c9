"""Figures of what training batches hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynaclr.figures.style import CATEGORICAL, color_of, figure_style, save_figure

_SHOWN_STEPS = 40


def draw_audit(
    draws: pd.DataFrame,
    steps: pd.DataFrame,
    available: pd.DataFrame,
    epoch_steps: int,
    path: Path,
) -> None:
    """Draw composition, hours, lineages and coverage of an epoch's batches.

    Parameters
    ----------
    draws, steps, available, epoch_steps
        As `dynaclr.training.inspect_batches` returns them.
    path : Path
        Image to write.
    """
    import matplotlib.pyplot as plt

    with figure_style():
        figure, axes = plt.subplots(2, 4, figsize=(14, 6.2))
        (experiments, conditions, hours, offsets), (lineages, negatives, seen, table) = axes
        _draw_counts(experiments, steps, "experiment")
        _draw_counts(conditions, steps, "condition")
        _draw_hours(hours, draws, steps)
        _draw_offsets(offsets, draws)
        _draw_lineages(lineages, steps)
        _draw_negatives(negatives, steps)
        _draw_coverage(seen, draws, available)
        _draw_shares(table, draws, available)
        whole = "" if len(steps) == epoch_steps else f" of the {epoch_steps:,} of an epoch"
        figure.suptitle(
            f"{len(steps):,} steps{whole}, {steps['rows'].iloc[0]:,} anchors each, from "
            f"{len(available):,} valid anchors",
            x=0.01,
            ha="left",
        )
        save_figure(figure, path)


def _draw_counts(axis: Any, steps: pd.DataFrame, column: str) -> None:
    """Stack a bar a step: how many anchors each value of a column has."""
    shown = steps.head(_SHOWN_STEPS)
    names = [name.split("=", 1)[1] for name in steps.columns if name.startswith(f"{column}=")]
    base = np.zeros(len(shown))
    for name, color in color_of(names).items():
        height = shown[f"{column}={name}"].to_numpy()
        axis.bar(shown["step"], height, 1.0, base, color=color, label=name, linewidth=0)
        base += height
    axis.set(
        xlabel=f"step (first {len(shown)})",
        ylabel="anchors",
        title=f"{column.capitalize()}s in a batch",
    )
    axis.margins(x=0)
    axis.grid(False)
    if len(names) <= len(CATEGORICAL):
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4, handlelength=1)


def _draw_hours(axis: Any, draws: pd.DataFrame, steps: pd.DataFrame) -> None:
    """Show hours around the focal hour where there is one, else hours themselves."""
    enriched = draws["focal_hour"].notna().all()
    title = "When (no temporal enrichment)"
    if enriched:
        focal = draws["part"].isin(["focal", "leaked_focal"]).sum()
        outside = 100 * steps["outside_window"].sum() / max(focal, 1)
        title = f"When ({outside:.2g} % of focal rows outside)"
    value = draws["hours"] - draws["focal_hour"] if enriched else draws["hours"]
    # Bins of half an hour hold a whole number of frames of most experiments.
    edges = np.arange(np.floor(value.min()), value.max() + 1, 0.5)
    for part, color in color_of(list(draws["part"])).items():
        own = value[draws["part"] == part]
        axis.hist(own, edges, color=color, histtype="step", label=f"{part} (n = {len(own):,})")
    axis.set(
        xlabel="hours from the focal hour" if enriched else "hours post infection",
        ylabel="anchors",
        title=title,
    )
    axis.set_ylim(0, axis.get_ylim()[1] * 1.25)
    axis.legend()


def _draw_offsets(axis: Any, draws: pd.DataFrame) -> None:
    """Share of positives by the hours that they lie after their anchor."""
    for name, color in color_of(list(draws["experiment"])).items():
        own = draws.loc[draws["experiment"] == name, "offset_hours"]
        share = own.round(4).value_counts(normalize=True).sort_index()
        axis.plot(share.index, share, ".-", color=color, label=name, linewidth=0.8)
    axis.set(
        xlabel="hours from anchor to positive",
        ylabel="share of the experiment's positives",
        title=f"Positives (n = {len(draws):,})",
        ylim=(0, None),
    )
    if draws["experiment"].nunique() <= len(CATEGORICAL):
        axis.legend()


def _draw_lineages(axis: Any, steps: pd.DataFrame) -> None:
    """Distinct lineages a batch, against the anchors it has."""
    counted = steps["lineages"].value_counts()
    axis.bar(counted.index, counted, 1.0, color=CATEGORICAL[0])
    axis.axvline(steps["rows"].iloc[0], color="0.3", ls="--", lw=1, label="anchors in a batch")
    axis.set(
        xlabel="lineages in a batch",
        ylabel="steps",
        title=f"Lineages (median {steps['lineages'].median():,.0f}, n = {len(steps):,} steps)",
        xlim=(0, None),
    )
    axis.legend()


def _draw_negatives(axis: Any, steps: pd.DataFrame) -> None:
    """Share of negatives of the anchor's own lineage: what `exclude_lineage` takes out."""
    percent = 100 * steps["same_lineage_negatives"]
    axis.hist(percent, bins=20, color=CATEGORICAL[0])
    axis.set(
        xlabel="% of negatives",
        ylabel="steps",
        title=f"Negatives of the own lineage (mean {percent.mean():.2g} %)",
        xlim=(0, None),
    )


def _draw_coverage(axis: Any, draws: pd.DataFrame, available: pd.DataFrame) -> None:
    """How often an anchor is drawn in these steps, zero included."""
    times = np.bincount(draws["position"], minlength=len(available))
    counted = np.bincount(times)
    axis.bar(np.arange(len(counted)), counted, 0.8, color=CATEGORICAL[0])
    axis.set(
        xlabel="times drawn",
        ylabel="anchors",
        title=f"{100 * (times > 0).mean():.0f} % of anchors drawn (n = {len(times):,})",
    )
    axis.locator_params(axis="x", integer=True)


def _draw_shares(axis: Any, draws: pd.DataFrame, available: pd.DataFrame) -> None:
    """Draws per valid anchor of each experiment and condition."""
    keys = ["experiment", "condition"]
    there = available.groupby(keys).size().unstack()
    ratio = draws.groupby(keys).size().unstack().reindex_like(there) / there
    axis.imshow(ratio, cmap="Blues", vmin=0, aspect="auto")
    middle = np.nanmax(ratio.to_numpy()) / 2
    for (i, j), value in np.ndenumerate(ratio.to_numpy()):
        if np.isfinite(value):
            color = "white" if value > middle else "black"
            axis.text(j, i, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)
    axis.set_xticks(range(there.shape[1]), there.columns)
    axis.set_yticks(range(there.shape[0]), there.index)
    axis.set(title="Draws per valid anchor")
    axis.grid(False)


def draw_pairs(
    shown: pd.DataFrame, patches: dict[str, NDArray], markers: Sequence[str], path: Path
) -> None:
    """Draw anchors beside their positives, plain and augmented, one line a pair.

    Parameters
    ----------
    shown : pandas.DataFrame
        One line a pair, with experiment, condition, hours, offset_hours and, where each pair has a
        marker of its own, marker.
    patches : dict of str to NDArray
        (N, C, Y, X) normalized intensities by view; NaN where a marker is absent.
    markers : sequence of str
        Names of the C channels; none where `shown` has the marker of each pair.
    path : Path
        Image to write.
    """
    import matplotlib.pyplot as plt

    n_channels = patches["anchor"].shape[1]
    tiles = [(view, channel) for view in patches for channel in range(n_channels)]
    half, width = -(-len(shown) // 2), len(tiles) + 1
    with figure_style():
        figure, axes = plt.subplots(half, 2 * width, figsize=(2 * width, half), squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for number, line in shown.iterrows():
            row, side = number % half, number // half * width
            axes[row, side].text(1, 0.5, _describe(line), fontsize=7, ha="right", va="center")
            for axis, (view, channel) in zip(axes[row, side + 1 :], tiles, strict=False):
                patch = patches[view][number, channel]
                axis.imshow(patch, cmap="gray", vmin=-2, vmax=4)
                if np.isnan(patch).all():
                    middle = {"ha": "center", "va": "center", "transform": axis.transAxes}
                    axis.text(0.5, 0.5, "not imaged", fontsize=6, color="0.4", **middle)
                if row == 0:
                    heading = "\n".join([*view.split(), *markers[channel : channel + 1]])
                    axis.set_title(heading, fontsize=7, loc="center")
        figure.suptitle(
            f"{len(shown)} pairs from all over the epoch, plain and augmented as the encoder sees "
            "them (normalized; grey from -2 to 4 spreads)",
            x=0.01,
            ha="left",
        )
        save_figure(figure, path)


def _describe(line: pd.Series) -> str:
    told = [line["experiment"], line["condition"]]
    if "marker" in line:
        told.append(line["marker"])
    return "\n".join([*told, f"{line['hours']:.1f} h", f"positive {line['offset_hours']:+.2g} h"])
