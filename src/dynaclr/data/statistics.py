"""Intensity statistics of a plate: per field of view and frame, per field of view, per experiment.

All come from one pass over the pixels, chunk by chunk. Pixels of 8 or 16 bits are counted into
histograms, from which every statistic follows exactly and which add up over chunks and frames. Of
other dtypes a frame is exact up to `_EXACT_PER_FRAME` pixels; beyond that, and pooled over frames,
percentiles come from an evenly spaced sample of the pixels (mean, std, minimum and maximum stay
exact).
"""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tensorstore as ts
from numpy.typing import NDArray

from dynaclr.data.arrays import context, open_array
from dynaclr.experiments import ExperimentConfig, Plate, Position, UserError
from dynaclr.experiments.figures import color_of, figure_style, save_figure
from dynaclr.experiments.files import atomic_path, seal

log = logging.getLogger(__name__)

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
LEVELS = ("frame", "fov", "experiment")
STATISTICS = ("mean", "std", "median", "iqr", *(f"p{q}" for q in PERCENTILES), "min", "max")
_SAMPLE_PER_FRAME = 16_384
_EXACT_PER_FRAME = 1 << 24
_PIECE = 1 << 18
# Pixels of one channel that a thread holds at a time, unless a single chunk has more.
_BLOCK = 1 << 22


@dataclass
class Tally:
    """What is kept of a set of pixels: enough to add sets up and to tell their statistics.

    Attributes
    ----------
    values, counts : NDArray
        Pixel values in ascending order and how often each was seen.
    n, n_nan : int
        Pixels counted, and pixels left out because they are NaN or infinite.
    total, total_of_squares : float
        Sums over all pixels counted.
    """

    values: NDArray
    counts: NDArray[np.int64]
    n: int
    n_nan: int
    total: float
    total_of_squares: float

    @classmethod
    def of(cls, pixels: NDArray) -> Tally:
        """Count the pixels of an array of any shape."""
        flat = pixels.ravel()
        if flat.dtype in (np.uint8, np.uint16):
            # Piece by piece, since bincount makes eight bytes of every pixel it is given.
            histogram = np.zeros(np.iinfo(flat.dtype).max + 1, dtype=np.int64)
            for start in range(0, flat.size, _PIECE):
                counted = np.bincount(flat[start : start + _PIECE])
                histogram[: counted.size] += counted
            values = np.flatnonzero(histogram)
            counts = histogram[values]
            n_nan = 0
        else:
            finite = flat[np.isfinite(flat)].astype(np.float64)
            n_nan = flat.size - finite.size
            values, counts = np.unique(finite, return_counts=True)
        exact = values.astype(np.float64)
        return cls(
            values,
            counts,
            int(counts.sum()),
            n_nan,
            float(exact @ counts),
            float((exact * exact) @ counts),
        )

    def thinned(self) -> Tally:
        """Same sums, but at most some thousand values of a continuous distribution."""
        if self.values.size <= np.iinfo(np.uint16).max + 1 and self.values.dtype.kind in "iu":
            return self
        if self.values.size <= _SAMPLE_PER_FRAME:
            return self
        # Evenly spaced ranks, each standing for the same number of pixels; the ends are kept.
        ranks = np.linspace(0, self.n - 1, _SAMPLE_PER_FRAME).round().astype(np.int64)
        values = self.values[np.searchsorted(np.cumsum(self.counts), ranks, side="right")]
        counts = np.full(values.size, self.n // values.size, dtype=np.int64)
        counts[: self.n % values.size] += 1
        return Tally(values, counts, self.n, self.n_nan, self.total, self.total_of_squares)

    @classmethod
    def sum(cls, tallies: Iterable[Tally]) -> Tally:
        """Pool several sets of pixels."""
        parts = list(tallies)
        values, inverse = np.unique(
            np.concatenate([part.values for part in parts]), return_inverse=True
        )
        counts = np.zeros(values.size, dtype=np.int64)
        np.add.at(counts, inverse, np.concatenate([part.counts for part in parts]))
        return cls(
            values,
            counts,
            sum(part.n for part in parts),
            sum(part.n_nan for part in parts),
            float(np.sum([part.total for part in parts])),
            float(np.sum([part.total_of_squares for part in parts])),
        )

    def quantile(self, fraction: float) -> float:
        """Quantile with linear interpolation between order statistics, as in `numpy.quantile`."""
        rank = fraction * (self.n - 1)
        cumulative = np.cumsum(self.counts)
        low, high = (
            float(self.values[np.searchsorted(cumulative, np.floor(rank) + step, side="right")])
            if np.floor(rank) + step < self.n
            else float(self.values[-1])
            for step in (0, 1)
        )
        return low + (rank - np.floor(rank)) * (high - low)

    def statistics(self) -> dict[str, float]:
        """All of `STATISTICS`, and the numbers of pixels they come from."""
        row: dict[str, float] = {"n": self.n, "n_nan": self.n_nan}
        if self.n == 0:
            return row | dict.fromkeys(STATISTICS, float("nan"))
        mean = self.total / self.n
        row |= {f"p{q}": self.quantile(q / 100) for q in PERCENTILES}
        row |= {
            "mean": mean,
            "std": max(self.total_of_squares / self.n - mean * mean, 0.0) ** 0.5,
            "median": row["p50"],
            "iqr": row["p75"] - row["p25"],
            "min": float(self.values[0]),
            "max": float(self.values[-1]),
        }
        return row


def compute_statistics(entry: ExperimentConfig, out_dir: str | Path, threads: int = 2) -> None:
    """Compute the intensity statistics of one experiment and write table and figure.

    Parameters
    ----------
    entry : ExperimentConfig
        The experiment. Its plate is only read.
    out_dir : str or Path
        Folder for ``statistics.parquet`` (one row per level, field of view, frame and channel;
        intensities in the plate's own units; ``t`` is -1 where a row pools over frames, ``fov``
        is empty where it pools over fields of view) and ``intensity.svg``.
    threads : int
        Frames (or groups of frames that share their chunks) counted at the same time. Each thread
        holds one block of chunks, never a whole stack or movie.

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
    rows: list[dict[str, object]] = []
    pooled: dict[str, list[Tally]] = {channel.marker: [] for channel in entry.channels}
    with ThreadPoolExecutor(threads) as pool:
        for number, position in enumerate(positions, 1):
            for marker, tally, row in _position_rows(entry, position, pool):
                rows.append(row)
                if row["level"] == "fov":
                    # Of continuous pixels a sample goes on: memory grows with fields, not frames.
                    pooled[marker].append(tally.thinned())
            log.info("%s: field of view %d of %d counted", entry.name, number, len(positions))
    for channel in entry.channels:
        if pooled[channel.marker]:
            place = {"well": "", "fov": "", "t": -1, "level": "experiment"}
            tally = Tally.sum(pooled[channel.marker])
            rows.append(_row(entry, channel.name, channel.marker, place, tally))
    return _as_table(rows)


def _position_rows(
    entry: ExperimentConfig, position: Position, pool: ThreadPoolExecutor
) -> Iterator[tuple[str, Tally, dict[str, object]]]:
    array = open_array(position, context())
    channels = [
        channel for channel in entry.channels if entry.has_marker(channel.marker, position.well)
    ]
    numbers = [position.channels.index(channel.name) for channel in channels]
    frames_of_chunk = array.chunk_layout.read_chunk.shape[0]

    def tally_frames(first: int) -> list[list[Tally]]:
        frames = range(first, min(first + frames_of_chunk, position.shape[0]))
        try:
            return _tallies(array, frames, numbers)
        except ValueError as error:
            raise UserError(
                f"{position.path}: cannot read frame {first} of field of view {position.name} "
                f"({error}). Copy the plate again, or exclude this field of view."
            ) from None

    kept: list[list[Tally]] = [[] for _ in channels]
    place = {"well": position.well, "fov": position.name}
    groups = pool.map(tally_frames, range(0, position.shape[0], frames_of_chunk))
    for t, tallies in enumerate(itertools.chain.from_iterable(groups)):
        for number, (channel, tally) in enumerate(zip(channels, tallies, strict=True)):
            where = place | {"t": t, "level": "frame"}
            yield channel.marker, tally, _row(entry, channel.name, channel.marker, where, tally)
            kept[number].append(tally.thinned())
    for channel, tallies in zip(channels, kept, strict=True):
        tally = Tally.sum(tallies)
        where = place | {"t": -1, "level": "fov"}
        yield channel.marker, tally, _row(entry, channel.name, channel.marker, where, tally)


def _tallies(array: ts.TensorStore, frames: range, channels: list[int]) -> list[list[Tally]]:
    """Count frames that share their chunks: one tally a frame and channel."""
    parts: list[list[list[Tally]]] = [[[] for _ in channels] for _ in frames]
    large = math.prod(array.shape[2:]) > _EXACT_PER_FRAME
    sharing: dict[int, list[int]] = {}
    for place, channel in enumerate(channels):
        sharing.setdefault(channel // array.chunk_layout.read_chunk.shape[1], []).append(place)
    for block, places in itertools.product(_blocks(array), sharing.values()):
        box = (slice(frames.start, frames.stop), [channels[place] for place in places], *block)
        pixels_TCZYX = array[box].read().result()
        for frame, frame_CZYX in zip(parts, pixels_TCZYX, strict=True):
            for place, pixels_ZYX in zip(places, frame_CZYX, strict=True):
                tally = Tally.of(pixels_ZYX)
                frame[place].append(tally.thinned() if large else tally)
    return [[Tally.sum(channel) for channel in frame] for frame in parts]


def _blocks(array: ts.TensorStore) -> Iterator[tuple[slice, slice, slice]]:
    """Boxes in z, y and x that cover a frame: whole chunks, as many as `_BLOCK` pixels allow."""
    shape = array.shape[2:]
    sides = list(array.chunk_layout.read_chunk.shape[2:])
    for axis in (2, 1, 0):
        chunks = max(1, _BLOCK // math.prod(sides))
        sides[axis] *= min(chunks, -(-shape[axis] // sides[axis]))
    ranges = [range(0, length, side) for length, side in zip(shape, sides, strict=True)]
    for start in itertools.product(*ranges):
        ends = (min(a + side, n) for a, side, n in zip(start, sides, shape, strict=True))
        yield tuple(map(slice, start, ends))


def _row(
    entry: ExperimentConfig, channel: str, marker: str, place: dict[str, object], tally: Tally
) -> dict[str, object]:
    head = {"experiment": entry.name, "channel": channel, "marker": marker}
    return head | place | tally.statistics()


def _as_table(rows: list[dict[str, object]]) -> pd.DataFrame:
    names = ["level", "experiment", "well", "fov", "t", "channel", "marker", "n", "n_nan"]
    table = pd.DataFrame(rows, columns=[*names, *STATISTICS])
    order = {level: number for number, level in enumerate(LEVELS)}
    table = table.sort_values(
        ["level", "fov", "t", "marker"],
        key=lambda column: column.map(order) if column.name == "level" else column,
        kind="stable",
        ignore_index=True,
    )
    for name in ("level", "experiment", "well", "fov", "channel", "marker"):
        table[name] = table[name].astype("category")
    return table.astype({"t": np.int32, "n": np.int64, "n_nan": np.int64})


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
