"""Intensity statistics of a plate: per field of view and frame, per field of view, per experiment.

All come from one pass over the pixels, chunk by chunk. Pixels of 8 or 16 bits are counted into
histograms, from which every statistic follows exactly and which add up over chunks and frames. Of
other dtypes a frame is exact up to `_EXACT_PER_FRAME` pixels; beyond that, and pooled over frames,
percentiles come from an evenly spaced sample of the pixels (mean, std, minimum and maximum stay
exact).

The same pass finds the plane in focus of every stack: the one of largest normalised variance, the
variance of its pixels over their mean, which Groen, Young and Ligthart ("A comparison of different
focus functions for use in autofocus algorithms", Cytometry 6, 1985) recommend because it follows
neither the brightness of the lamp nor bleaching. Where pixels may be negative, as in quantitative
phase, the mean says nothing of brightness and it is the variance alone.
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynaclr.data.chunks import ChunkReader, map_ahead
from dynaclr.data.faults import UNREADABLE, message_of, reason_of
from dynaclr.data.layout import ArrayLayout, position_layout
from dynaclr.data.tallies import (
    PERCENTILES,
    STATISTICS,
    Tally,
    count_into,
    is_counted,
    new_lanes,
)
from dynaclr.experiments import ExperimentConfig, Plate, Position, UserError
from dynaclr.experiments.figures import color_of, figure_style, save_figure
from dynaclr.experiments.files import atomic_path, seal

log = logging.getLogger(__name__)

__all__ = ["PERCENTILES", "STATISTICS", "Tally", "compute_statistics", "statistics_table"]

LEVELS = ("frame", "fov", "experiment")
NO_FOCUS = -1
_EXACT_PER_FRAME = 1 << 24


@dataclass(frozen=True)
class FrameTally:
    """Pixels of one frame and channel, and its plane in focus; -1 of a single plane."""

    pixels: Tally
    focus: int


def compute_statistics(entry: ExperimentConfig, out_dir: str | Path, threads: int = 2) -> None:
    """Compute the intensity statistics of one experiment and write table and figure.

    Parameters
    ----------
    entry : ExperimentConfig
        The experiment. Its plate is only read.
    out_dir : str or Path
        Folder for ``statistics.parquet`` (one row per level, field of view, frame and channel;
        intensities in the plate's own units; ``t`` is -1 where a row pools over frames, ``fov``
        is empty where it pools over fields of view; ``focus`` is the plane in focus of a stack's
        frame, else -1) and ``intensity.svg``.
    threads : int
        Frames (or groups of frames that share their chunks) counted at the same time. Each thread
        holds one chunk, never a whole stack or movie.

    Raises
    ------
    UserError
        When a field of view cannot be read.
    """
    table = statistics_table(entry, threads)
    out_dir = Path(out_dir)
    with atomic_path(out_dir / "statistics.parquet") as temporary:
        table.to_parquet(temporary, index=False)
    seal(out_dir / "statistics.parquet")
    save_intensity_figure(table, entry, out_dir / "intensity.svg")


def statistics_table(entry: ExperimentConfig, threads: int = 2) -> pd.DataFrame:
    """Statistics of every level as one table; see `compute_statistics`."""
    conditions = entry.condition_of_well
    positions = [
        position
        for name, position in Plate(entry.data_path).positions.items()
        if position.well in conditions and name not in entry.exclude_fovs
    ]
    layouts = [position_layout(position) for position in positions]
    reader = _reader(positions, layouts, entry.empty_chunks)
    jobs = [
        (number, first)
        for number, layout in enumerate(layouts)
        for first in range(0, layout.shape[0], layout.chunk[0])
    ]

    def count(job: tuple[int, int]) -> list[list[FrameTally]]:
        number, first = job
        channels = [
            positions[number].channels.index(channel.name)
            for channel in _present(entry, positions[number])
        ]
        return count_frames(reader, number, first, channels)

    rows: list[dict[str, object]] = []
    pooled: dict[str, list[Tally]] = {channel.marker: [] for channel in entry.channels}
    with ThreadPoolExecutor(threads) as pool:
        counted = zip(jobs, map_ahead(pool, count, jobs, 2 * threads), strict=True)
        for number, groups in itertools.groupby(counted, key=lambda item: item[0][0]):
            frames = [frame for _, group in groups for frame in group]
            for marker, tally, row in _position_rows(entry, positions[number], frames):
                rows.append(row)
                if row["level"] == "fov":
                    # Of continuous pixels a sample goes on: memory grows with fields, not frames.
                    pooled[marker].append(tally.thinned())
            log.info("%s: field of view %d of %d counted", entry.name, number + 1, len(positions))
    for channel in entry.channels:
        if pooled[channel.marker]:
            place = {"well": "", "fov": "", "t": -1, "level": "experiment"}
            tally = Tally.sum(pooled[channel.marker])
            rows.append(_row(entry, channel.name, channel.marker, place, tally))
    return _as_table(rows)


def _reader(
    positions: list[Position], layouts: list[ArrayLayout], empty_chunks: bool
) -> ChunkReader:
    distinct = list(dict.fromkeys(layouts))
    return ChunkReader(
        [str(position.levels[0].path.absolute()) for position in positions],
        distinct,
        np.array([distinct.index(layout) for layout in layouts]),
        cache_bytes=0,
        may_lack=np.full(len(positions), empty_chunks),
    )


def _present(entry: ExperimentConfig, position: Position) -> list:
    return [
        channel for channel in entry.channels if entry.has_marker(channel.marker, position.well)
    ]


def _position_rows(
    entry: ExperimentConfig, position: Position, frames: list[list[FrameTally]]
) -> Iterator[tuple[str, Tally, dict[str, object]]]:
    """Rows of each frame and of all frames; of each also the marker and the pixels."""
    place = {"well": position.well, "fov": position.name}
    for number, channel in enumerate(_present(entry, position)):
        for t, frame in enumerate(frames):
            tally, where = frame[number].pixels, place | {"t": t, "level": "frame"}
            where["focus"] = frame[number].focus
            yield channel.marker, tally, _row(entry, channel.name, channel.marker, where, tally)
        tally = Tally.sum(frame[number].pixels.thinned() for frame in frames)
        where = place | {"t": -1, "level": "fov"}
        yield channel.marker, tally, _row(entry, channel.name, channel.marker, where, tally)


def count_frames(
    reader: ChunkReader, array: int, first: int, channels: list[int]
) -> list[list[FrameTally]]:
    """Count the frames that share their chunks with frame `first`.

    Parameters
    ----------
    reader : ChunkReader
    array : int
        Number of its array.
    first : int
        First frame of a chunk.
    channels : list of int
        Channels to count.

    Returns
    -------
    list of list of FrameTally
        By frame and channel.

    Raises
    ------
    UserError
        When a chunk is missing or damaged.
    """
    layout = reader.layouts[int(reader.layout_of[array])]
    count = _count_integers if is_counted(np.dtype(layout.dtype)) else _count_continuous
    found: dict[int, list[FrameTally]] = {}
    depth = layout.chunk[1]
    for outer in sorted({channel // depth for channel in channels}):
        inside = [channel - outer * depth for channel in channels if channel // depth == outer]
        by_channel = count(reader, array, (first // layout.chunk[0], outer), inside)
        found |= {outer * depth + c: by_channel[i] for i, c in enumerate(inside)}
    n_frames = min(layout.chunk[0], layout.shape[0] - first)
    return [[found[channel][t] for channel in channels] for t in range(n_frames)]


def _count_integers(
    reader: ChunkReader, array: int, outer: tuple[int, int], channels: list[int]
) -> list[list[FrameTally]]:
    """Count the frames of chunks by histograms; by channel and frame."""
    layout = reader.layouts[int(reader.layout_of[array])]
    n_t = min(layout.chunk[0], layout.shape[0] - outer[0] * layout.chunk[0])
    dtype, planes = np.dtype(layout.dtype), []
    for z in range(layout.grid[2]):
        n_z = min(layout.chunk[2], layout.shape[2] - z * layout.chunk[2])
        lanes = new_lanes(dtype, len(channels), n_t, n_z)
        for pixels in _chunks_of(reader, array, outer, z):
            for (i, c), t, k in itertools.product(enumerate(channels), range(n_t), range(n_z)):
                count_into(lanes[i, t, k], pixels[t, c, k])
        planes.append(lanes.sum(axis=3, dtype=np.int64))
    histogram_CTZV = np.concatenate(planes, axis=2)
    tallies = [[Tally.of_histogram(frame.sum(axis=0)) for frame in c] for c in histogram_CTZV]
    if layout.shape[2] == 1:
        return [[FrameTally(tally, NO_FOCUS) for tally in c] for c in tallies]
    value = np.arange(histogram_CTZV.shape[-1], dtype=np.float64)
    mean = histogram_CTZV @ value / histogram_CTZV.sum(axis=-1)
    variance = histogram_CTZV @ (value * value) / histogram_CTZV.sum(axis=-1) - mean * mean
    contrast = variance / np.maximum(mean, np.finfo(float).tiny)
    return [
        [FrameTally(tally, sharpest(contrast[i, t])) for t, tally in enumerate(c)]
        for i, c in enumerate(tallies)
    ]


def _count_continuous(
    reader: ChunkReader, array: int, outer: tuple[int, int], channels: list[int]
) -> list[list[FrameTally]]:
    """Count the frames of chunks by sorting their pixels; by channel and frame."""
    layout = reader.layouts[int(reader.layout_of[array])]
    n_t = min(layout.chunk[0], layout.shape[0] - outer[0] * layout.chunk[0])
    large = math.prod(layout.shape[2:]) > _EXACT_PER_FRAME
    planes: list[list[list[list[Tally]]]] = [
        [[[] for _ in range(layout.shape[2])] for _ in range(n_t)] for _ in channels
    ]
    for z in range(layout.grid[2]):
        for pixels in _chunks_of(reader, array, outer, z):
            for (i, c), t, k in itertools.product(
                enumerate(channels), range(n_t), range(pixels.shape[2])
            ):
                tally = Tally.of(pixels[t, c, k])
                plane = planes[i][t][z * layout.chunk[2] + k]
                plane.append(tally.thinned() if large else tally)
    return [[_frame_of_planes(frame) for frame in channel] for channel in planes]


def _frame_of_planes(planes: list[list[Tally]]) -> FrameTally:
    frame = Tally.sum(itertools.chain.from_iterable(planes))
    if len(planes) == 1 or not frame.n:
        return FrameTally(frame, NO_FOCUS)
    whole = [Tally.sum(plane) for plane in planes]
    variance, mean = (np.array([getattr(p, name) for p in whole]) for name in ("variance", "mean"))
    if frame.values[0] < 0:
        return FrameTally(frame, sharpest(variance))
    return FrameTally(frame, sharpest(variance / np.maximum(mean, np.finfo(float).tiny)))


def sharpest(contrast: NDArray[np.float64]) -> int:
    """Plane of largest contrast; -1 where none has any."""
    return int(np.nanargmax(contrast)) if np.nanmax(contrast, initial=0) > 0 else NO_FOCUS


def _chunks_of(
    reader: ChunkReader, array: int, outer: tuple[int, int], z: int
) -> Iterator[NDArray]:
    """Pixels of the chunks side by side in y and x, cut where the array ends."""
    layout = reader.layouts[int(reader.layout_of[array])]
    for y, x in itertools.product(range(layout.grid[3]), range(layout.grid[4])):
        index = (*outer, z, y, x)
        try:
            pixels = reader.whole(array, index)
        except UNREADABLE as error:
            place = [i * n for i, n in zip(index, layout.chunk, strict=True)]
            raise UserError(message_of(reader.paths[array], place, reason_of(error))) from None
        left = [n - i * c for n, i, c in zip(layout.shape, index, layout.chunk, strict=True)]
        yield pixels[tuple(map(slice, left))]


def _row(
    entry: ExperimentConfig, channel: str, marker: str, place: dict[str, object], tally: Tally
) -> dict[str, object]:
    head = {"experiment": entry.name, "channel": channel, "marker": marker}
    return head | place | tally.statistics()


def _as_table(rows: list[dict[str, object]]) -> pd.DataFrame:
    names = ["level", "experiment", "well", "fov", "t", "channel", "marker", "n", "n_nan"]
    table = pd.DataFrame(rows, columns=[*names, *STATISTICS, "focus"])
    order = {level: number for number, level in enumerate(LEVELS)}
    table = table.sort_values(
        ["level", "fov", "t", "marker"],
        key=lambda column: column.map(order) if column.name == "level" else column,
        kind="stable",
        ignore_index=True,
    )
    for name in ("level", "experiment", "well", "fov", "channel", "marker"):
        table[name] = table[name].astype("category")
    table["focus"] = table["focus"].fillna(NO_FOCUS)
    return table.astype({"t": np.int32, "n": np.int64, "n_nan": np.int64, "focus": np.int32})


def save_intensity_figure(table: pd.DataFrame, entry: ExperimentConfig, path: Path) -> None:
    """Draw median and interquartile range over time, one panel a channel, one line a field of view.

    It answers: is the illumination stable, and do conditions differ in brightness alone?
    """
    import matplotlib.pyplot as plt

    frames = table[table["level"] == "frame"]
    colors = color_of(list(entry.condition_wells))
    with figure_style():
        figure, axes = plt.subplots(
            1, len(entry.channels), figsize=(4.2 * len(entry.channels), 3), squeeze=False
        )
        for axis, channel in zip(axes[0], entry.channels, strict=True):
            chosen = frames[frames["marker"] == channel.marker]
            for (well, fov), rows in chosen.groupby(["well", "fov"], observed=True):
                condition = entry.condition_of_well[well]
                hours = entry.hours(rows["t"].to_numpy())
                axis.fill_between(
                    hours, rows["p25"], rows["p75"], color=colors[condition], alpha=0.12, lw=0
                )
                axis.plot(hours, rows["median"], color=colors[condition], label=condition)
                axis.annotate(fov, (hours[-1], rows["median"].iloc[-1]), fontsize=6, color="0.4")
            axis.set(
                xlabel="hours post infection",
                ylabel="pixel intensity (median, IQR)",
                title=f"{channel.marker} ({channel.name}), n = {chosen['fov'].nunique()} fields",
            )
        handles, labels = axes[0][0].get_legend_handles_labels()
        unique = dict(zip(labels, handles, strict=True))
        axes[0][0].legend(unique.values(), unique.keys())
        save_figure(figure, path)
