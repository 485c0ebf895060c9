"""Values at given ranks of many pixels, without sorting all of them.

Radix selection: pixels are counted by the leading bits of what they differ in, the counts tell in
which bin each rank lies, and only the pixels of those bins are looked at again. Two passes over a
plane take a quarter of the time of a radix sort.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dynaclr.data.compiled import compiled

_BITS = 16
# Up to so many pixels are sorted: that takes less time than to begin.
_FEW = 4096
# A bin with more than this share of the pixels is looked into even if no rank must be exact there.
_CROWDED = 1 / 64


def values_at(
    pixels: NDArray, ranks: NDArray[np.int64], exact: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """Values of the pixels that have these ranks in ascending order, the smallest 0.

    Parameters
    ----------
    pixels : NDArray of float32 or float64, shape (N,)
        None of them NaN. They are overwritten.
    ranks : NDArray of int, shape (K,)
        In ascending order.
    exact : NDArray of bool, shape (K,)
        Where the value must be the pixel's own. Elsewhere it is told as if the pixels of a bin were
        spread evenly over it: of the numbers between smallest and largest pixel, in the order in
        which floating point stores them, a bin holds a 65,536th; and a bin of more than a 64th of
        the pixels is divided in the same way again.

    Returns
    -------
    NDArray, shape (K,)
    """
    keys = pixels.view(f"u{pixels.itemsize}")
    sign = keys.dtype.type(1 << (8 * keys.itemsize - 1))
    _to_keys(keys, sign)
    found = _select(keys, ranks, exact)
    _to_floats(found, sign)
    return found.view(pixels.dtype)


def _select(keys: NDArray, ranks: NDArray[np.int64], exact: NDArray[np.bool_]) -> NDArray:
    """Keys of given ranks; without a rank, none."""
    if keys.size <= _FEW:
        return np.sort(keys)[ranks]
    low, high = keys.min(), keys.max()
    shift = keys.dtype.type(max(int(high - low).bit_length() - _BITS, 0))
    counts = _histogram(keys, low, shift)
    ends = np.cumsum(counts)
    bins = np.searchsorted(ends, ranks, side="right")
    within = ranks - (ends - counts)[bins]
    found = low + (bins.astype(keys.dtype) << shift)
    if shift == 0:
        return found
    spread = (within + 0.5) / counts[bins] * (1 << int(shift))
    found = np.minimum(found + spread.astype(keys.dtype), high)
    again = np.zeros(counts.size, np.uint8)
    again[bins[exact | (counts[bins] > _CROWDED * keys.size)]] = 1
    chosen = np.flatnonzero(again)
    parts = _gather(keys, low, shift, again, counts, int(counts[chosen].sum()))
    stop = np.cumsum(counts[chosen])
    for number, (a, b) in enumerate(np.searchsorted(bins, [chosen, chosen + 1]).T.tolist()):
        part = parts[stop[number] - counts[chosen[number]] : stop[number]]
        found[a:b] = _select(part, within[a:b], exact[a:b])
    return found


@compiled
def _to_keys(bits, sign):
    # Bits of numbers order as the numbers do once those of negative ones are inverted and the sign
    # of the others is set.
    for i in range(bits.size):
        bits[i] = ~bits[i] if bits[i] & sign else bits[i] | sign


@compiled
def _to_floats(keys, sign):
    for i in range(keys.size):
        keys[i] = keys[i] ^ sign if keys[i] & sign else ~keys[i]


@compiled
def _histogram(keys, low, shift):
    # Neighbours are counted apart, so that equal ones need not wait for each other.
    counts, one = np.zeros((2, 1 << _BITS), np.uint32), np.uint32(1)
    first, second = counts[0], counts[1]
    end = keys.size - keys.size % 2
    for i in range(0, end, 2):
        first[(keys[i] - low) >> shift] += one
        second[(keys[i + 1] - low) >> shift] += one
    if end < keys.size:
        first[(keys[end] - low) >> shift] += one
    total = np.zeros(first.size, np.int64)
    for place in range(first.size):
        total[place] = np.int64(first[place]) + np.int64(second[place])
    return total


@compiled
def _gather(keys, low, shift, chosen, counts, n):
    # Pixels of the chosen bins, bin after bin. A branch for each pixel would be guessed wrongly too
    # often: all are written, and the next one takes the place of one that was not chosen.
    held, n_held = np.empty(n + 1, keys.dtype), 0
    for i in range(keys.size):
        held[n_held] = keys[i]
        n_held += chosen[(keys[i] - low) >> shift]
    place, first = np.zeros(chosen.size, np.int64), 0
    for number in range(chosen.size):
        if chosen[number]:
            place[number] = first
            first += counts[number]
    out = np.empty(n, keys.dtype)
    for i in range(n):
        own = (held[i] - low) >> shift
        out[place[own]] = held[i]
        place[own] += 1
    return out
