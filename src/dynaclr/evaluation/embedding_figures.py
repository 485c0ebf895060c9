"""Figures of embeddings: principal components and UMAP, coloured by what is known of the cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

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


def draw_embeddings(
    cohort: Cohort, task_labels: Mapping[str, np.ndarray], out_dir: Path, seed: int
) -> None:
    """Write ``embedding_<variant>.png`` for each variant.

    All variants show the same observations, as many of each experiment. UMAP takes seconds a
    variant, so it is drawn for the first seed of each kind.

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
    variants = ordered_variants(cohort.features)
    with_umap = first_of_each_kind(variants) if len(rows) >= _MIN_FOR_UMAP else []
    for variant in variants:
        features = standardize(cohort.features[variant.name][rows])
        coordinates, explained = principal_components(features)
        maps = {"PC": coordinates}
        if variant in with_umap:
            maps["UMAP"] = umap_coordinates(features, seed)
        colors = {
            "experiment": cohort.obs["experiment"].to_numpy(dtype=object)[rows],
            "condition": cohort.obs["condition"].to_numpy(dtype=object)[rows],
            "hours": cohort.obs["hours"].to_numpy(dtype=float)[rows],
            **{title: values[rows] for title, values in task_labels.items()},
        }
        _draw_one(variant, maps, explained, colors, out_dir / f"embedding_{variant.name}.png")


def _draw_one(
    variant: Variant,
    maps: Mapping[str, np.ndarray],
    explained: np.ndarray,
    colors: Mapping[str, np.ndarray],
    path: Path,
) -> None:
    import matplotlib.pyplot as plt

    n_points = len(next(iter(maps.values())))
    with figure_style():
        figure, axes = plt.subplots(
            len(maps),
            len(colors),
            squeeze=False,
            figsize=(2.9 * len(colors), 2.7 * len(maps) + 1.1),
        )
        # Rows of one experiment lie together; drawn in order the last would cover the others.
        order = np.random.default_rng(0).permutation(n_points)
        for row, (name, coordinates) in zip(axes, maps.items(), strict=True):
            for axis, values in zip(row, colors.values(), strict=True):
                _scatter(axis, coordinates[order], values[order])
                axis.set(xticks=[], yticks=[], xlabel=_axis_label(name, 0, explained))
            row[0].set_ylabel(_axis_label(name, 1, explained))
        for axis, title in zip(axes[0], colors, strict=True):
            axis.set_title(title)
        for axis, values in zip(axes[-1], colors.values(), strict=True):
            _add_key(axis, values)
        figure.suptitle(
            f"{variant.title}: n = {n_points:,} observations", x=0.01, ha="left", fontsize=11
        )
        save_figure(figure, path)


def _axis_label(name: str, number: int, explained: np.ndarray) -> str:
    if name != "PC":
        return f"{name} {number + 1} (no unit)"
    return f"PC {number + 1} ({explained[number]:.0%} of variance)"


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
