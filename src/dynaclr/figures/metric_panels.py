"""Panels of one number for each variant: mixing, classes, responses, movement, health."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynaclr.config.variants import Variant, ordered_variants
from dynaclr.figures.style import (
    REFERENCE,
    count_text,
    figure_style,
    kind_color,
    legend_beside,
    marker_face,
    panel_grid,
    save_figure,
)
from dynaclr.figures.titles import direction_of, title_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

# The metrics of each figure. Mixing: of all cells above, of matched cells below.
FIGURES = {
    "mixing": ("ilisi", "experiment_auroc", "matched_ilisi", "matched_experiment_auroc"),
    "kept": ("clisi", "silhouette", "retrieval_map", "isolated_state_auroc"),
    "behaviour": (
        *("sister_auroc", "visible_from_hours", "progression_r2", "smoothness"),
        *("smoothness_pooled", "dynamic_range", "msd_exponent", "mmd_from_hours"),
        *("onset_error_hours", "onset_coverage", "onset_within_bounds", "onset_rate"),
        *("pseudotime_correlation", "norm_mean"),
    ),
    "health": (
        *("effective_rank", "alignment", "uniformity", "norm_variation"),
        *("purity_lineage", "purity_experiment", "purity_hour"),
    ),
}
# The value that is expected without an effect.
_CHANCE: dict[str, Any] = {"color": REFERENCE, "markersize": 9, "markeredgewidth": 1.5}


def draw_metric_panels(metrics: pd.DataFrame, name: str, path: str | Path) -> None:
    """Draw one panel a metric and one line a variant, with the value expected without an effect.

    Parameters
    ----------
    metrics : pandas.DataFrame
        The metrics table.
    name : str
        One of `FIGURES`.
    path : str or Path
        Where to write; the suffix says the format.
    """
    variants = ordered_variants(metrics["variant"].unique())
    base = metrics["metric"].str.partition(":")[0]
    n_columns = 2 if name == "mixing" else 4
    with figure_style():
        size = (2.6, 1.1 + 0.2 * len(variants))
        figure, axes = panel_grid(len(FIGURES[name]), size, n_columns, margin=2.2, sharey=True)
        for axis, metric in zip(axes.flat, FIGURES[name], strict=False):
            _draw_panel(axis, metrics[base == metric], variants, title_of(metric))
        axes[0, 0].set_yticks(range(len(variants)), [variant.title for variant in variants])
        axes[0, 0].set_ylim(len(variants) - 0.4, -0.6)
        chance = "no relation\nto experiment" if name == "mixing" else "by chance"
        axes[0, -1].plot([], [], "|", label=chance, **_CHANCE)
        legend_beside(axes[0, -1])
        save_figure(figure, path)


def _draw_panel(axis: Axes, table: pd.DataFrame, variants: Sequence[Variant], title: str) -> None:
    """Draw a metric's mean over experiments and tasks, and, small, each of them."""
    means = table.groupby("variant")[["value", "expected"]].mean()
    for line, variant in enumerate(variants):
        if variant.name not in means.index:
            continue
        color, (value, expected) = kind_color(variant.kind), means.loc[variant.name]
        values = table.loc[table["variant"] == variant.name, "value"]
        if table["value"].min() >= 0:
            axis.plot([0, value], [line, line], color=color, linewidth=1)
        if len(values) > 1:
            axis.plot(values, [line] * len(values), ".", color=color, markersize=3)
        axis.plot(value, line, "o", color=color, **marker_face(variant))
        axis.plot(expected, line, "|", **_CHANCE)
    axis.set_xlabel(textwrap.fill(title, 28))
    count = count_text(table["n_rows"].max()) if len(table) else ""
    axis.set_title("; ".join(filter(None, (count, direction_of(table)))), fontsize=8)
    if table["value"].isna().all():
        axis.text(0.5, 0.5, "no value", transform=axis.transAxes, ha="center")
