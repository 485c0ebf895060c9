"""Counting pixels: sets of pixels that add up, and the statistics that follow from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numba
import numpy as np
from numpy.typing import NDArray

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
STATISTICS = ("mean", "std", "median", "iqr", *(f"p{q}" for q in PERCENTILES), "min", "max")
# Neighbouring pixels are often equal. Counted into histograms of their own, they need not wait for
# each other.
LANES = 4
_SAMPLE_PER_FRAME = 16_384


def is_counted(dtype: np.dtype) -> bool:
    """Whether pixels of a type are few enough values to be counted into histograms."""
    return dtype.kind == "u" and dtype.itemsize <= 2


def new_lanes(dtype: np.dtype, *shape: int) -> NDArray[np.uint32]:
    """Empty histograms for pixels of a type, `LANES` of them for each entry of `shape`."""
    return np.zeros((*shape, LANES, 1 << (8 * dtype.itemsize)), np.uint32)


def count_into(lanes: NDArray[np.uint32], pixels: NDArray) -> None:
    """Add the pixels of an array of any shape to a row of `new_lanes`."""
    native = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    _count(np.ascontiguousarray(native).reshape(-1), lanes)


@numba.njit(nogil=True, cache=True)
def _count(pixels, lanes):
    first, second, third, fourth = lanes[0], lanes[1], lanes[2], lanes[3]
    end = pixels.size - pixels.size % 4
    for i in range(0, end, 4):
        first[pixels[i]] += 1
        second[pixels[i + 1]] += 1
        third[pixels[i + 2]] += 1
        fourth[pixels[i + 3]] += 1
    for i in range(end, pixels.size):
        first[pixels[i]] += 1


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
        if is_counted(pixels.dtype):
            lanes = new_lanes(pixels.dtype)
            count_into(lanes, pixels)
            return cls.of_histogram(lanes.sum(axis=0, dtype=np.int64))
        finite = pixels[np.isfinite(pixels)].astype(np.float64)
        values, counts = np.unique(finite, return_counts=True)
        return cls.of_values(values, counts, pixels.size - finite.size)

    @classmethod
    def of_histogram(cls, histogram: NDArray[np.int64]) -> Tally:
        """Tally of pixels of which `histogram[v]` have the value `v`."""
        values = np.flatnonzero(histogram)
        return cls.of_values(values, histogram[values], 0)

    @classmethod
    def of_values(cls, values: NDArray, counts: NDArray[np.int64], n_nan: int) -> Tally:
        """Tally of distinct ascending values and how often each was seen."""
        exact = values.astype(np.float64)
        n, total = int(counts.sum()), float(exact @ counts)
        return cls(values, counts, n, n_nan, total, float((exact * exact) @ counts))

    def thinned(self) -> Tally:
        """Same sums, but at most some thousand values of a continuous distribution."""
        if self.values.size <= np.iinfo(np.uint16).max + 1 and self.values.dtype.kind in "iu":
            return self
        if self.values.size <= _SAMPLE_PER_FRAME:
            return self
        # Evenly spaced ranks, each standing for the same number of pixels; the ends are kept.
        ranks = np.linspace(0, self.n - 1, _SAMPLE_PER_FRAME).round().astype(np.int64)
        values = self.values[np.searchsorted(self._cumulative, ranks, side="right")]
        counts = np.full(values.size, self.n // values.size, dtype=np.int64)
        counts[: self.n % values.size] += 1
        return Tally(values, counts, self.n, self.n_nan, self.total, self.total_of_squares)

    @classmethod
    def sum(cls, tallies: Iterable[Tally]) -> Tally:
        """Pool several sets of pixels."""
        parts = list(tallies)
        values, counts = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("values", "counts")
        )
        if values.dtype.kind in "iu":
            # Counts are whole numbers below 2**53, so floating point adds them exactly.
            histogram = np.bincount(values, weights=counts).astype(np.int64)
            values = np.flatnonzero(histogram)
            counts = histogram[values]
        else:
            values, inverse = np.unique(values, return_inverse=True)
            counts = np.bincount(inverse, weights=counts, minlength=values.size).astype(np.int64)
        return cls(
            values,
            counts,
            sum(part.n for part in parts),
            sum(part.n_nan for part in parts),
            float(np.sum([part.total for part in parts])),
            float(np.sum([part.total_of_squares for part in parts])),
        )

    @cached_property
    def _cumulative(self) -> NDArray[np.int64]:
        return np.cumsum(self.counts)

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

    def quantile(self, fraction: float) -> float:
        """Quantile with linear interpolation between order statistics, as in `numpy.quantile`."""
        rank = fraction * (self.n - 1)
        low, high = (
            float(self.values[np.searchsorted(self._cumulative, np.floor(rank) + step, "right")])
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
        row |= {f"p{q}": self.quantile(q / 100) for q in PERCENTILES}
        row |= {
            "mean": self.mean,
            "std": self.variance**0.5,
            "median": row["p50"],
            "iqr": row["p75"] - row["p25"],
            "min": float(self.values[0]),
            "max": float(self.values[-1]),
        }
        return row
