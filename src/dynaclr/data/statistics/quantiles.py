"""Values at given ranks of many floating-point pixels, without sorting all of them.

To sort a plane of a million pixels takes ten times as long as to decode it. So pixels are counted
into bins, the counts say in which bin each rank lies, and only the pixels of those bins are
sorted. Bins divide the numbers between the smallest and the largest pixel in the order in which
floating point stores them, so that they are narrow where numbers are small.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaclr.data.pixels.compiled import compiled

# Bits of the number of bins, by the bytes of a pixel: no bin is wider than a 128th of its values.
_BITS = {4: 16, 8: 19}
# Of a bin with more than this share of the pixels all are sorted, whether or not that was asked.
_CROWDED = 1 / 64


def values_at(
    pixels: NDArray[np.floating], ranks: NDArray[np.int64], exact: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """Values of the pixels that have these ranks in ascending order, the smallest 0.

    Parameters
    ----------
    pixels : NDArray of float32 or float64, shape (N,)
        None of them NaN. They are overwritten, which spares a copy of a whole frame.
    ranks : NDArray of int, shape (K,)
        In ascending order.
    exact : NDArray of bool, shape (K,)
        Where the value must be the pixel's own. Elsewhere it is less than a 128th of itself away,
        and mostly far less: pixels are taken to be spread evenly over their bin.

    Returns
    -------
    NDArray, shape (K,)
    """
    dtype, keys = pixels.dtype, _as_keys(pixels)
    low, high, bits = keys.min(), keys.max(), _BITS[keys.itemsize]
    shift = keys.dtype.type(max(int(high - low).bit_length() - bits, 0))
    counts = _count(keys, low, shift, 1 << bits)
    ends = np.cumsum(counts)
    bins = np.searchsorted(ends, ranks, side="right")
    in_bin = ranks - (ends - counts)[bins]
    offset = (in_bin + 0.5) / counts[bins] * (1 << int(shift))
    found = low + (bins.astype(keys.dtype) << shift) + offset.astype(keys.dtype)
    found = np.minimum(found, high)
    sorted_bins = np.zeros(counts.size, np.bool_)
    sorted_bins[bins[exact | (counts[bins] > _CROWDED * keys.size)]] = True
    sort = sorted_bins[bins]
    part = _select(keys, low, shift, sorted_bins)
    part.sort()
    # Rank among the sorted pixels: those of other bins do not count.
    ends_in_part = np.cumsum(np.where(sorted_bins, counts, 0))
    found[sort] = part[(ends_in_part - counts)[bins[sort]] + in_bin[sort]]
    return _pixels_of(found, dtype)


def _as_keys(pixels: NDArray[np.floating]) -> NDArray[np.unsignedinteger]:
    """Turn pixels, in their own memory, into whole numbers that order as they do."""
    # Bits of numbers do once those of negative ones are inverted and the sign of others is set.
    bits = pixels.view(f"u{pixels.itemsize}")
    _flip(bits, bits.dtype.type(1 << (8 * bits.itemsize - 1)))
    return bits


def _pixels_of(keys: NDArray[np.unsignedinteger], dtype: np.dtype[Any]) -> NDArray[np.floating]:
    sign = keys.dtype.type(1 << (8 * keys.itemsize - 1))
    return np.where(keys & sign, keys ^ sign, ~keys).view(dtype)


@compiled
def _flip(bits, sign):
    for i in range(bits.size):
        bits[i] = ~bits[i] if bits[i] & sign else bits[i] | sign


@compiled
def _count(keys, low, shift, n_bins):
    counts = np.zeros(n_bins, np.int64)
    for key in keys:
        counts[(key - low) >> shift] += 1
    return counts


@compiled
def _select(keys, low, shift, chosen):
    # All are moved to the front, and the next one replaces one that was not chosen: that needs no
    # branch.
    n = 0
    for i in range(keys.size):
        key = keys[i]
        keys[n] = key
        n += chosen[(key - low) >> shift]
    return keys[:n]
