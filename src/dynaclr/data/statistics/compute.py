"""Intensity statistics of a plate: per field of view and frame, per field of view, per experiment.

All come from one pass over the pixels, chunk by chunk. Whole numbers of 8 or 16 bits, signed or
not, are counted into histograms, from which every statistic follows exactly and which add up over
chunks and frames. Of other dtypes the pixels of a frame are gathered, up to `_EXACT_PER_FRAME` of
them, and the percentiles selected; beyond that, and pooled over frames, percentiles come from a
sample at evenly spaced ranks (mean, std, minimum and maximum stay exact).

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
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynaclr.config import ChannelConfig, ExperimentConfig
from dynaclr.data.pixels.chunks import ChunkReader, map_ahead
from dynaclr.data.pixels.layout import ArrayLayout, position_layout
from dynaclr.data.pixels.unreadable import UNREADABLE, UnreadableChunk, message_of, reason_of
from dynaclr.data.statistics.histograms import (
    PERCENTILES,
    STATISTICS,
    Histogram,
    Histograms,
    Pool,
    Tally,
    is_counted,
    kept_as,
    sums_of,
    take_finite,
    together,
)
from dynaclr.io import Plate, Position
from dynaclr.io.artifacts import atomic_path, write_digest

log = logging.getLogger(__name__)

__all__ = ["PERCENTILES", "STATISTICS", "Tally", "compute_statistics", "statistics_table"]

LEVELS = ("frame", "fov", "experiment")
NO_FOCUS = -1
# What the table tells of a frame and channel, and its pixels or a sample of them.
Counted = tuple[dict[str, float], Tally]
_EXACT_PER_FRAME = 1 << 24
_COLUMNS = {
    **dict.fromkeys(("level", "experiment", "well", "fov"), "category"),
    "t": np.int32,
    **dict.fromkeys(("channel", "marker"), "category"),
    **dict.fromkeys(("n", "n_nan"), np.int64),
    **dict.fromkeys(STATISTICS, np.float64),
    "focus": np.int32,
}


@dataclass(frozen=True)
class FrameTally:
    """Pixels of one frame and channel, and its plane in focus; -1 of a single plane."""

    pixels: Tally
    focus: int

    def row(self) -> dict[str, float]:
        """What the table tells of the frame."""
        return self.pixels.statistics() | {"focus": self.focus}


_NOTHING: Histogram = (0, np.zeros(0, np.int64))
_LOST = FrameTally(Tally.of_nothing(), NO_FOCUS)


def compute_statistics(entry: ExperimentConfig, out_dir: str | Path, threads: int = 2) -> None:
    """Compute the intensity statistics of one experiment and write them as a table.

    Parameters
    ----------
    entry : ExperimentConfig
        The experiment. Its plate is only read.
    out_dir : str or Path
        Folder for ``statistics.parquet`` (one row per level, field of view, frame and channel;
        intensities in the plate's own units; ``t`` is -1 where a row pools over frames, ``fov``
        is empty where it pools over fields of view; ``focus`` is the plane in focus of a stack's
        frame, else -1). A frame and channel that is skipped because a chunk cannot be read has
        ``n`` 0 and no statistics, and counts in none that are pooled.
    threads : int
        Frames (or groups of frames that share their chunks) counted at the same time. A thread
        holds one decoded chunk and a histogram of each plane in it, or, of pixels that are not
        counted, all of the frames that share the chunk; never a whole movie.

    Raises
    ------
    UserError
        When a chunk cannot be read and the entry does not say ``unreadable: skip``.
    """
    path = Path(out_dir) / "statistics.parquet"
    with atomic_path(path) as temporary:
        statistics_table(entry, threads).to_parquet(temporary, index=False)
    write_digest(path)


def statistics_table(entry: ExperimentConfig, threads: int = 2) -> pd.DataFrame:
    """Statistics of every level as one table; see `compute_statistics`."""
    conditions = entry.condition_of_well
    positions = [
        position
        for name, position in Plate(entry.data_path).positions.items()
        if position.well in conditions and name not in entry.exclude_fovs
    ]
    layouts = [position_layout(position) for position in positions]
    counter = FrameCounter(
        _reader(positions, layouts, entry.empty_chunks), entry.unreadable == "skip"
    )
    jobs = [
        (number, first)
        for number, layout in enumerate(layouts)
        for first in range(0, layout.shape[0], layout.chunk[0])
    ]

    def count(job: tuple[int, int]) -> list[list[Counted]]:
        number, first = job
        channels = [
            positions[number].channels.index(channel.name)
            for channel in _present(entry, positions[number])
        ]
        frames = counter.count(number, first, channels)
        return [[(tally.row(), tally.pixels.thinned()) for tally in frame] for frame in frames]

    rows: list[dict[str, object]] = []
    pooled = {channel.marker: Pool() for channel in entry.channels}
    with ThreadPoolExecutor(threads) as pool:
        counted = zip(jobs, map_ahead(pool, count, jobs, 2 * threads), strict=True)
        for number, groups in itertools.groupby(counted, key=lambda item: item[0][0]):
            frames = (frame for _, group in groups for frame in group)
            rows += _position_rows(entry, positions[number], frames, pooled)
            log.info("%s: field of view %d of %d counted", entry.name, number + 1, len(positions))
    for channel in entry.channels:
        if any(row["marker"] == channel.marker for row in rows):
            place = {"well": "", "fov": "", "t": -1, "level": "experiment", "focus": NO_FOCUS}
            tally = pooled[channel.marker].sum()
            rows.append(_head(entry, channel) | place | tally.statistics())
    table = _as_table(rows)
    if lost := int(((table["level"] == "frame") & (table["n"] + table["n_nan"] == 0)).sum()):
        log.warning("%s: %d frames of a channel cannot be read; left out", entry.name, lost)
    return table


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


def _present(entry: ExperimentConfig, position: Position) -> list[ChannelConfig]:
    return [
        channel for channel in entry.channels if entry.has_marker(channel.marker, position.well)
    ]


def _position_rows(
    entry: ExperimentConfig,
    position: Position,
    frames: Iterable[list[Counted]],
    pooled: dict[str, Pool],
) -> list[dict[str, object]]:
    """Rows of each frame and of all frames; these are added to the pool of each marker."""
    place = {"well": position.well, "fov": position.name}
    channels, rows = _present(entry, position), []
    pools = [Pool() for _ in channels]
    for t, frame in enumerate(frames):
        for channel, pool, (told, pixels) in zip(channels, pools, frame, strict=True):
            rows.append(_head(entry, channel) | place | {"t": t, "level": "frame"} | told)
            pool.add(pixels)
    for channel, pool in zip(channels, pools, strict=True):
        tally, where = pool.sum(), place | {"t": -1, "level": "fov", "focus": NO_FOCUS}
        rows.append(_head(entry, channel) | where | tally.statistics())
        # Of continuous pixels a sample goes on: memory grows with fields, not frames.
        pooled[channel.marker].add(tally)
    return rows


class FrameCounter:
    """Counts the frames of arrays; several threads may do so at the same time.

    Parameters
    ----------
    reader : ChunkReader
    skip : bool
        Whether frames and channels of a chunk that cannot be read are left empty, with a warning.
    """

    def __init__(self, reader: ChunkReader, skip: bool = False) -> None:
        self._reader = reader
        self._skip = skip
        # Empty histograms of chunks that were counted, by layout and number of channels.
        self._spare: defaultdict[tuple[ArrayLayout, int], list[Histograms]] = defaultdict(list)

    def count(self, array: int, first: int, channels: list[int]) -> list[list[FrameTally]]:
        """Count the frames that share their chunks with frame `first`.

        Parameters
        ----------
        array : int
            Number of an array of the reader.
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
        UnreadableChunk
            When a chunk is missing or damaged.
        """
        layout = self._layout(array)
        n_frames = min(layout.chunk[0], layout.shape[0] - first)
        counted = is_counted(np.dtype(layout.dtype))
        count = self._count_integers if counted else self._count_continuous
        found: dict[int, list[FrameTally]] = {}
        depth = layout.chunk[1]
        for outer in sorted({channel // depth for channel in channels}):
            inside = [channel - outer * depth for channel in channels if channel // depth == outer]
            try:
                by_channel = count(array, (first // layout.chunk[0], outer), inside)
            except UnreadableChunk as error:
                if not self._skip:
                    raise
                log.warning("left out of the statistics: %s", error)
                by_channel = [[_LOST] * n_frames for _ in inside]
            found |= {outer * depth + c: by_channel[i] for i, c in enumerate(inside)}
        return [[found[channel][t] for channel in channels] for t in range(n_frames)]

    def _layout(self, array: int) -> ArrayLayout:
        return self._reader.layouts[int(self._reader.layout_of[array])]

    def _count_integers(
        self, array: int, outer: tuple[int, int], channels: list[int]
    ) -> list[list[FrameTally]]:
        """Count the frames of chunks by histograms; by channel and frame."""
        layout = self._layout(array)
        n_t = min(layout.chunk[0], layout.shape[0] - outer[0] * layout.chunk[0])
        sums = np.zeros((len(channels), n_t, layout.shape[2], 3))
        frames: list[list[Histogram]] = [[_NOTHING] * n_t for _ in channels]
        for z in range(layout.grid[2]):
            n_z = min(layout.chunk[2], layout.shape[2] - z * layout.chunk[2])
            with self._histograms(layout, len(channels)) as histograms:
                places = list(np.ndindex(len(channels), n_t, n_z))
                for pixels in _chunks_of(self._reader, array, outer, z):
                    for i, t, k in places:
                        histograms.add((i, t, k), pixels[t, channels[i], k])
                for i, t, k in places:
                    plane = histograms.take((i, t, k))
                    frames[i][t] = together(frames[i][t], plane)
                    if layout.shape[2] > 1:
                        sums[i, t, z * layout.chunk[2] + k] = sums_of(plane)
        return [
            [
                _frame(Tally.of_histogram(histogram), planes)
                for histogram, planes in zip(*movie, strict=True)
            ]
            for movie in zip(frames, sums, strict=True)
        ]

    @contextmanager
    def _histograms(self, layout: ArrayLayout, channels: int) -> Iterator[Histograms]:
        """Empty ones of a whole chunk's planes, to be left empty; an error gives them up."""
        spare = self._spare[layout, channels]
        try:
            histograms = spare.pop()
        except IndexError:
            n_t, n_z = (min(layout.chunk[axis], layout.shape[axis]) for axis in (0, 2))
            histograms = Histograms(np.dtype(layout.dtype), channels, n_t, n_z)
        yield histograms
        spare.append(histograms)

    def _count_continuous(
        self, array: int, outer: tuple[int, int], channels: list[int]
    ) -> list[list[FrameTally]]:
        """Gather the pixels of the frames of chunks and tally them; by channel and frame."""
        layout = self._layout(array)
        n_t = min(layout.chunk[0], layout.shape[0] - outer[0] * layout.chunk[0])
        frames = [[_Continuous(layout) for _ in range(n_t)] for _ in channels]
        for z in range(layout.grid[2]):
            for pixels in _chunks_of(self._reader, array, outer, z):
                for (i, c), t, k in itertools.product(
                    enumerate(channels), range(n_t), range(pixels.shape[2])
                ):
                    frames[i][t].add(pixels[t, c, k], z * layout.chunk[2] + k)
        return [[frame.tally() for frame in movie] for movie in frames]


class _Continuous:
    """The pixels of a frame that cannot be counted, gathered for their percentiles.

    Parameters
    ----------
    layout : ArrayLayout
        Of the array that it is in.
    """

    def __init__(self, layout: ArrayLayout) -> None:
        self._n_pixels = math.prod(layout.shape[2:])
        self._large = self._n_pixels > _EXACT_PER_FRAME
        self._finite = np.empty(0 if self._large else self._n_pixels, kept_as(layout.dtype))
        self._pool = Pool()
        self._sums = np.zeros((layout.shape[2], 3))

    def add(self, pixels: NDArray, plane: int) -> None:
        """Gather some pixels of a plane; of a frame too large to be gathered, a sample."""
        first = int(self._sums[:, 0].sum())
        out = np.empty(pixels.size, self._finite.dtype) if self._large else self._finite[first:]
        sums = take_finite(pixels, out)
        self._sums[plane] += sums
        if self._large:
            n_lost = pixels.size - sums[0]
            self._pool.add(Tally.of_finite(out[: sums[0]], n_lost, *sums[1:]))

    def tally(self) -> FrameTally:
        """Tally of the whole frame."""
        if self._large:
            return _frame(self._pool.sum(), self._sums)
        n, *totals = self._sums.sum(axis=0).tolist()
        tally = Tally.of_finite(self._finite[: int(n)], self._n_pixels - int(n), *totals)
        return _frame(tally, self._sums)


def _frame(pixels: Tally, sums_ZS: NDArray[np.float64]) -> FrameTally:
    """Tally of a frame; of its planes, number of pixels, their sum and that of their squares."""
    if len(sums_ZS) == 1 or not pixels.n:
        return FrameTally(pixels, NO_FOCUS)
    n, total, squares = sums_ZS.T
    mean = total / np.where(n > 0, n, np.nan)
    variance = squares / np.where(n > 0, n, np.nan) - mean * mean
    if pixels.values[0] < 0:
        return FrameTally(pixels, sharpest(variance))
    return FrameTally(pixels, sharpest(variance / np.maximum(mean, np.finfo(float).tiny)))


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
            message = message_of(reader.paths[array], place, reason_of(error))
            raise UnreadableChunk(message) from None
        left = [n - i * c for n, i, c in zip(layout.shape, index, layout.chunk, strict=True)]
        yield pixels[tuple(map(slice, left))]


def _head(entry: ExperimentConfig, channel: ChannelConfig) -> dict[str, object]:
    return {"experiment": entry.name, "channel": channel.name, "marker": channel.marker}


def _as_table(rows: list[dict[str, object]]) -> pd.DataFrame:
    order = {level: number for number, level in enumerate(LEVELS)}
    rows = sorted(rows, key=lambda row: (order[row["level"]], row["fov"], row["t"], row["marker"]))
    return pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=dtype)
            for name, dtype in _COLUMNS.items()
        }
    )
