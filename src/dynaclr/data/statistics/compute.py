"""Intensity statistics of a plate: per field of view and frame, per field of view, per experiment.

All come from one pass over the pixels, chunk by chunk. Whole numbers of 8 or 16 bits, signed or
not, are counted into histograms, from which every statistic follows exactly and which add up over
chunks and frames. Of other dtypes the pixels of a frame are gathered, up to 16 million of them, and
the percentiles are exact; beyond that, and pooled over frames, percentiles come from a sample at
evenly spaced ranks (mean, std, minimum and maximum stay exact).

The same pass finds the plane in focus of every stack: the one of largest normalised variance, the
variance of its pixels over their mean, which Groen, Young and Ligthart ("A comparison of different
focus functions for use in autofocus algorithms", Cytometry 6, 1985) recommend because it follows
neither the brightness of the lamp nor bleaching. Where pixels may be negative, as in quantitative
phase, the mean is no measure of brightness and it is the variance alone.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dynaclr.config import ChannelConfig, ExperimentConfig
from dynaclr.data.parallel import map_ahead
from dynaclr.data.pixels.chunk_reader import ChunkReader
from dynaclr.data.statistics.distribution import PERCENTILES, STATISTICS, Distribution, Pool
from dynaclr.data.statistics.frames import NO_FOCUS, FrameCounter
from dynaclr.io import Plate, Position
from dynaclr.io.array_layout import ArrayLayout
from dynaclr.io.artifacts import atomic_path, write_digest

log = logging.getLogger(__name__)

__all__ = ["PERCENTILES", "STATISTICS", "compute_statistics", "statistics_table"]

LEVELS = ("frame", "fov", "experiment")
# A frame and channel's row of the table, and its pixels or a sample of them.
Counted = tuple[dict[str, float], Distribution]
_COLUMNS = {
    **dict.fromkeys(("level", "experiment", "well", "fov"), "category"),
    "t": np.int32,
    **dict.fromkeys(("channel", "marker"), "category"),
    **dict.fromkeys(("n", "n_nan"), np.int64),
    **dict.fromkeys(STATISTICS, np.float64),
    "focus": np.int32,
}


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
        holds one decoded chunk and a histogram of each frame in it, or, of pixels that are not
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
    positions = list(Plate.of(entry).positions.values())
    layouts = [position.layout() for position in positions]
    reader = _reader(positions, layouts, entry.empty_chunks)
    counter = FrameCounter(reader, skip=entry.unreadable == "skip")
    jobs = [
        (number, first)
        for number, layout in enumerate(layouts)
        for first in range(0, layout.shape[0], layout.chunk[0])
    ]

    def count(job: tuple[int, int]) -> list[list[Counted]]:
        number, first = job
        channels = [
            positions[number].channel_number(channel.name)
            for channel in _present(entry, positions[number])
        ]
        return [
            [
                (frame.pixels.statistics() | {"focus": frame.focus}, frame.pixels.thinned())
                for frame in by_channel
            ]
            for by_channel in counter.count(number, first, channels)
        ]

    rows: list[dict[str, Any]] = []
    pools = {channel.marker: Pool() for channel in entry.channels}
    with ThreadPoolExecutor(threads) as threadpool:
        counted = zip(jobs, map_ahead(threadpool, count, jobs, 2 * threads), strict=True)
        for number, groups in itertools.groupby(counted, key=lambda item: item[0][0]):
            frames = (frame for _, group in groups for frame in group)
            rows += _position_rows(entry, positions[number], frames, pools)
            log.info("%s: field of view %d of %d counted", entry.name, number + 1, len(positions))
    for channel in entry.channels:
        if any(row["marker"] == channel.marker for row in rows):
            where = {"well": "", "fov": "", "t": -1, "level": "experiment", "focus": NO_FOCUS}
            statistics = pools[channel.marker].sum().statistics()
            rows.append(_head(entry, channel) | where | statistics)
    table = _as_table(rows)
    unread = (table["level"] == "frame") & (table["n"] + table["n_nan"] == 0)
    if unread.any():
        log.warning("%s: %d frames of a channel cannot be read; left out", entry.name, unread.sum())
    _warn_of_not_finite(entry, table[table["level"] == "frame"])
    return table


def _warn_of_not_finite(entry: ExperimentConfig, frames: pd.DataFrame) -> None:
    for marker, of_marker in frames.groupby("marker", observed=True):
        n_nan = of_marker["n_nan"]
        if affected := int((n_nan > 0).sum()):
            log.warning(
                "%s: %d of %d frames of %s have pixels that are NaN or infinite, %.2g %% of all "
                "pixels; they count in no statistics. Patches that hold some follow `unreadable`",
                *(entry.name, affected, len(of_marker), marker),
                100 * n_nan.sum() / max((of_marker["n"] + n_nan).sum(), 1),
            )


def _reader(
    positions: list[Position], layouts: list[ArrayLayout], empty_chunks: bool
) -> ChunkReader:
    distinct = list(dict.fromkeys(layouts))
    return ChunkReader(
        [str(position.levels[0].path.absolute()) for position in positions],
        distinct,
        [distinct.index(layout) for layout in layouts],
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
    pools: dict[str, Pool],
) -> list[dict[str, Any]]:
    """Rows of each frame and of all frames; these are added to the pool of each marker."""
    where = {"well": position.well, "fov": position.name}
    channels, rows = _present(entry, position), []
    of_position = [Pool() for _ in channels]
    for t, frame in enumerate(frames):
        for channel, pool, (row, pixels) in zip(channels, of_position, frame, strict=True):
            rows.append(_head(entry, channel) | where | {"t": t, "level": "frame"} | row)
            pool.add(pixels)
    for channel, pool in zip(channels, of_position, strict=True):
        pixels, level = pool.sum(), {"t": -1, "level": "fov", "focus": NO_FOCUS}
        rows.append(_head(entry, channel) | where | level | pixels.statistics())
        # Of continuous pixels a sample goes on: memory grows with fields, not frames.
        pools[channel.marker].add(pixels)
    return rows


def _head(entry: ExperimentConfig, channel: ChannelConfig) -> dict[str, Any]:
    return {"experiment": entry.name, "channel": channel.name, "marker": channel.marker}


def _as_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    order = {level: number for number, level in enumerate(LEVELS)}
    rows = sorted(rows, key=lambda row: (order[row["level"]], row["fov"], row["t"], row["marker"]))
    return pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=dtype)
            for name, dtype in _COLUMNS.items()
        }
    )
