"""Figures of embeddings: principal components and UMAP, coloured by what is known of the cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from dynaclr.evaluation.projection import (
    balanced_subsample,
    principal_components,
    standardize,
    umap_coordinates,
)
from dynaclr.evaluation.stores import Cohort
from dynaclr.evaluation.variants import Variant, first_of_each_kind, ordered_variants
from dynaclr.experiments.figures import SEQUENTIAL, color_of, figure_style, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_POINTS = 4000
# UMAP says little of fewer observations, and needs some to find neighbours.
_MIN_FOR_UMAP = 30
_UNKNOWN = "#dddddd"
_POINTS = {"s": 5, "linewidths": 0, "alpha": 0.7, "rasterized": True}


class _Map(NamedTuple):
    """Two coordinates of the shown observations, with what stands on their axes."""

    title: str
    axis_labels: tuple[str, str]
    coordinates: np.ndarray


def draw_embeddings(
    cohort: Cohort, task_labels: Mapping[str, np.ndarray], out_dir: Path, seed: int
) -> None:
    """Write ``embedding.png``: the first trained variant, and one baseline of each kind below it.

    All show the same observations, as many of each experiment.

    Parameters
    ----------
    cohort : Cohort
    task_labels : mapping
        Title to class names of all observations, object, None where unknown, shape (n,).
    out_dir : Path
    seed : int
        Decides the subsample and UMAP.
    """
    rows = balanced_subsample(cohort.obs["experiment"].to_numpy(), MAX_POINTS, seed)
    shown = cohort.obs.iloc[rows]
    colors = {
        "experiment": shown["experiment"].to_numpy(dtype=object),
        "condition": shown["condition"].to_numpy(dtype=object),
        "hours": shown["hours"].to_numpy(dtype=float),
        **{title: values[rows] for title, values in task_labels.items()},
    }
    variants = ordered_variants(cohort.features)
    maps: list[_Map] = []
    for variant in first_of_each_kind(variants):
        features = standardize(cohort.features[variant.name][rows])
        # Of the baselines one map is enough: UMAP, or PCA where there is none.
        if variant == variants[0] or len(rows) < _MIN_FOR_UMAP:
            maps.append(_principal_components(features, variant))
        if len(rows) >= _MIN_FOR_UMAP:
            maps.append(_umap(features, variant, seed))
    _draw(maps, colors, out_dir / "embedding.png")


def _principal_components(features: np.ndarray, variant: Variant) -> _Map:
    coordinates, explained = principal_components(features)
    labels = [f"PC {n} ({share:.0%} of variance)" for n, share in enumerate(explained, 1)]
    return _Map(variant.title, (labels[0], labels[1]), coordinates)


def _umap(features: np.ndarray, variant: Variant, seed: int) -> _Map:
    coordinates = umap_coordinates(features, seed)
    return _Map(variant.title, ("UMAP 1 (no unit)", "UMAP 2 (no unit)"), coordinates)


def _draw(maps: list[_Map], colors: Mapping[str, np.ndarray], path: Path) -> None:
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
