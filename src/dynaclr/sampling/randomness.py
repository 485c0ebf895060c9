"""Random numbers that are functions of what they are for, not of what was drawn before.

A generator with a state gives the hundredth number only after the ninety-nine before it. Here each
number is computed from a key (a seed, an epoch, a purpose) and a counter (a row, a draw), so that
any batch can be composed alone and no worker count or batch order changes a draw.

The mixing function is the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014); number ``i`` of key ``k`` is element ``i`` of the
SplitMix64 stream that starts at ``k``.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

_MASK = 0xFFFF_FFFF_FFFF_FFFF
_GOLDEN = 0x9E37_79B9_7F4A_7C15
_MULTIPLIERS = (0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB)

# Four rounds make a Feistel network of random functions a strong pseudo-random permutation (Luby
# and Rackoff 1988) of large domains. Two more and a rotation serve the small ones: there every
# single position is uniform and every pair nearly so, which is what drawing a few rows needs.
_FEISTEL_ROUNDS = 6


class Stream(IntEnum):
    """What a stream of random numbers of batches is for; no two purposes share a stream."""

    STEP_ORDER = 0
    STRATUM_TURN = 1
    ROW_ORDER = 2
    CROSS_GROUP = 3
    FOCAL_HOUR = 4
    BATCH = 5
    REPLICA = 6


def derive_key(*words: int) -> int:
    """Return a 64-bit key for a sequence of integers.

    Parameters
    ----------
    *words : int
        Any integers, for example a seed, an epoch and a number for the purpose. They are taken
        modulo 2**64; their order matters.

    Returns
    -------
    int
        In ``[0, 2**64)``.
    """
    key = _GOLDEN
    for word in words:
        key = (key + (int(word) + 1) * _GOLDEN) & _MASK
        key = ((key ^ (key >> 30)) * _MULTIPLIERS[0]) & _MASK
        key = ((key ^ (key >> 27)) * _MULTIPLIERS[1]) & _MASK
        key ^= key >> 31
    return key


def hash64(key: int | NDArray[np.uint64], counter: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return one 64-bit pseudo-random integer for each counter.

    Parameters
    ----------
    key : int or ndarray of uint64
        One key, or one for each counter.
    counter : ndarray of int, any shape

    Returns
    -------
    ndarray of uint64, the shape of `counter`
    """
    mixed = np.atleast_1d(counter).astype(np.uint64)
    mixed += np.uint64(1)
    mixed *= np.uint64(_GOLDEN)
    mixed += np.asarray(key, dtype=np.uint64)
    return _mix(mixed)


def uniform(key: int | NDArray[np.uint64], counter: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return one float64 in ``[0, 1)`` for each counter; see :func:`hash64`."""
    return (hash64(key, counter) >> np.uint64(11)) * np.float64(2.0**-53)


def permute(
    index: NDArray[np.integer],
    size: NDArray[np.integer] | int,
    key: int | NDArray[np.uint64],
) -> NDArray[np.int64]:
    """Return element ``index`` of a pseudo-random permutation of ``range(size)``.

    A Feistel network over ``Z_a x Z_b`` with ``a * b`` just above `size`, walked until it is back
    inside the range (Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002).
    Time and memory depend on the number of elements asked for and not on `size`.

    Parameters
    ----------
    index : ndarray of int, shape (n,)
        From 0 to ``size - 1``.
    size : ndarray of int, shape (n,), or int
        At least 1.
    key : int or ndarray of uint64, shape (n,)
        One key, or one for each element. Elements with the same key and size come from the same
        permutation.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    size = np.broadcast_to(np.asarray(size, dtype=np.uint64), np.shape(index))
    key = np.broadcast_to(np.asarray(key, dtype=np.uint64), np.shape(index))
    rows = np.ceil(np.sqrt(size)).astype(np.uint64)
    columns = (size + rows - np.uint64(1)) // rows
    rotated = (np.asarray(index).astype(np.uint64) + _mix(key.copy()) % size) % size
    out = _feistel(rotated, rows, columns, key)
    outside = np.flatnonzero(out >= size)
    while outside.size:
        out[outside] = _feistel(out[outside], rows[outside], columns[outside], key[outside])
        outside = outside[out[outside] >= size[outside]]
    return out.astype(np.int64)


def _feistel(
    index: NDArray[np.uint64],
    rows: NDArray[np.uint64],
    columns: NDArray[np.uint64],
    key: NDArray[np.uint64],
) -> NDArray[np.uint64]:
    left, right = np.divmod(index, columns)
    for _ in range(0, _FEISTEL_ROUNDS, 2):
        key = key + np.uint64(_GOLDEN)
        left = (left + _mix(right + key)) % rows
        key = key + np.uint64(_GOLDEN)
        right = (right + _mix(left + key)) % columns
    return left * columns + right


def _mix(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Mix `value` (uint64) in place and return it."""
    value ^= value >> np.uint64(30)
    value *= np.uint64(_MULTIPLIERS[0])
    value ^= value >> np.uint64(27)
    value *= np.uint64(_MULTIPLIERS[1])
    value ^= value >> np.uint64(31)
    return value
