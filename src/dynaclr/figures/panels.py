"""Figures of one number a variant: mixing, classes kept, responses and movement, health."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dynaclr.config.variants import Variant, ordered_variants
from dynaclr.figures.style import count_of, face_of, figure_style, kind_color, save_figure
from dynaclr.figures.titles import direction_of, title_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_MIXING = (
    *("ilisi", "experiment_accuracy", "experiment_auroc"),
    *("matched_ilisi", "matched_kbet", "matched_experiment_auroc"),
)
_KEPT = (
    *("clisi", "nmi", "ari", "silhouette", "retrieval_map", "isolated_state_auroc"),
    *("matched_connectivity", "matched_silhouette"),
    *("scib_batch", "scib_bio", "scib_total", "jump_total"),
)
_BEHAVIOUR = (
    *("sister_auroc", "visible_from_hours", "progression_r2", "smoothness"),
    *("smoothness_pooled", "dynamic_range", "msd_exponent", "mmd_from_hours"),
    *("onset_error_hours", "onset_coverage", "onset_control_rate", "norm_mean"),
)
_HEALTH = (
    *("effective_rank", "alignment", "uniformity", "norm_variation"),
    *("purity_lineage", "purity_experiment", "purity_hour"),
)
# The value that is expected without an effect.
_CHANCE = {"color": "#444444", "markersize": 9, "markeredgewidth": 1.5}
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


def draw_kept(metrics: pd.DataFrame, path: str | Path) -> None:
    """Classes kept while experiments mix, and the protocols' totals; as for `draw_mixing`."""
    _draw_panels(metrics, _KEPT, 4, "by chance", path)


def draw_behaviour(metrics: pd.DataFrame, path: str | Path) -> None:
    """Responses, movement and onset of cells by variant; parameters as for `draw_mixing`."""
    _draw_panels(metrics, _BEHAVIOUR, 4, "by chance", path)


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

    variants = ordered_variants(metrics["variant"].unique())
    base = metrics["metric"].str.partition(":")[0]
    with figure_style():
        n_rows = -(-len(names) // n_columns)
        figure, axes = plt.subplots(
            n_rows,
            n_columns,
            figsize=(2.6 * n_columns + 2.2, n_rows * (1.1 + 0.2 * len(variants))),
            sharey=True,
        )
        for axis in axes.flat[len(names) :]:
            axis.set_visible(False)
        for axis, name in zip(axes.flat, names, strict=False):
            _draw_metric_panel(axis, metrics[base == name], variants, title_of(name))
        axes[0, 0].set_yticks(range(len(variants)), [variant.title for variant in variants])
        axes[0, 0].set_ylim(len(variants) - 0.4, -0.6)
        axes[0, -1].plot([], [], "|", label=chance, **_CHANCE)
        axes[0, -1].legend(**_BESIDE)
        return save_figure(figure, path)


def _draw_metric_panel(
    axis: Axes, table: pd.DataFrame, variants: Sequence[Variant], title: str
) -> None:
    """One metric: its mean over experiments and tasks, and, small, each of them."""
    means = table.groupby("variant")[["value", "expected"]].mean()
    for place, variant in enumerate(variants):
        if variant.name not in means.index:
            continue
        color, (value, expected) = kind_color(variant.kind), means.loc[variant.name]
        values = table.loc[table["variant"] == variant.name, "value"]
        if table["value"].min() >= 0:
            axis.plot([0, value], [place, place], color=color, linewidth=1)
        if len(values) > 1:
            axis.plot(values, [place] * len(values), ".", color=color, markersize=3)
        axis.plot(value, place, "o", color=color, **face_of(variant))
        axis.plot(expected, place, "|", **_CHANCE)
    axis.set_xlabel(textwrap.fill(title, 28))
    count = count_of(table["n_rows"].max()) if len(table) else ""
    axis.set_title("; ".join(filter(None, (count, direction_of(table)))), fontsize=8)
    if table["value"].isna().all():
        axis.text(0.5, 0.5, "no value", transform=axis.transAxes, ha="center")
