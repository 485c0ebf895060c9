"""Values at given ranks of many pixels, without sorting all of them.

Radix selection: pixels are counted by the leading bits of what they differ in, the counts tell in
which bin each rank lies, and only the pixels of those bins are looked at again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dynaclr.data.pixels.compiled import compiled

# Bits of the number of bins, by the bytes of a pixel: no bin is wider than a 128th of its values.
_BITS = {4: 16, 8: 19}
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
        Where the value must be the pixel's own. Elsewhere it lies less than a 128th of itself away,
        and mostly far less: it is told as if the pixels of a bin were spread evenly over it. Bins
        divide the numbers between the smallest and the largest pixel, in the order in which
        floating point stores them; a bin of more than a 64th of the pixels is divided again.

    Returns
    -------
    NDArray, shape (K,)
    """
    keys = pixels.view(f"u{pixels.itemsize}")
    number = keys.dtype.type
    # Bits that no pixel uses, as of whole numbers, would only make bins coarser.
    used = int(np.bitwise_or.reduce(keys, initial=0))
    unused = number((used & -used).bit_length() - 1 if used else 0)
    sign = number(1 << (8 * keys.itemsize - 1))
    _to_keys(keys, sign)
    if unused:
        keys >>= unused
    found = _select(keys, ranks, exact, _BITS[keys.itemsize])
    negative = ~((found << unused) | number((1 << int(unused)) - 1))
    bits = np.where(found & (sign >> unused), (found << unused) ^ sign, negative)
    return bits.view(pixels.dtype)


def _select(
    keys: NDArray, ranks: NDArray[np.int64], exact: NDArray[np.bool_], bits: int
) -> NDArray:
    """Keys of given ranks, by at most 2**bits bins; the keys are overwritten."""
    if keys.size <= _FEW:
        return np.sort(keys)[ranks]
    low, high = keys.min(), keys.max()
    shift = keys.dtype.type(max(int(high - low).bit_length() - bits, 0))
    counts = _histogram(keys, low, shift, 1 << bits)
    ends = np.cumsum(counts)
    bins = np.searchsorted(ends, ranks, side="right")
    found = low + (bins.astype(keys.dtype) << shift)
    if shift == 0:
        return found
    within = ranks - (ends - counts)[bins]
    spread = (within + 0.5) / counts[bins] * (1 << int(shift))
    found = np.minimum(found + spread.astype(keys.dtype), high)
    again = np.zeros(counts.size, np.uint8)
    again[bins[exact | (counts[bins] > _CROWDED * keys.size)]] = 1
    chosen = np.flatnonzero(again)
    stop = np.cumsum(counts[chosen])
    parts = _gather(keys, low, shift, again, counts)
    for number, (a, b) in enumerate(np.searchsorted(bins, [chosen, chosen + 1]).T.tolist()):
        part = parts[stop[number] - counts[chosen[number]] : stop[number]]
        fewer = min(bits, part.size.bit_length())
        found[a:b] = _select(part, within[a:b], exact[a:b], fewer)
    return found


@compiled
def _to_keys(bits, sign):
    # Bits of numbers order as the numbers do once those of negative ones are inverted and the sign
    # of the others is set.
    for i in range(bits.size):
        bits[i] = ~bits[i] if bits[i] & sign else bits[i] | sign


@compiled
def _histogram(keys, low, shift, n_bins):
    # Neighbours are counted apart, so that equal ones need not wait for each other.
    counts, one = np.zeros((2, n_bins), np.uint32), np.uint32(1)
    first, second = counts[0], counts[1]
    end = keys.size - keys.size % 2
    for i in range(0, end, 2):
        first[(keys[i] - low) >> shift] += one
        second[(keys[i + 1] - low) >> shift] += one
    if end < keys.size:
        first[(keys[end] - low) >> shift] += one
    total = np.zeros(n_bins, np.int64)
    for place in range(n_bins):
        total[place] = np.int64(first[place]) + np.int64(second[place])
    return total


@compiled
def _gather(keys, low, shift, chosen, counts):
    # Pixels of the chosen bins, bin after bin. A branch for each pixel would be guessed wrongly too
    # often: all are written, and the next one takes the place of one that was not chosen.
    n_held = 0
    for i in range(keys.size):
        key = keys[i]
        keys[n_held] = key
        n_held += chosen[(key - low) >> shift]
    place, first = np.zeros(chosen.size, np.int64), 0
    for number in range(chosen.size):
        if chosen[number]:
            place[number] = first
            first += counts[number]
    out = np.empty(n_held, keys.dtype)
    for i in range(n_held):
        own = (keys[i] - low) >> shift
        out[place[own]] = keys[i]
        place[own] += 1
    return out
