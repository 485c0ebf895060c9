"""Figures of embeddings: principal components and UMAP, coloured by what is known of the cells."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dynaclr.config.variants import parse_variant
from dynaclr.figures.style import SEQUENTIAL, color_of, figure_style, save_figure
from dynaclr.io.subsample import balanced_subsample

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData
    from matplotlib.axes import Axes

MAX_POINTS = 4000
_CLASSES = ("(truth)", "(annotations)", "(predicted)")
_UNKNOWN = "#dddddd"
_POINTS = {"s": 5, "linewidths": 0, "alpha": 0.7, "rasterized": True}


class _Map(NamedTuple):
    """Two coordinates of the shown observations, with what stands on their axes."""

    title: str
    axis_labels: Sequence[str]
    coordinates: np.ndarray


def draw_embeddings(store: AnnData, path: str | Path) -> None:
    """Draw maps: the first variant's, and one map of each baseline below them.

    All panels show the same observations, as many of each experiment. A column of panels shows
    experiments, conditions, hours, and the known and the predicted classes of each task.

    Parameters
    ----------
    store : anndata.AnnData
        The evaluation's maps.
    path : str or Path
        Figure to write.
    """
    facts = json.loads(store.uns["dynaclr"])
    shown = store[balanced_subsample(store.obs["experiment"].to_numpy(), MAX_POINTS, facts["seed"])]
    colors = {
        "experiment": _classes(shown.obs["experiment"]),
        "condition": _classes(shown.obs["condition"]),
        "hours": shown.obs["hours"].to_numpy(dtype=float),
        **{name: _classes(shown.obs[name]) for name in store.obs if name.endswith(_CLASSES)},
    }
    _draw([_map(shown, one) for one in _shown_maps(facts["maps"])], colors, path)


def _shown_maps(maps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All maps of the first variant; of each baseline the last: UMAP where there is one."""
    first = maps[0]["variant"]
    last_of = {one["variant"]: one for one in maps if one["variant"] != first}
    return [one for one in maps if one["variant"] == first] + list(last_of.values())


def _map(shown: AnnData, facts: dict[str, Any]) -> _Map:
    title = parse_variant(facts["variant"]).title
    return _Map(title, facts["axes"], np.asarray(shown.obsm[facts["key"]])[:, :2])


def _classes(values: pd.Series) -> np.ndarray:
    """Class names as objects, None where unknown."""
    return values.astype(object).where(values.notna(), None).to_numpy()


def _draw(maps: list[_Map], colors: Mapping[str, np.ndarray], path: str | Path) -> None:
    """A grid of scatter plots: one row a map, one column a colouring, one key a column."""
    import matplotlib.pyplot as plt

    n_points = len(maps[0].coordinates)
    # Rows of one experiment lie together; drawn in order the last would cover the others.
    order = np.random.default_rng(0).permutation(n_points)
    with figure_style():
        figure, axes = plt.subplots(
            len(maps),
            len(colors),
            squeeze=False,
            figsize=(2.9 * len(colors), 2.7 * len(maps) + 1.1),
        )
        for row, one in zip(axes, maps, strict=True):
            for axis, values in zip(row, colors.values(), strict=True):
                _scatter(axis, one.coordinates[order], values[order])
                axis.set(xticks=[], yticks=[], xlabel=one.axis_labels[0])
            row[0].set_ylabel(f"{one.title}\n{one.axis_labels[1]}")
        for axis, title in zip(axes[0], colors, strict=True):
            axis.set_title(f"{title}, n = {n_points:,}")
        for axis, values in zip(axes[-1], colors.values(), strict=True):
            _add_key(axis, values)
        save_figure(figure, path)


def _scatter(axis: Axes, coordinates: np.ndarray, values: np.ndarray) -> None:
    axis.set_xlim(*_limits(coordinates[:, 0]))
    axis.set_ylim(*_limits(coordinates[:, 1]))
    if values.dtype != object:
        axis.scatter(*coordinates.T, c=values, cmap=SEQUENTIAL, **_POINTS)
        return
    palette = _palette(values)
    # Unknown ones below, so that they hide no class.
    known = np.array([value is not None for value in values])
    axis.scatter(*coordinates[~known].T, c=_UNKNOWN, **_POINTS)
    axis.scatter(*coordinates[known].T, c=[palette[value] for value in values[known]], **_POINTS)


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Range of all but a few outliers, so that those do not press the rest together."""
    low, high = np.quantile(values, [0.002, 0.998])
    margin = 0.06 * max(high - low, 1e-9)
    return float(low - margin), float(high + margin)


def _palette(values: np.ndarray) -> dict[str, str]:
    return color_of([value for value in values if value is not None])


def _add_key(axis: Axes, values: np.ndarray) -> None:
    """Legend or colour bar below the last panel of a column."""
    if values.dtype != object:
        place = axis.inset_axes((0.1, -0.22, 0.8, 0.05))
        bar = axis.figure.colorbar(axis.collections[0], cax=place, orientation="horizontal")
        bar.set_label("hours post infection or perturbation")
        bar.solids.set_alpha(1)
        return
    palette = dict(_palette(values))
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
