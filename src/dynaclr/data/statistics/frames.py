"""Counts of pixel values and focus of single frames, chunk by chunk."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaclr.data.pixels.chunk_reader import ChunkReader
from dynaclr.data.pixels.unreadable import (
    UNREADABLE,
    UnreadableChunkError,
    message_of,
    reason_of,
)
from dynaclr.data.statistics.distribution import (
    Distribution,
    Pool,
    count_pixels,
    counted_as,
    finite_pixels,
    is_counted,
    new_histogram,
    sums_of,
)
from dynaclr.io.array_layout import ArrayLayout

log = logging.getLogger(__name__)

NO_FOCUS = -1
# Of a frame of continuous pixels, the most that are gathered for exact percentiles.
_EXACT_PER_FRAME = 1 << 24


@dataclass(frozen=True)
class Frame:
    """Pixels of one frame and channel.

    Attributes
    ----------
    pixels : Distribution
    focus : int
        Plane in focus; -1 of a single plane, or where no plane has contrast.
    """

    pixels: Distribution
    focus: int


_UNREADABLE_FRAME = Frame(Distribution.empty(), NO_FOCUS)


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

    def count(self, array: int, first: int, channels: list[int]) -> list[list[Frame]]:
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
        list of list of Frame
            By frame and channel.

        Raises
        ------
        UnreadableChunkError
            When a chunk is missing or damaged.
        """
        layout = self._reader.layouts[int(self._reader.layout_of[array])]
        n_frames = min(layout.chunk[0], layout.shape[0] - first)
        found: dict[int, list[Frame]] = {}
        depth = layout.chunk[1]
        for outer in sorted({channel // depth for channel in channels}):
            inside = [channel - outer * depth for channel in channels if channel // depth == outer]
            try:
                by_channel = self._count(array, layout, (first // layout.chunk[0], outer), inside)
            except UnreadableChunkError as error:
                if not self._skip:
                    raise
                log.warning("left out of the statistics: %s", error)
                by_channel = [[_UNREADABLE_FRAME] * n_frames for _ in inside]
            found |= {outer * depth + c: by_channel[i] for i, c in enumerate(inside)}
        return [[found[channel][t] for channel in channels] for t in range(n_frames)]

    def _count(
        self, array: int, layout: ArrayLayout, outer: tuple[int, int], channels: list[int]
    ) -> list[list[Frame]]:
        """Count the frames of the chunks at an index (t, c); by channel and frame."""
        kind = _CountedFrame if is_counted(layout.dtype) else _ContinuousFrame
        n_t = min(layout.chunk[0], layout.shape[0] - outer[0] * layout.chunk[0])
        frames = [[kind(layout) for _ in range(n_t)] for _ in channels]
        for z in range(layout.grid[2]):
            for pixels in chunks_of(self._reader, array, outer, z):
                for (i, c), t, k in itertools.product(
                    enumerate(channels), range(n_t), range(pixels.shape[2])
                ):
                    frames[i][t].add(pixels[t, c, k], z * layout.chunk[2] + k)
        return [[_frame_of(*frame.finish()) for frame in movie] for movie in frames]


class _CountedFrame:
    """A frame of whole numbers, counted into a histogram."""

    def __init__(self, layout: ArrayLayout) -> None:
        self._dtype = np.dtype(layout.dtype)
        self._histogram = new_histogram(self._dtype)
        self._sums = np.zeros((layout.shape[2], 3))

    def add(self, pixels: NDArray[Any], plane: int) -> None:
        """Count some pixels of a plane."""
        self._sums[plane] += pixels.size, *count_pixels(pixels, self._histogram)

    def finish(self) -> tuple[Distribution, NDArray[np.float64]]:
        """Distribution, and number, sum and sum of squares of each plane's pixels."""
        return Distribution.of_histogram(self._histogram, self._dtype), self._sums


class _ContinuousFrame:
    """A frame of pixels that cannot be counted; they are gathered for their percentiles.

    Of a frame too large to be gathered a sample is kept.
    """

    def __init__(self, layout: ArrayLayout) -> None:
        n_pixels = math.prod(layout.shape[2:])
        self._gather = n_pixels <= _EXACT_PER_FRAME
        # Memory is taken as it is written.
        self._gathered = np.empty(n_pixels if self._gather else 0, counted_as(layout.dtype))
        self._pool, self._n, self._n_nan = Pool(), 0, 0
        self._sums = np.zeros((layout.shape[2], 3))

    def add(self, pixels: NDArray[Any], plane: int) -> None:
        """Gather some pixels of a plane."""
        finite = finite_pixels(pixels)
        n_nan, sums = pixels.size - finite.size, sums_of(finite)
        self._n_nan += n_nan
        self._sums[plane] += finite.size, *sums
        if self._gather:
            self._gathered[self._n : self._n + finite.size] = finite
            self._n += finite.size
        else:
            self._pool.add(Distribution.of_finite(finite.copy(), n_nan, *sums))

    def finish(self) -> tuple[Distribution, NDArray[np.float64]]:
        """Distribution, and number, sum and sum of squares of each plane's pixels."""
        if not self._gather:
            return self._pool.sum(), self._sums
        _, *totals = self._sums.sum(axis=0).tolist()
        pixels = Distribution.of_finite(self._gathered[: self._n], self._n_nan, *totals)
        return pixels, self._sums


def _frame_of(pixels: Distribution, sums_ZS: NDArray[np.float64]) -> Frame:
    """Frame with its plane in focus, from number, sum and sum of squares of each plane's pixels."""
    if len(sums_ZS) == 1 or not pixels.n:
        return Frame(pixels, NO_FOCUS)
    n, total, squares = sums_ZS.T
    mean = total / np.where(n > 0, n, np.nan)
    variance = squares / np.where(n > 0, n, np.nan) - mean * mean
    if pixels.values[0] < 0:
        return Frame(pixels, _sharpest(variance))
    return Frame(pixels, _sharpest(variance / np.maximum(mean, np.finfo(float).tiny)))


def _sharpest(contrast: NDArray[np.float64]) -> int:
    """Plane of largest contrast; -1 where none has any."""
    return int(np.nanargmax(contrast)) if np.nanmax(contrast, initial=0) > 0 else NO_FOCUS


def chunks_of(
    reader: ChunkReader, array: int, outer: tuple[int, int], z: int
) -> Iterator[NDArray[Any]]:
    """Pixels of the chunks side by side in y and x, cropped where the array ends.

    Parameters
    ----------
    reader : ChunkReader
    array : int
        Number of an array of the reader.
    outer : tuple of int
        Indices (t, c) of the chunks in the grid.
    z : int
        Their index along z.

    Yields
    ------
    NDArray, shape (T, C, Z, Y, X)

    Raises
    ------
    UnreadableChunkError
        When a chunk is missing or damaged.
    """
    layout = reader.layouts[int(reader.layout_of[array])]
    for y, x in itertools.product(range(layout.grid[3]), range(layout.grid[4])):
        index = (*outer, z, y, x)
        try:
            pixels = reader.whole(array, index)
        except UNREADABLE as error:
            corner = [i * n for i, n in zip(index, layout.chunk, strict=True)]
            message = message_of(reader.paths[array], corner, reason_of(error))
            raise UnreadableChunkError(message) from None
        left = [n - i * c for n, i, c in zip(layout.shape, index, layout.chunk, strict=True)]
        yield pixels[tuple(map(slice, left))]
