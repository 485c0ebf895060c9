"""Figures of one number a variant: mixing of experiments, health of the embedding."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dynaclr.evaluation.figures import count_of, face_of, kind_color
from dynaclr.evaluation.measures import Fact, fact_of
from dynaclr.evaluation.variants import ordered_variants
from dynaclr.experiments.figures import figure_style, save_figure

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MIXING = (
    *("ilisi", "experiment_accuracy", "experiment_auroc"),
    *("matched_ilisi", "matched_kbet", "matched_experiment_auroc"),
)
_HEALTH = (
    *("effective_rank", "alignment", "uniformity", "norm_variation"),
    *("purity_lineage", "purity_experiment", "purity_hour"),
)
_BESIDE = {"loc": "center left", "bbox_to_anchor": (1.0, 0.5)}


def draw_mixing(metrics: pd.DataFrame, path: str | Path) -> None:
    """Mixing of all cells (above) and of matched cells (below) by variant.

    Each with the value that no relation to the experiment would give.

    Parameters
    ----------
    metrics : pandas.DataFrame
        The metrics table.
    path : str or Path
    """
    _draw_panels(metrics, _MIXING, 3, "no relation\nto experiment", path)


def draw_health(metrics: pd.DataFrame, path: str | Path) -> None:
    """Health of the embedding by variant; parameters as for `draw_mixing`."""
    _draw_panels(metrics, _HEALTH, 4, "by chance", path)


def _draw_panels(
    metrics: pd.DataFrame,
    names: Sequence[str],
    n_columns: int,
    chance: str,
    path: str | Path,
) -> None:
    """One panel a metric, one line a variant."""
    import matplotlib.pyplot as plt

    with figure_style():
        n_variants, n_rows = metrics["variant"].nunique(), -(-len(names) // n_columns)
        figure, axes = plt.subplots(
            n_rows,
            n_columns,
            figsize=(2.6 * n_columns + 2.2, n_rows * (1.1 + 0.2 * n_variants)),
            sharey=True,
        )
        for axis in axes.flat[len(names) :]:
            axis.set_visible(False)
        for axis, name in zip(axes.flat, names, strict=False):
            _draw_metric_panel(axis, metrics[metrics["metric"] == name], fact_of(name), chance)
        axes[0, -1].legend(*axes[-1, 0].get_legend_handles_labels(), **_BESIDE)
        return save_figure(figure, path)


def _draw_metric_panel(axis: Axes, table: pd.DataFrame, fact: Fact, chance: str) -> None:
    lines = table.set_index("variant")
    variants = ordered_variants(lines.index)
    for place, variant in enumerate(variants):
        line, color = lines.loc[variant.name], kind_color(variant.kind)
        if lines["value"].min() >= 0:
            axis.plot([0, line["value"]], [place, place], color=color, linewidth=1)
        axis.plot(line["value"], place, "o", color=color, **face_of(variant))
        axis.plot(
            line["expected"],
            place,
            "|",
            color="#444444",
            markersize=9,
            markeredgewidth=1.5,
            label=None if place else chance,
        )
    axis.set_yticks(range(len(variants)), [variant.title for variant in variants])
    axis.set_ylim(len(variants) - 0.4, -0.6)
    axis.set_xlabel(textwrap.fill(fact.title, 28))
    told = {"higher": "higher is better", "lower": "lower is better"}.get(fact.better, "")
    count = count_of(table["n_rows"].max())
    axis.set_title(f"{count}; {told}" if told else count, fontsize=8)
    if table["value"].isna().all():
        axis.text(0.5, 0.5, "no value", transform=axis.transAxes, ha="center")
