"""The figure of a simulated experiment: every well, and cells over the hours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.figures.style import color_of, figure_style, save_figure
from dynaclr.io import Plate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import SubFigure

CROP_UM = 24.0
CROPS = 10
_COLUMNS = ["track_id", "t", "y", "x", "parent_track_id"]


def draw_simulation(entry: ExperimentConfig, path: str | Path) -> None:
    """Draw a simulated experiment: a frame of each well, and single cells over the hours.

    Parameters
    ----------
    entry : ExperimentConfig
        A simulated experiment whose products exist, with `truth`.
    path : str or Path
        Figure to write (``.png``, ``.svg`` or ``.pdf``).

    Raises
    ------
    UserError
        When the entry has no `simulation` or no `truth`.
    """
    for key in ("simulation", "truth"):
        if getattr(entry, key) is None:
            raise UserError(f"experiment {entry.name}: no `{key}`, so there is nothing to show.")
    stories = _stories(entry)
    with figure_style():
        import matplotlib.pyplot as plt

        heights = [2.15 * len(entry.channels)] + [0.9 * len(entry.channels) + 0.45] * len(stories)
        figure = plt.figure(figsize=(9.0, sum(heights) + 0.3))
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
        parts = figure.subfigures(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
        _draw_wells(parts[0], entry)
        _draw_stories(parts[1:], entry, stories)
        # Images of noise hardly compress; Snakemake compares files by content up to 1 MB only.
        save_figure(figure, path, dpi=115)


@dataclass(frozen=True)
class _Story:
    """A track with its ancestors, at some hours."""

    title: str
    fov: str
    rows: pd.DataFrame


def _stories(entry: ExperimentConfig) -> list[_Story]:
    """For each condition a line of descent that responds, where one does, and one that does not."""
    stories = []
    for condition, wells in entry.condition_wells.items():
        table = pd.concat([_observations(entry, well) for well in wells], ignore_index=True)
        lines = _lines(entry, table)
        responding = [line for line in lines if line["response"].iloc[-1] > 0.9]
        calm = [line for line in lines if line["response"].iloc[-1] < 0.1]
        chosen = _sisters(responding, calm) or {
            "responding": max(responding, key=_tells, default=None),
            "not responding": max(calm, key=_tells, default=None),
        }
        for what, line in chosen.items():
            if line is not None:
                stories.append(_story(f"{condition}, {what}", line))
    return stories


def _observations(entry: ExperimentConfig, well: str) -> pd.DataFrame:
    """Observations with their truth in all fields of view of a well."""
    truth = pd.read_csv(entry.truth)
    parts = []
    for file in sorted((entry.tracks_path / well).glob("*/*.csv")):
        tracks = pd.read_csv(file)[_COLUMNS].assign(fov=f"{well}/{file.parent.name}")
        parts.append(tracks.merge(truth, on=["fov", "track_id", "t"]))
    return pd.concat(parts, ignore_index=True)


def _lines(entry: ExperimentConfig, table: pd.DataFrame) -> list[pd.DataFrame]:
    """Each track without children, after its ancestors; wells with all markers where there are."""
    whole = [
        w for w in entry.condition_of_well if all(entry.has_marker(m, w) for m in entry.markers)
    ]
    in_whole = table["fov"].str.rsplit("/", n=1).str[0].isin(whole)
    table = table[in_whole] if in_whole.any() else table
    lines = []
    for _, in_fov in table.groupby("fov"):
        tracks = dict(list(in_fov.groupby("track_id")))
        parents = {track: int(rows["parent_track_id"].iloc[0]) for track, rows in tracks.items()}
        for track in sorted(set(parents) - set(parents.values())):
            parts = []
            while track >= 0:
                parts.append(tracks[track])
                track = parents[track]
            lines.append(pd.concat(parts[::-1]))
    return lines


def _tells(line: pd.DataFrame) -> tuple[bool, int, int]:
    """How much a line shows: its state before any response, many frames, divisions."""
    return line["response"].iloc[0] < 0.1, len(line), line["track_id"].nunique()


def _sisters(
    responding: list[pd.DataFrame], calm: list[pd.DataFrame]
) -> dict[str, pd.DataFrame] | None:
    """Two lines that part at a division, one responding and the other not, if there are any."""

    def mother(line: pd.DataFrame) -> tuple[str, int]:
        return line["fov"].iloc[-1], line["parent_track_id"].iloc[-1]

    pairs = [(one, other) for one in responding for other in calm if mother(one) == mother(other)]
    pairs = [pair for pair in pairs if mother(pair[0])[1] >= 0]
    if not pairs:
        return None
    one, other = max(pairs, key=lambda pair: min(_tells(pair[0]), _tells(pair[1])))
    return {"responding": one, "not responding, sister of the one above": other}


def _story(title: str, line: pd.DataFrame) -> _Story:
    picks = np.unique(np.linspace(0, len(line) - 1, CROPS).round().astype(int))
    fov, tracks = line["fov"].iloc[0], line["track_id"].unique()
    named = f"track {tracks[0]}" if len(tracks) == 1 else "tracks " + " > ".join(map(str, tracks))
    return _Story(f"{title} ({fov}, {named})", fov, line.iloc[picks])


def _read(entry: ExperimentConfig, fov: str, t: int) -> NDArray:
    """All channels of one frame, (C, Y, X)."""
    import tensorstore as ts

    position = Plate(entry.data_path).positions[fov]
    array = ts.open(
        {
            "driver": {2: "zarr", 3: "zarr3"}[position.zarr_format],
            "kvstore": {"driver": "file", "path": str(position.levels[0].path)},
        },
        read=True,
    ).result()
    return array[t, :, 0].read().result()


def _draw_wells(figure: SubFigure, entry: ExperimentConfig) -> None:
    wells, t = list(entry.condition_of_well), entry.simulation.frames // 2
    frames = [_read(entry, f"{well}/0", t) for well in wells]
    axes = figure.subplots(len(entry.channels), len(wells), squeeze=False)
    colors = color_of(list(entry.condition_wells))
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
    width = frames[0].shape[-1] * entry.pixel_size_um
    figure.suptitle(
        f"{entry.name}: {len(wells)} wells at {entry.hours(t):.1f} h post infection; images "
        f"{width:.0f} um wide, crops {CROP_UM:.0f} um; r is the true response; "
        "one grey scale a block",
        x=0.01,
        ha="left",
        fontsize=10,
    )


def _draw_stories(
    figures: Iterable[SubFigure], entry: ExperimentConfig, stories: list[_Story]
) -> None:
    for figure, story in zip(figures, stories, strict=True):
        crops = [
            _crop(_read(entry, story.fov, int(row.t)), row.y, row.x, entry.pixel_size_um)
            for row in story.rows.itertuples()
        ]
        axes = figure.subplots(len(entry.channels), CROPS, squeeze=False)
        for axis in axes[:, len(crops) :].flat:
            axis.set_visible(False)
        for c, channel in enumerate(entry.channels):
            low, high = np.nanpercentile(np.stack([crop[c] for crop in crops]), [0.5, 99.7])
            for axis, crop in zip(axes[c], crops, strict=False):
                _show(axis, crop[c], low, high)
            axes[c][0].set_ylabel(channel.name, fontsize=8)
        for axis, row in zip(axes[0], story.rows.itertuples(), strict=False):
            axis.set_title(f"{entry.hours(row.t):.1f} h, r = {row.response:.2f}", fontsize=7)
        figure.suptitle(story.title, x=0.01, ha="left", fontsize=9)


def _crop(frame: NDArray, y: float, x: float, pixel_size_um: float) -> NDArray:
    """Square around a cell, (C, Y, X); NaN outside the image."""
    half = round(CROP_UM / pixel_size_um / 2)
    around = ((0, 0), (half, half), (half, half))
    padded = np.pad(frame.astype(np.float32), around, constant_values=np.nan)
    row, column = round(y), round(x)
    return padded[:, row : row + 2 * half, column : column + 2 * half]


def _show(axis: Axes, image: NDArray, low: float, high: float) -> None:
    axis.imshow(image, cmap="gray", vmin=low, vmax=high)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.grid(False)
    axis.spines[:].set_visible(False)
    axis.set_facecolor("#d9d9d9")
