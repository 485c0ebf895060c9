"""Maps of embeddings (principal components and UMAP), coloured by columns of the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dynaclr.config.variants import parse_variant
from dynaclr.figures.style import SEQUENTIAL, color_of, figure_style, panel_grid, save_figure
from dynaclr.io.subsample import balanced_subsample

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

MAX_POINTS = 4000
_CLASSES = ("(truth)", "(annotations)", "(predicted)")
_UNKNOWN = "#dddddd"
_POINTS: dict[str, Any] = {"s": 5, "linewidths": 0, "alpha": 0.7, "rasterized": True}


def draw_embeddings(store: AnnData, path: str | Path) -> None:
    """Draw maps: the first variant's, and one map of each baseline below them.

    All panels show the same observations, as many of each experiment. A column of panels shows
    experiments, conditions, hours, and the known and the predicted classes of each task; its
    legend or colour bar stands below.

    Parameters
    ----------
    store : anndata.AnnData
        The evaluation's maps.
    path : str or Path
        Where to write; the suffix says the format.
    """
    facts = json.loads(store.uns["dynaclr"])
    rows = balanced_subsample(store.obs["experiment"].to_numpy(), MAX_POINTS, facts["seed"])
    # Rows of one experiment lie together; drawn in order the last would cover the others.
    shown = store[rows[np.random.default_rng(0).permutation(len(rows))]]
    colors = {
        "experiment": _classes(shown.obs["experiment"]),
        "condition": _classes(shown.obs["condition"]),
        "hours": shown.obs["hours"].to_numpy(dtype=float),
        **{name: _classes(shown.obs[name]) for name in store.obs if name.endswith(_CLASSES)},
    }
    maps = _shown_maps(facts["maps"])
    with figure_style():
        size = (2.9, 2.7 + 1.1 / len(maps))
        figure, axes = panel_grid(len(maps) * len(colors), size, len(colors))
        for row, facts_of_map in zip(axes, maps, strict=True):
            x_label, y_label = facts_of_map["axes"][:2]
            coordinates = np.asarray(shown.obsm[facts_of_map["key"]])[:, :2]
            for axis, values in zip(row, colors.values(), strict=True):
                _scatter(axis, coordinates, values)
                axis.set(xticks=[], yticks=[], xlabel=x_label)
            row[0].set_ylabel(f"{parse_variant(facts_of_map['variant']).title}\n{y_label}")
        for axis, title in zip(axes[0], colors, strict=True):
            axis.set_title(f"{title}, n = {len(rows):,}")
        for axis, values in zip(axes[-1], colors.values(), strict=True):
            _add_legend_below(axis, values)
        save_figure(figure, path)


def _shown_maps(maps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All maps of the first variant; of each baseline the last: UMAP where there is one."""
    first = maps[0]["variant"]
    last_of = {one["variant"]: one for one in maps if one["variant"] != first}
    return [one for one in maps if one["variant"] == first] + list(last_of.values())


def _classes(values: pd.Series) -> np.ndarray:
    """Class names as objects, None where unknown."""
    return values.astype(object).where(values.notna(), None).to_numpy()


def _palette(values: np.ndarray) -> dict[str, str]:
    return color_of(value for value in values if value is not None)


def _scatter(axis: Axes, coordinates: np.ndarray, values: np.ndarray) -> None:
    # All but a few outliers, so that those do not press the rest together.
    low, high = np.quantile(coordinates, [0.002, 0.998], axis=0)
    margin = 0.06 * np.maximum(high - low, 1e-9)
    axis.set_xlim(low[0] - margin[0], high[0] + margin[0])
    axis.set_ylim(low[1] - margin[1], high[1] + margin[1])
    x, y = coordinates.T
    if values.dtype != object:
        axis.scatter(x, y, c=values, cmap=SEQUENTIAL, **_POINTS)
        return
    palette = _palette(values)
    # Unknown ones below, so that they hide no class.
    known = np.array([value is not None for value in values])
    axis.scatter(x[~known], y[~known], c=_UNKNOWN, **_POINTS)
    colors = [palette[value] for value in values[known]]
    axis.scatter(x[known], y[known], c=colors, **_POINTS)


def _add_legend_below(axis: Axes, values: np.ndarray) -> None:
    """Legend of classes, or colour bar of numbers, below the last panel of a column."""
    if values.dtype != object:
        below = axis.inset_axes((0.1, -0.22, 0.8, 0.05))
        bar = axis.figure.colorbar(axis.collections[0], cax=below, orientation="horizontal")
        bar.set_label("hours post infection or perturbation")
        if bar.solids is not None:
            bar.solids.set_alpha(1)
        return
    palette = _palette(values)
    if any(value is None for value in values):
        palette["unknown"] = _UNKNOWN
    handles = [
        axis.plot([], [], "o", color=color, markersize=5, label=name)[0]
        for name, color in palette.items()
    ]
    axis.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.1),
        ncols=2 if len(handles) > 3 else 1,
        columnspacing=1.0,
        handletextpad=0.2,
    )
