"""Figures of what training batches hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynaclr.figures.style import (
    CATEGORICAL,
    bin_edges,
    color_of,
    draw_shares,
    figure_style,
    panel_grid,
    save_figure,
    title_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
        As `dynaclr.inference.inspect_batches` returns them.
    path : Path
        Image to write.
    """
    with figure_style():
        figure, axes = panel_grid(8, (3.5, 3.1), 4)
        _draw_composition(axes[0, 0], steps, "experiment")
        _draw_composition(axes[0, 1], steps, "condition")
        _draw_hours(axes[0, 2], draws, steps)
        _draw_offsets(axes[0, 3], draws)
        _draw_lineages(axes[1, 0], steps)
        _draw_negatives(axes[1, 1], steps)
        _draw_coverage(axes[1, 2], draws, available)
        _draw_draws_per_anchor(axes[1, 3], draws, available)
        of_epoch = "" if len(steps) == epoch_steps else f" of the {epoch_steps:,} of an epoch"
        title_figure(
            figure,
            f"{len(steps):,} steps{of_epoch}, {steps['rows'].iloc[0]:,} anchors each, from "
            f"{len(available):,} valid anchors",
        )
        save_figure(figure, path)


def _draw_composition(axis: Axes, steps: pd.DataFrame, column: str) -> None:
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


def _draw_hours(axis: Axes, draws: pd.DataFrame, steps: pd.DataFrame) -> None:
    """Show hours around the focal hour where there is one, else hours themselves."""
    hours, label, title = draws["hours"], "hours post infection", "When (no temporal enrichment)"
    if draws["focal_hour"].notna().all():
        hours, label = draws["hours"] - draws["focal_hour"], "hours from the focal hour"
        focal = draws["part"].isin(["focal", "leaked_focal"]).sum()
        outside = 100 * steps["outside_window"].sum() / max(focal, 1)
        title = f"When ({outside:.2g} % of focal rows outside)"
    # Bins of half an hour hold a whole number of frames of most experiments.
    edges = np.arange(np.floor(hours.min()), hours.max() + 1, 0.5).tolist()
    for part, color in color_of(draws["part"]).items():
        own = hours[draws["part"] == part]
        axis.hist(own, edges, color=color, histtype="step", label=f"{part} (n = {len(own):,})")
    axis.set(xlabel=label, ylabel="anchors", title=title)
    axis.set_ylim(0, axis.get_ylim()[1] * 1.25)
    axis.legend()


def _draw_offsets(axis: Axes, draws: pd.DataFrame) -> None:
    """Show the share of positives by the hours that they lie after their anchor."""
    colors = color_of(draws["experiment"])
    for name, color in colors.items():
        own = draws.loc[draws["experiment"] == name, "offset_hours"]
        share = own.round(4).value_counts(normalize=True).sort_index()
        axis.plot(share.index, share, ".-", color=color, label=name, linewidth=0.8)
    axis.set(
        xlabel="hours from anchor to positive",
        ylabel="share of the experiment's positives",
        title=f"Positives (n = {len(draws):,})",
        ylim=(0, None),
    )
    if len(colors) <= len(CATEGORICAL):
        axis.legend()


def _draw_lineages(axis: Axes, steps: pd.DataFrame) -> None:
    """Show distinct lineages a batch, against the anchors it has."""
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


def _draw_negatives(axis: Axes, steps: pd.DataFrame) -> None:
    """Show the share of negatives of the anchor's own lineage: what `exclude_lineage` excludes."""
    percent = 100 * steps["same_lineage_negatives"]
    axis.hist(percent, bin_edges(percent, 20), color=CATEGORICAL[0])
    axis.set(
        xlabel="% of negatives",
        ylabel="steps",
        title=f"Negatives of the own lineage (mean {percent.mean():.2g} %)",
        xlim=(0, None),
    )


def _draw_coverage(axis: Axes, draws: pd.DataFrame, available: pd.DataFrame) -> None:
    """Show how often an anchor is drawn in these steps, zero included."""
    times = np.bincount(draws["position"], minlength=len(available))
    counted = np.bincount(times)
    axis.bar(np.arange(len(counted)), counted, 0.8, color=CATEGORICAL[0])
    axis.set(
        xlabel="times drawn",
        ylabel="anchors",
        title=f"{100 * (times > 0).mean():.0f} % of anchors drawn (n = {len(times):,})",
    )
    axis.locator_params(axis="x", integer=True)


def _draw_draws_per_anchor(axis: Axes, draws: pd.DataFrame, available: pd.DataFrame) -> None:
    """Show draws per valid anchor of each experiment and condition."""
    keys = ["experiment", "condition"]
    n_anchors = available.groupby(keys).size().unstack()
    n_draws = draws.groupby(keys).size().unstack().reindex_like(n_anchors)
    ratio = (n_draws / n_anchors).to_numpy()
    draw_shares(
        axis,
        ratio,
        [[f"{value:.2f}" for value in row] for row in ratio],
        n_anchors.index,
        n_anchors.columns,
        white_above=np.nanmax(ratio) / 2,
        vmin=0,
        aspect="auto",
    )
    axis.set(title="Draws per valid anchor")


def draw_pairs(
    shown: pd.DataFrame, patches: dict[str, NDArray], markers: Sequence[str], path: Path
) -> None:
    """Draw anchors beside their positives, plain and augmented, one line a pair.

    Parameters
    ----------
    shown : pandas.DataFrame
        One row a pair, with experiment, condition, hours, offset_hours and, where each pair has a
        marker of its own, marker.
    patches : dict of str to NDArray
        (N, C, Y, X) normalized intensities by view; NaN where a marker is absent.
    markers : sequence of str
        Names of the C channels; none where `shown` has the marker of each pair.
    path : Path
        Image to write.
    """
    n_channels = patches["anchor"].shape[1]
    tiles = [(view, channel) for view in patches for channel in range(n_channels)]
    n_rows, width = -(-len(shown) // 2), len(tiles) + 1
    with figure_style():
        figure, axes = panel_grid(n_rows * 2 * width, (1, 1), 2 * width)
        for axis in axes.flat:
            axis.axis("off")
        for number, (_, pair) in enumerate(shown.iterrows()):
            side, row = divmod(number, n_rows)
            label, *panels = axes[row, side * width : (side + 1) * width]
            words = [pair["experiment"], pair["condition"]]
            words += [pair["marker"]] if "marker" in pair else []
            words += [f"{pair['hours']:.1f} h", f"positive {pair['offset_hours']:+.2g} h"]
            label.text(1, 0.5, "\n".join(words), fontsize=7, ha="right", va="center")
            for axis, (view, channel) in zip(panels, tiles, strict=True):
                patch = patches[view][number, channel]
                axis.imshow(patch, cmap="gray", vmin=-2, vmax=4)
                if np.isnan(patch).all():
                    middle = {"ha": "center", "va": "center", "transform": axis.transAxes}
                    axis.text(0.5, 0.5, "not imaged", fontsize=6, color="0.4", **middle)
                if row == 0:
                    heading = "\n".join([*view.split(), *markers[channel : channel + 1]])
                    axis.set_title(heading, fontsize=7, loc="center")
        title_figure(
            figure,
            f"{len(shown)} pairs from all over the epoch, plain and augmented as the encoder sees "
            "them (normalized; grey from -2 to 4 spreads)",
        )
        save_figure(figure, path)
