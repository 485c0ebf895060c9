"""The figure of a simulated experiment: every well, and single cells over the hours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
import zarr
from numpy.typing import NDArray

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.figures.style import color_of, figure_style, save_figure, title_figure
from dynaclr.io import Plate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

CROP_UM = 24.0
N_CROPS = 10
_COLUMNS = ["track_id", "t", "y", "x", "parent_track_id"]


def draw_simulation(entry: ExperimentConfig, path: str | Path) -> None:
    """Draw a simulated experiment: a frame of each well, and single cells over the hours.

    For each condition a line of descent that responds is shown, where one does, and one that does
    not.

    Parameters
    ----------
    entry : ExperimentConfig
        A simulated experiment whose products exist, with `truth`.
    path : str or Path
        Where to write; the suffix says the format.

    Raises
    ------
    UserError
        When the entry has no `simulation` or no `truth`.
    """
    simulation, pixel_um = entry.simulation, entry.pixel_size_um
    if simulation is None or entry.truth is None or pixel_um is None:
        keys = ("simulation", "truth", "pixel_size_um")
        missing = next(key for key in keys if getattr(entry, key) is None)
        raise UserError(f"experiment {entry.name}: no `{missing}`, so there is nothing to show.")
    truth = pd.read_csv(entry.truth)
    descents = []
    for condition, wells in entry.condition_wells.items():
        chosen = _choose_descents(_lines_of_descent(entry, wells, truth))
        descents += [_Descent.thinned(f"{condition}, {what}", rows) for what, rows in chosen]
    with figure_style():
        import matplotlib.pyplot as plt

        heights = [2.15 * len(entry.channels)] + [0.9 * len(entry.channels) + 0.45] * len(descents)
        figure = plt.figure(figsize=(9.0, sum(heights) + 0.3))
        figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        _draw_wells(parts[0], entry, simulation.frames // 2, pixel_um)
        for part, descent in zip(parts[1:], descents, strict=True):
            _draw_descent(part, entry, descent, pixel_um)
        # Images of noise hardly compress; Snakemake compares files by content up to 1 MB only.
        save_figure(figure, path, dpi=115)


class _Descent(NamedTuple):
    """A track with its ancestors, at some hours: observations of one field of view."""

    title: str
    fov: str
    rows: pd.DataFrame

    @classmethod
    def thinned(cls, title: str, rows: pd.DataFrame) -> _Descent:
        fov, tracks = rows["fov"].iloc[0], rows["track_id"].unique()
        names = " > ".join(map(str, tracks))
        title = f"{title} ({fov}, {'track' if len(tracks) == 1 else 'tracks'} {names})"
        shown = np.unique(np.linspace(0, len(rows) - 1, N_CROPS).round().astype(int))
        return cls(title, fov, rows.iloc[shown])


def _lines_of_descent(
    entry: ExperimentConfig, wells: Sequence[str], truth: pd.DataFrame
) -> list[pd.DataFrame]:
    """Each track without children, after its ancestors; of wells with all markers if there are."""
    complete = [well for well in wells if all(entry.has_marker(m, well) for m in entry.markers)]
    lines = []
    for well in sorted(complete or wells):
        for file in sorted((entry.tracks_path / well).glob("*/*.csv")):
            table = pd.read_csv(file)[_COLUMNS].assign(fov=f"{well}/{file.parent.name}")
            tracks = dict(list(table.merge(truth, on=["fov", "track_id", "t"]).groupby("track_id")))
            parents = {t: int(rows["parent_track_id"].iloc[0]) for t, rows in tracks.items()}
            for track in sorted(set(parents) - set(parents.values())):
                parts = []
                while track >= 0:
                    parts.append(tracks[track])
                    track = parents[track]
                lines.append(pd.concat(parts[::-1]))
    return lines


def _choose_descents(lines: list[pd.DataFrame]) -> list[tuple[str, pd.DataFrame]]:
    """Two lines that part at a division, one responding; else the most telling one of each kind."""

    def interest(line: pd.DataFrame) -> tuple[bool, int, int]:
        """Its state before any response, many frames, divisions."""
        return line["response"].iloc[0] < 0.1, len(line), line["track_id"].nunique()

    def mother(line: pd.DataFrame) -> tuple[str, int]:
        return line["fov"].iloc[-1], line["parent_track_id"].iloc[-1]

    responding = [line for line in lines if line["response"].iloc[-1] > 0.9]
    others = [line for line in lines if line["response"].iloc[-1] < 0.1]
    sisters = [
        (one, other)
        for one in responding
        for other in others
        if mother(one) == mother(other) and mother(one)[1] >= 0
    ]
    if sisters:
        one, other = max(sisters, key=lambda pair: min(map(interest, pair)))
        return [("responding", one), ("not responding, sister of the one above", other)]
    kinds = {"responding": responding, "not responding": others}
    return [(what, max(found, key=interest)) for what, found in kinds.items() if found]


def _read_frame(entry: ExperimentConfig, fov: str, t: int) -> NDArray:
    """All channels of one frame, (C, Y, X)."""
    level = Plate(entry.data_path).positions[fov].levels[0]
    return np.asarray(zarr.open_array(level.path, mode="r")[t, :, 0])


def _draw_wells(figure: SubFigure, entry: ExperimentConfig, t: int, pixel_um: float) -> None:
    wells = list(entry.condition_of_well)
    frames = [_read_frame(entry, f"{well}/0", t) for well in wells]
    axes = figure.subplots(len(entry.channels), len(wells), squeeze=False)
    colors = color_of(entry.condition_wells)
    for c, channel in enumerate(entry.channels):
        low, high = np.percentile(np.stack([frame[c] for frame in frames]), [0.5, 99.7])
        for axis, frame, well in zip(axes[c], frames, wells, strict=True):
            _show(axis, frame[c], low, high)
            if c == 0:
                condition = entry.condition_of_well[well]
                axis.set_title(f"{well}  {condition}", color=colors[condition])
            if not entry.has_marker(channel.marker, well):
                axis.set_xlabel(f"no {channel.marker} in this well")
        axes[c][0].set_ylabel(f"{channel.name} ({channel.marker})\n{low:.0f} to {high:.0f} counts")
    width = frames[0].shape[-1] * pixel_um
    title_figure(
        figure,
        f"{entry.name}: {len(wells)} wells at {entry.hours(t):.1f} h post infection; images "
        f"{width:.0f} um wide, crops {CROP_UM:.0f} um; r is the true response; "
        "one grey scale a block",
        fontsize=10,
    )


def _draw_descent(
    figure: SubFigure, entry: ExperimentConfig, descent: _Descent, pixel_um: float
) -> None:
    rows = list(descent.rows.itertuples())
    crops = [
        _crop(_read_frame(entry, descent.fov, int(row.t)), row.y, row.x, pixel_um) for row in rows
    ]
    axes = figure.subplots(len(entry.channels), N_CROPS, squeeze=False)
    for axis in axes[:, len(crops) :].flat:
        axis.set_visible(False)
    for c, channel in enumerate(entry.channels):
        low, high = np.nanpercentile(np.stack([crop[c] for crop in crops]), [0.5, 99.7])
        for axis, crop in zip(axes[c], crops, strict=False):
            _show(axis, crop[c], low, high)
        axes[c][0].set_ylabel(channel.name, fontsize=8)
    for axis, row in zip(axes[0], rows, strict=False):
        axis.set_title(f"{entry.hours(row.t):.1f} h, r = {row.response:.2f}", fontsize=7)
    title_figure(figure, descent.title, fontsize=9)


def _crop(frame: NDArray, y: float, x: float, pixel_um: float) -> NDArray:
    """Square around a cell, (C, Y, X); NaN outside the image."""
    half = round(CROP_UM / pixel_um / 2)
    around = ((0, 0), (half, half), (half, half))
    padded = np.pad(frame.astype(np.float32), around, constant_values=np.nan)
    row, column = round(y), round(x)
    return padded[:, row : row + 2 * half, column : column + 2 * half]


def _show(axis: Axes, image: NDArray, low: float, high: float) -> None:
    axis.imshow(image, cmap="gray", vmin=low, vmax=high)
    axis.set(xticks=[], yticks=[], facecolor="#d9d9d9")
    axis.grid(False)
    axis.spines[:].set_visible(False)
