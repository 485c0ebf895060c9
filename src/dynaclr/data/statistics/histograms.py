"""Counting pixels: sets of pixels that add up, and the statistics that follow from them."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dynaclr.data.pixels.compiled import compiled
from dynaclr.data.statistics.quantiles import values_at

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_FRACTIONS = np.array(PERCENTILES) / 100
STATISTICS = ("mean", "std", "median", "iqr", *(f"p{q}" for q in PERCENTILES), "min", "max")
# The smallest value counted or one below it, and how many pixels have that value and each above it.
Histogram = tuple[int, NDArray[np.int64]]
# Neighbouring pixels are often equal. Counted into histograms of their own, they need not wait for
# each other. Of many planes at a time that would take too much memory.
LANES, _MOST_WITH_LANES = 4, 32
# Most values that are kept of a continuous distribution, and ranks of a frame at even distances.
_SAMPLE, _EVENLY_SPACED = 16_384, 4_096
# Tallies that wait in a pool to be added up together.
_WAITING = 64


def is_counted(dtype: np.dtype) -> bool:
    """Whether pixels of a type are few enough values to be counted into histograms."""
    return dtype.kind in "iu" and dtype.itemsize <= 2


class Histograms:
    """Histograms of whole numbers of 8 or 16 bits, one for each place in a shape.

    Once each was taken they are empty and can be used again, which spares a megabyte of zeros.

    Parameters
    ----------
    dtype : dtype
        Of the pixels.
    shape : int
        Extent along each axis.
    """

    def __init__(self, dtype: np.dtype, *shape: int) -> None:
        self._lowest, bits = int(np.iinfo(dtype).min), 8 * dtype.itemsize
        # With the sign bit flipped, signed numbers are in order as unsigned ones.
        self._flip = 1 << (bits - 1) if self._lowest < 0 else 0
        n_lanes = LANES if math.prod(shape) <= _MOST_WITH_LANES else 1
        self._lanes = np.zeros((*shape, n_lanes, 1 << bits), np.uint32)
        # Bits that are set in any of the numbers counted; no number is larger.
        self._set = np.zeros(shape, np.int64)

    def add(self, place: tuple[int, ...], pixels: NDArray) -> None:
        """Count the pixels of an array of any shape."""
        native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False).ravel(order="K")
        values, lanes = native.view(f"u{native.itemsize}"), self._lanes[place]
        if values.itemsize == 2:
            whole = values.size - values.size % 4
            flip = np.uint64(self._flip * 0x0001000100010001)
            self._set[place] |= _count_words(values[:whole].view(np.uint64), flip, lanes)
            values = values[whole:]
        if values.size:
            self._set[place] |= _count(values, values.dtype.type(self._flip), lanes)

    def take(self, place: tuple[int, ...]) -> Histogram:
        """What was counted at a place, which is empty then."""
        first, counts = _add_up(self._lanes[place], int(self._set[place]) + 1)
        self._set[place] = 0
        return self._lowest + first, counts


def together(a: Histogram, b: Histogram) -> Histogram:
    """One histogram of the pixels of two."""
    if not len(a[1]) or not len(b[1]):
        return a if len(a[1]) else b
    first = min(a[0], b[0])
    counts = np.zeros(max(low + len(counts) for low, counts in (a, b)) - first, np.int64)
    for low, part in (a, b):
        counts[low - first : low - first + len(part)] += part
    return first, counts


@compiled
def _count(values, flip, lanes):
    n, one, seen = lanes.shape[0], np.uint32(1), np.uint64(0)
    first, second, third, fourth = lanes[0], lanes[1 % n], lanes[2 % n], lanes[3 % n]
    end = values.size - values.size % 4
    for i in range(0, end, 4):
        a, b = values[i] ^ flip, values[i + 1] ^ flip
        c, d = values[i + 2] ^ flip, values[i + 3] ^ flip
        first[a] += one
        second[b] += one
        third[c] += one
        fourth[d] += one
        seen |= a | b | c | d
    for i in range(end, values.size):
        first[values[i] ^ flip] += one
        seen |= values[i] ^ flip
    return seen


@compiled
def _count_words(words, flip, lanes):
    # Four pixels of 16 bits are loaded at once.
    n, one, last, seen = lanes.shape[0], np.uint32(1), np.uint64(0xFFFF), np.uint64(0)
    first, second, third, fourth = lanes[0], lanes[1 % n], lanes[2 % n], lanes[3 % n]
    for i in range(words.size):
        word = words[i] ^ flip
        seen |= word
        first[word & last] += one
        second[(word >> np.uint64(16)) & last] += one
        third[(word >> np.uint64(32)) & last] += one
        fourth[word >> np.uint64(48)] += one
    seen |= seen >> np.uint64(32)
    return (seen | seen >> np.uint64(16)) & last


@compiled
def _add_up(lanes, stop):
    counts = np.zeros(stop, np.int64)
    for lane in range(lanes.shape[0]):
        for place in range(stop):
            counts[place] += lanes[lane, place]
            lanes[lane, place] = 0
    first = 0
    while first < stop and counts[first] == 0:
        first += 1
    while stop > first and counts[stop - 1] == 0:
        stop -= 1
    return first, counts[first:stop]


def sums_of(histogram: Histogram) -> tuple[int, float, float]:
    """Number of pixels in a histogram, their sum and the sum of their squares."""
    return _sums(histogram[1], histogram[0])


@compiled
def _sums(counts, first):
    n, total, squares = 0, 0.0, 0.0
    for place in range(counts.size):
        count = counts[place]
        if count:
            value = float(place + first)
            n += count
            total += count * value
            squares += count * value * value
    return n, total, squares


@compiled
def _places_of(histogram):
    places, n = np.empty(histogram.size, np.int64), 0
    for place in range(histogram.size):
        if histogram[place]:
            places[n] = place
            n += 1
    return places[:n].copy()


def kept_as(dtype: DTypeLike) -> np.dtype:
    """Type in which pixels that are not counted are kept: one that holds their values."""
    dtype = np.dtype(dtype)
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)


def take_finite(pixels: NDArray, out: NDArray) -> tuple[int, float, float]:
    """Copy the finite pixels of an array of any shape to the start of another one.

    Parameters
    ----------
    pixels : NDArray
    out : NDArray, of type `kept_as`
        At least as many.

    Returns
    -------
    n : int
        Pixels copied.
    total, total_of_squares : float
        Their sums.
    """
    flat = pixels.astype(out.dtype, copy=False).ravel(order="K")
    finite = np.isfinite(flat)
    n = int(np.count_nonzero(finite))
    out[:n] = flat if n == flat.size else flat[finite]
    return n, *_moments(out[:n])


@compiled
def _moments(pixels):
    # Sums side by side: each adds the same pixels in the same order on every machine, and the
    # compiler makes vectors of them.
    total, squares = np.zeros(32), np.zeros(32)
    whole = pixels.size // 32
    for i in range(whole):
        part = pixels[32 * i : 32 * i + 32]
        for j in range(32):
            value = np.float64(part[j])
            total[j] += value
            squares[j] += value * value
    for i in range(32 * whole, pixels.size):
        value = np.float64(pixels[i])
        total[0] += value
        squares[0] += value * value
    return total.sum(), squares.sum()


@dataclass
class Tally:
    """What is kept of a set of pixels: enough to add sets up and to tell their statistics.

    Attributes
    ----------
    values : NDArray
        Pixel values in ascending order.
    counts : NDArray, optional
        How many pixels each stands for; without it, one each.
    n, n_nan : int
        Pixels counted, and pixels left out because they are NaN or infinite.
    total, total_of_squares : float
        Sums over all pixels counted.
    """

    values: NDArray
    counts: NDArray[np.int64] | None
    n: int
    n_nan: int
    total: float
    total_of_squares: float

    @classmethod
    def of(cls, pixels: NDArray) -> Tally:
        """Count the pixels of an array of any shape."""
        if is_counted(pixels.dtype):
            histograms = Histograms(pixels.dtype, 1)
            histograms.add((0,), pixels)
            return cls.of_histogram(histograms.take((0,)))
        finite = np.empty(pixels.size, kept_as(pixels.dtype))
        sums = take_finite(pixels, finite)
        return cls.of_finite(finite[: sums[0]], pixels.size - sums[0], *sums[1:])

    @classmethod
    def of_histogram(cls, histogram: Histogram) -> Tally:
        """Tally of pixels that were counted."""
        first, counts = histogram
        places = _places_of(counts)
        n, total, total_of_squares = sums_of(histogram)
        return cls(places + first, counts[places], n, 0, total, total_of_squares)

    @classmethod
    def of_finite(cls, pixels: NDArray, n_nan: int, total: float, total_of_squares: float) -> Tally:
        """Tally of pixels that are not counted, with their sums; they are overwritten.

        Of many pixels a sample at evenly spaced ranks is kept, and those that the percentiles, the
        smallest and the largest follow from.
        """
        n = pixels.size
        if n <= _SAMPLE:
            return cls(np.sort(pixels), None, n, n_nan, total, total_of_squares)
        ranks, exact, counts = _kept_ranks(n)
        values = values_at(pixels, ranks, exact)
        return cls(values, counts, n, n_nan, total, total_of_squares)

    @classmethod
    def of_nothing(cls) -> Tally:
        """Tally without a pixel."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), 0, 0, 0.0, 0.0)

    def thinned(self) -> Tally:
        """Same sums, but at most some thousand values of a continuous distribution."""
        if self.values.dtype.kind == "i" or self.values.size <= _SAMPLE:
            return self
        # Evenly spaced ranks, each standing for as many pixels but one; the ends are kept.
        ranks = np.linspace(0, self.n - 1, _SAMPLE).round().astype(np.int64)
        counts = np.diff(np.linspace(0, self.n, ranks.size + 1).round().astype(np.int64))
        values = self._values_at(ranks)
        return Tally(values, counts, self.n, self.n_nan, self.total, self.total_of_squares)

    @classmethod
    def sum(cls, tallies: Iterable[Tally]) -> Tally:
        """Pool several sets of pixels."""
        parts = list(tallies)
        seen = [part for part in parts if part.n] or [cls.of_nothing()]
        values = np.concatenate([part.values for part in seen])
        counts = np.concatenate([part._weights for part in seen])
        if values.dtype.kind == "i":
            # Counts are whole numbers below 2**53, so floating point adds them exactly.
            lowest = int(values.min(initial=0))
            histogram = np.bincount(values - lowest, weights=counts).astype(np.int64)
            values = np.flatnonzero(histogram)
            counts, values = histogram[values], values + lowest
        else:
            # Those of each part are in order, which a merge sort makes use of.
            order = np.argsort(values, kind="stable")
            values, counts = values[order], counts[order]
        return cls(
            values,
            counts,
            sum(part.n for part in parts),
            sum(part.n_nan for part in parts),
            float(np.sum([part.total for part in parts])),
            float(np.sum([part.total_of_squares for part in parts])),
        )

    @property
    def _weights(self) -> NDArray[np.int64]:
        return np.ones(self.n, np.int64) if self.counts is None else self.counts

    @functools.cached_property
    def _cumulative(self) -> NDArray[np.int64]:
        return np.cumsum(self.counts)

    def _values_at(self, ranks: NDArray[np.int64]) -> NDArray:
        """Values of pixels by their rank, the smallest 0."""
        if self.counts is None:
            return self.values[ranks]
        return self.values[np.searchsorted(self._cumulative, ranks, side="right")]

    @property
    def mean(self) -> float:
        """Mean of the pixels counted; NaN of none."""
        return self.total / self.n if self.n else float("nan")

    @property
    def variance(self) -> float:
        """Mean squared distance from the mean; NaN of none."""
        if not self.n:
            return float("nan")
        return max(self.total_of_squares / self.n - self.mean * self.mean, 0.0)

    def quantiles(self, fractions: Iterable[float]) -> list[float]:
        """Quantiles with linear interpolation between order statistics, as in `numpy.quantile`."""
        fractions = np.fromiter(fractions, np.float64)
        lower, upper = _neighbours(fractions, self.n)
        low, high = (self._values_at(ranks).astype(np.float64) for ranks in (lower, upper))
        return (low + (fractions * (self.n - 1) - lower) * (high - low)).tolist()

    def statistics(self) -> dict[str, float]:
        """All of `STATISTICS`, and the numbers of pixels they come from."""
        row: dict[str, float] = {"n": self.n, "n_nan": self.n_nan}
        if self.n == 0:
            return row | dict.fromkeys(STATISTICS, float("nan"))
        quantiles = self.quantiles(_FRACTIONS)
        row |= {f"p{q}": value for q, value in zip(PERCENTILES, quantiles, strict=True)}
        row |= {
            "mean": self.mean,
            "std": self.variance**0.5,
            "median": row["p50"],
            "iqr": row["p75"] - row["p25"],
            "min": float(self.values[0]),
            "max": float(self.values[-1]),
        }
        return row


@functools.lru_cache(maxsize=16)
def _kept_ranks(n: int) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Ranks that are kept of `n` pixels, which must be exact, and how many pixels each is for."""
    needed = np.concatenate([[0, n - 1], *_neighbours(_FRACTIONS, n)])
    even = np.linspace(0, n - 1, _EVENLY_SPACED).round().astype(np.int64)
    ranks = np.union1d(even, needed)
    # Each stands for the pixels that are nearer to it than to its neighbours.
    counts = np.diff((ranks[1:] + ranks[:-1] + 1) // 2, prepend=0, append=n)
    return ranks, np.isin(ranks, needed), counts


def _neighbours(
    fractions: NDArray[np.float64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranks between which quantiles of `n` pixels lie."""
    lower = np.floor(fractions * (n - 1)).astype(np.int64)
    return lower, np.minimum(lower + 1, n - 1)


class Pool:
    """The sum of tallies that come one after the other, of which few are held at a time."""

    def __init__(self) -> None:
        self._parts: list[Tally] = []

    def add(self, tally: Tally) -> None:
        """Add a tally; of continuous pixels, a sample of them."""
        self._parts.append(tally.thinned())
        if len(self._parts) > _WAITING:
            self._parts = [self.sum().thinned()]

    def sum(self) -> Tally:
        """Tally of all pixels so far."""
        return Tally.sum(self._parts)
