"""The figure of one experiment's index: quality of its tracks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dynaclr.figures.style import (
    CATEGORICAL,
    SEQUENTIAL,
    bin_edges,
    color_of,
    figure_style,
    legend_labels,
    panel_grid,
    save_figure,
    title_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Columns of the cell index that are drawn.
COLUMNS = [
    *("condition", "t", "hours", "y", "x", "branch", "branch_end", "generation"),
    *("parent_track_id", "frames_to_division", "track_length"),
]


def draw_tracks(table: pa.Table, summary: dict[str, Any], path: str | Path) -> None:
    """Draw the quality control of one experiment's tracks.

    Parameters
    ----------
    table : pyarrow.Table
        `COLUMNS` of the experiment's cell index, sorted by (fov, t, branch).
    summary : dict
        Content of ``summary.json``.
    path : str or Path
        Where to write; the suffix says the format.
    """
    index, counts = _Index(table), summary["counts"]
    color = color_of(index.conditions)
    with figure_style():
        figure, axes = panel_grid(8, (3.75, 3.3), 4)
        title_figure(
            figure,
            f"{summary['experiment']}: {counts['rows']:,} observations, {counts['tracks']:,} "
            f"tracks, {counts['lineages']:,} lineages, {counts['divisions']:,} divisions in "
            f"{counts['fovs']:,} field{'s' if counts['fovs'] > 1 else ''} of view",
        )
        _draw_cells_per_frame(axes[0, 0], index, color)
        _draw_lengths(axes[0, 1], index, color)
        _draw_events(axes[0, 2], index)
        _draw_steps(axes[0, 3], index)
        _draw_generations(axes[1, 0], index)
        _draw_positions(axes[1, 1], index, summary)
        _draw_fovs(axes[1, 2], summary, color)
        _draw_repairs(axes[1, 3], summary)
        save_figure(figure, path)


class _Index:
    """Columns of one experiment's index as arrays, and what several panels need of them."""

    def __init__(self, table: pa.Table) -> None:
        table = table.combine_chunks()
        self.column = {name: table[name].to_numpy() for name in COLUMNS if name != "condition"}
        condition = table["condition"].combine_chunks()
        self.conditions: list[str] = condition.dictionary.to_pylist()
        self.condition = condition.indices.to_numpy()
        # A track has its first row where its branch is first seen, since frames ascend in a field.
        _, self.first = np.unique(self.column["branch"], return_index=True)
        last = np.unique(self.column["branch"][::-1], return_index=True)[1]
        self.last = len(self) - 1 - last
        self.n_frames = int(self.column["t"].max()) + 1

    def __len__(self) -> int:
        return len(self.column["t"])

    def per_frame(self, rows: NDArray[Any] | slice) -> NDArray[np.int64]:
        """Rows chosen, counted by frame."""
        return np.bincount(self.column["t"][rows], minlength=self.n_frames)

    def hour_of_frame(self) -> NDArray[np.float64]:
        hours = np.full(self.n_frames, np.nan)
        hours[self.column["t"]] = self.column["hours"]
        return hours


def _draw_cells_per_frame(axis: Axes, index: _Index, color: dict[str, str]) -> None:
    hours = index.hour_of_frame()
    labels = legend_labels(index.conditions)
    for number, (name, label) in enumerate(zip(index.conditions, labels, strict=True)):
        axis.plot(hours, index.per_frame(index.condition == number), color=color[name], label=label)
    axis.set(title="Cells per frame", xlabel="time (hours)", ylabel="cells", ylim=(0, None))
    axis.legend()


def _draw_lengths(axis: Axes, index: _Index, color: dict[str, str]) -> None:
    length, condition = index.column["track_length"][index.first], index.condition[index.first]
    width = max(1, length.max() // 30)
    edges = np.arange(0.5, length.max() + 1.5 + width, width)
    by_condition = [length[condition == number] for number in range(len(index.conditions))]
    labels = [
        f"{name}: median {np.median(lengths):.0f}"
        for name, lengths in zip(index.conditions, by_condition, strict=True)
    ]
    options: dict[str, Any] = {"bins": edges, "histtype": "step", "linewidth": 1.4}
    for name, lengths, label in zip(
        index.conditions, by_condition, legend_labels(labels), strict=True
    ):
        axis.hist(lengths, color=color[name], label=label, **options)
    axis.set(
        title=f"Track lengths (n = {len(length):,} tracks)",
        xlabel="observations of a track",
        ylabel="tracks",
    )
    axis.set_ylim(0, 1.25 * axis.get_ylim()[1])
    axis.legend(loc="upper left")


def _draw_events(axis: Axes, index: _Index) -> None:
    """Show starts and ends that neither a division nor the movie's border explains."""
    column = index.column
    n_cells = np.maximum(index.per_frame(slice(None)), 1)
    divides = column["frames_to_division"][index.last] == 0
    has_daughter = column["branch_end"][index.last] > column["branch"][index.last] + 1
    events = {
        "division": index.last[divides],
        "start without parent": index.first[
            (column["parent_track_id"][index.first] < 0) & (column["t"][index.first] > 0)
        ],
        "end without daughters": index.last[
            ~has_daughter & (column["t"][index.last] < index.n_frames - 1)
        ],
    }
    hours = index.hour_of_frame()
    for (name, rows), shade in zip(events.items(), CATEGORICAL, strict=False):
        share = 100 * index.per_frame(rows) / n_cells
        axis.plot(hours, share, color=shade, label=f"{name} (n = {len(rows):,})")
    axis.set(
        title="Divisions and broken tracks", xlabel="time (hours)", ylabel="% of cells in frame"
    )
    axis.set_ylim(0, 1.35 * max(1.0, axis.get_ylim()[1]))
    axis.legend(loc="upper left")


def _draw_steps(axis: Axes, index: _Index) -> None:
    """Show how far cells move from one frame to the next; a second hump means swapped cells."""
    column = index.column
    order = np.lexsort((column["t"], column["branch"]))
    same = np.diff(column["branch"][order]) == 0
    gap = np.diff(column["t"][order])[same]
    step = np.hypot(np.diff(column["y"][order]), np.diff(column["x"][order]))[same][gap == 1]
    n_gaps = int(np.count_nonzero(gap > 1))
    title = f"Steps (n = {len(step):,}; {n_gaps:,} gaps)"
    axis.set(title=title, xlabel="pixels per frame", ylabel="steps", yscale="log")
    axis.yaxis.set_major_formatter("{x:,.0f}")
    axis.yaxis.set_minor_formatter("")
    if not len(step):
        return
    axis.hist(step, bin_edges(step, 50), color=CATEGORICAL[0])
    far = np.percentile(step, 99)
    axis.axvline(far, color=CATEGORICAL[5], linestyle="--", label=f"99th percentile: {far:.1f}")
    axis.legend()


def _draw_generations(axis: Axes, index: _Index) -> None:
    tracks = np.bincount(index.column["generation"][index.first])
    axis.bar(np.arange(len(tracks)), tracks, color=CATEGORICAL[0])
    axis.set_xlim(-1, len(tracks))
    axis.set_xticks(np.arange(0, len(tracks), 1 + len(tracks) // 12))
    axis.set(
        title=f"Generations (n = {tracks.sum():,} tracks)",
        xlabel="divisions since the first track of the lineage",
        ylabel="tracks",
    )


def _draw_positions(axis: Axes, index: _Index, summary: dict[str, Any]) -> None:
    shapes = np.array(list(summary["plate"]["image_shapes"].values()))
    height, width = shapes.max(axis=0)
    bins = [max(1, int(40 * side / max(height, width))) for side in (height, width)]
    count, _, _ = np.histogram2d(
        index.column["y"],
        index.column["x"],
        bins=bins,
        range=[[-0.5, height - 0.5], [-0.5, width - 0.5]],
    )
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    image = axis.imshow(count, cmap=SEQUENTIAL, extent=extent, interpolation="nearest")
    axis.figure.colorbar(image, ax=axis, label="observations per bin", shrink=0.85)
    axis.grid(False)
    axis.set(
        title="Positions in the image, all fields of view", xlabel="x (pixels)", ylabel="y (pixels)"
    )


def _draw_fovs(axis: Axes, summary: dict[str, Any], color: dict[str, str]) -> None:
    """Show observations of each field of view, well by well: an empty or crowded one stands out."""
    n_rows = {fov: counts["rows"] for fov, counts in summary["counts"]["per_fov"].items()}
    well_of = {fov: fov.rsplit("/", 1)[0] for fov in n_rows}
    wells = sorted(set(well_of.values()))
    for name, shade in color.items():
        of_condition = summary["entry"]["condition_wells"][name]
        fovs = [fov for fov in n_rows if well_of[fov] in of_condition]
        x, y = [wells.index(well_of[fov]) for fov in fovs], [n_rows[fov] for fov in fovs]
        axis.plot(x, y, "o", color=shade, markersize=5, alpha=0.7)
    shown = np.unique(np.linspace(0, len(wells) - 1, min(len(wells), 12)).round().astype(int))
    axis.set_xticks(shown, [wells[i] for i in shown])
    axis.set_xlim(-0.6, len(wells) - 0.4)
    axis.set(
        title=f"Fields of view (n = {len(n_rows):,})",
        xlabel="well",
        ylabel="observations of a field of view",
        ylim=(0, 1.08 * max(n_rows.values())),
    )


def _draw_repairs(axis: Axes, summary: dict[str, Any]) -> None:
    repaired = {rule: found["count"] for rule, found in summary["repairs"].items()}
    left_out = {what: len(names) for what, names in summary["left_out"].items() if names}
    axis.set(title="Repairs (grey: parts not used)", xlabel="times")
    counts = left_out | dict(sorted(repaired.items(), key=lambda item: item[1]))
    if not counts:
        axis.text(0.5, 0.5, "none needed", ha="center", va="center", transform=axis.transAxes)
        axis.set(xticks=[], yticks=[])
        return
    bars = axis.barh(
        [name.replace("_", " ") for name in counts],
        list(counts.values()),
        color=[CATEGORICAL[1] if name in repaired else CATEGORICAL[7] for name in counts],
    )
    axis.bar_label(bars, labels=[f"{n:,}" for n in counts.values()], padding=3, fontsize=8)
    axis.margins(x=0.2)
    axis.grid(axis="y", visible=False)
    axis.locator_params(axis="x", integer=True)
