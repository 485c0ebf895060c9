"""Distributions of pixel values, which add up over chunks, frames and fields of view."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dynaclr.data.pixels.compiled import compiled

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
_FRACTIONS = np.array(PERCENTILES) / 100
STATISTICS = ("mean", "std", "median", "iqr", *(f"p{q}" for q in PERCENTILES), "min", "max")
# Most values that are kept of continuous pixels, and ranks of a frame at even distances.
_SAMPLE, _EVENLY_SPACED = 16_384, 4_096
# Distributions that wait in a pool to be added up together.
_WAITING = 64


@dataclass(frozen=True)
class Distribution:
    """A set of pixels: enough to add sets up and to compute their statistics.

    Of whole numbers of 8 or 16 bits it is their histogram; of other pixels a weighted sample.

    Attributes
    ----------
    values : NDArray
        Pixel values in ascending order.
    counts : NDArray of int
        How many pixels each stands for.
    n, n_nan : int
        Pixels counted, and pixels left out because they are NaN or infinite.
    total, total_of_squares : float
        Sums over all pixels counted.
    """

    values: NDArray[Any]
    counts: NDArray[np.int64]
    n: int
    n_nan: int
    total: float
    total_of_squares: float

    @classmethod
    def empty(cls) -> Distribution:
        """Distribution of no pixel."""
        return cls(np.empty(0, np.int64), np.empty(0, np.int64), 0, 0, 0.0, 0.0)

    @classmethod
    def of(cls, pixels: NDArray[Any]) -> Distribution:
        """Distribution of the pixels of an array of any shape."""
        if is_counted(pixels.dtype):
            counts = new_histogram(pixels.dtype)
            count_pixels(pixels, counts)
            return cls.of_histogram(counts, pixels.dtype)
        finite = finite_pixels(pixels)
        return cls.of_finite(finite.copy(), pixels.size - finite.size, *sums_of(finite))

    @classmethod
    def of_histogram(cls, histogram: NDArray[np.int64], dtype: DTypeLike) -> Distribution:
        """Distribution of pixels of this type that were counted by `count_pixels`."""
        bins = np.flatnonzero(histogram)
        values, counts = bins + int(np.iinfo(dtype).min), histogram[bins]
        total, total_of_squares = _weighted_sums(values, counts)
        return cls(values, counts, int(counts.sum()), 0, total, total_of_squares)

    @classmethod
    def of_finite(
        cls, pixels: NDArray[np.floating], n_nan: int, total: float, total_of_squares: float
    ) -> Distribution:
        """Distribution of continuous pixels, given their sums; the pixels are sorted in place.

        Of many pixels a sample at evenly spaced ranks is kept, and those that the percentiles, the
        smallest and the largest follow from.
        """
        n = pixels.size
        # NumPy sorts with vector instructions, in about the time in which a plane is decoded.
        pixels.sort()
        if n <= _SAMPLE:
            values, counts = pixels.copy(), np.ones(n, np.int64)
        else:
            ranks, counts = _kept_ranks(n)
            values = pixels[ranks]
        return cls(values, counts, n, n_nan, total, total_of_squares)

    @classmethod
    def sum(cls, distributions: Iterable[Distribution]) -> Distribution:
        """Distribution of the pixels of several sets."""
        parts = list(distributions)
        seen = [part for part in parts if part.n] or [cls.empty()]
        values = np.concatenate([part.values for part in seen])
        counts = np.concatenate([part.counts for part in seen])
        order = np.argsort(values, kind="stable")
        values, counts = values[order], counts[order]
        if values.dtype.kind == "i":
            values, first = np.unique(values, return_index=True)
            counts = np.add.reduceat(counts, first) if len(first) else counts
        return cls(
            values,
            counts,
            sum(part.n for part in parts),
            sum(part.n_nan for part in parts),
            float(np.sum([part.total for part in parts])),
            float(np.sum([part.total_of_squares for part in parts])),
        )

    def thinned(self) -> Distribution:
        """Same sums, but at most some thousand values of continuous pixels."""
        if self.values.dtype.kind == "i" or self.values.size <= _SAMPLE:
            return self
        # Evenly spaced ranks, each standing for as many pixels but one; the ends are kept.
        ranks = np.linspace(0, self.n - 1, _SAMPLE).round().astype(np.int64)
        bounds = np.linspace(0, self.n, ranks.size + 1).round().astype(np.int64)
        counts = bounds[1:] - bounds[:-1]
        values = self._values_at(ranks)
        return Distribution(values, counts, self.n, self.n_nan, self.total, self.total_of_squares)

    def _values_at(self, ranks: NDArray[np.int64]) -> NDArray[Any]:
        """Values of pixels by their rank, the smallest 0."""
        return self.values[np.searchsorted(np.cumsum(self.counts), ranks, side="right")]

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

    def quantiles(self, fractions: NDArray[np.float64]) -> list[float]:
        """Quantiles with linear interpolation between order statistics, as in `numpy.quantile`."""
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
        return row | {
            "mean": self.mean,
            "std": self.variance**0.5,
            "median": row["p50"],
            "iqr": row["p75"] - row["p25"],
            "min": float(self.values[0]),
            "max": float(self.values[-1]),
        }


class Pool:
    """The sum of distributions that come one after the other, of which few are held at a time."""

    def __init__(self) -> None:
        self._parts: list[Distribution] = []

    def add(self, distribution: Distribution) -> None:
        """Add a distribution; of continuous pixels, a sample of them."""
        self._parts.append(distribution.thinned())
        if len(self._parts) > _WAITING:
            self._parts = [self.sum().thinned()]

    def sum(self) -> Distribution:
        """Distribution of all pixels so far."""
        return Distribution.sum(self._parts)


def is_counted(dtype: DTypeLike) -> bool:
    """Whether pixels of a type have few enough values to be counted into histograms."""
    return np.dtype(dtype).kind in "iu" and np.dtype(dtype).itemsize <= 2


def new_histogram(dtype: DTypeLike) -> NDArray[np.int64]:
    """Histogram of no pixels, with a bin for each value of the type from the lowest on."""
    return np.zeros(1 << (8 * np.dtype(dtype).itemsize), np.int64)


def count_pixels(pixels: NDArray[Any], histogram: NDArray[np.int64]) -> tuple[float, float]:
    """Count pixels of any shape into a histogram; return their sum and that of their squares."""
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False).ravel(order="K")
    total, squares = _count(native, int(np.iinfo(native.dtype).min), histogram)
    return float(total), float(squares)


def counted_as(dtype: DTypeLike) -> np.dtype[np.floating]:
    """Floating-point type that holds the values of pixels of a type."""
    dtype = np.dtype(dtype)
    return np.dtype(np.float32 if dtype.kind == "f" and dtype.itemsize <= 4 else np.float64)


def finite_pixels(pixels: NDArray[Any]) -> NDArray[np.floating]:
    """Finite pixels of an array of any shape, in a floating-point type that holds their values."""
    flat: NDArray[np.floating] = pixels.astype(counted_as(pixels.dtype), copy=False).ravel("K")
    finite = np.isfinite(flat)
    return flat if finite.all() else flat[finite]


@compiled
def _count(pixels, lowest, histogram):
    total, squares = 0, 0
    for pixel in pixels:
        value = np.int64(pixel)
        histogram[value - lowest] += 1
        total += value
        squares += value * value
    return total, squares


@compiled
def _weighted_sums(values, counts):
    total, squares = 0.0, 0.0
    for i in range(values.size):
        value, count = float(values[i]), counts[i]
        total += count * value
        squares += count * value * value
    return total, squares


@compiled
def sums_of(pixels):
    """Sum of pixels and sum of their squares, in double precision."""
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


@functools.lru_cache(maxsize=16)
def _kept_ranks(n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranks that are kept of `n` pixels, and how many pixels each is for."""
    needed = np.concatenate([[0, n - 1], *_neighbours(_FRACTIONS, n)])
    even = np.linspace(0, n - 1, _EVENLY_SPACED).round().astype(np.int64)
    ranks = np.union1d(even, needed)
    # Each stands for the pixels that are nearer to it than to its neighbours.
    counts = np.diff((ranks[1:] + ranks[:-1] + 1) // 2, prepend=0, append=n)
    return ranks, counts


def _neighbours(
    fractions: NDArray[np.float64], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ranks between which quantiles of `n` pixels lie."""
    lower = np.floor(fractions * (n - 1)).astype(np.int64)
    return lower, np.minimum(lower + 1, n - 1)
