"""Cache of decoded chunks for later batches."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class DecodedChunk:
    """A decoded chunk, or the blocks of it that were needed so far.

    Attributes
    ----------
    pixels : NDArray, shape (T, C, Z, Y, X)
    keep : bool
        Whether it is kept in the cache.
    buffer : NDArray of uint8, optional
        The bytes behind `pixels`, where blocks are decoded one by one.
    valid : NDArray of bool, shape (blocks,), optional
        Which blocks are decoded; None where all are.
    block_bytes : int
        Bytes of a block.
    """

    pixels: NDArray[Any]
    keep: bool = True
    buffer: NDArray[np.uint8] | None = None
    valid: NDArray[np.bool_] | None = None
    block_bytes: int = 0


class ChunkCache:
    """Decoded chunks up to a limit; those used longest ago leave first.

    Who takes a chunk owns it until it is put back, so that two threads never decode blocks into
    one buffer. Until then it counts towards the limit.

    Parameters
    ----------
    limit : int
        Most bytes of pixels.

    Attributes
    ----------
    n_bytes : int
        Bytes of pixels in the cache, and of the chunks that were taken out of it.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.n_bytes = 0
        self._chunks: OrderedDict[int, DecodedChunk] = OrderedDict()
        self._taken: dict[int, int] = {}
        self._lock = threading.Lock()

    def take(self, numbers: Iterable[int]) -> dict[int, DecodedChunk]:
        """Take out those of the chunks that are there, until `put` or `release`."""
        with self._lock:
            found = {n: self._chunks.pop(n) for n in numbers if n in self._chunks}
            self._taken |= {n: chunk.pixels.nbytes for n, chunk in found.items()}
        return found

    def release(self, numbers: Iterable[int]) -> None:
        """Count those of the chunks no longer that were taken out and not put back."""
        with self._lock:
            self.n_bytes -= sum(self._taken.pop(n, 0) for n in numbers)

    def put(self, number: int, chunk: DecodedChunk) -> None:
        """Put a chunk in; it replaces the one with the same number."""
        if not chunk.keep or chunk.pixels.nbytes > self.limit:
            return
        with self._lock:
            before = self._chunks.pop(number, None)
            self.n_bytes -= self._taken.pop(number, 0) + (before.pixels.nbytes if before else 0)
            self.n_bytes += chunk.pixels.nbytes
            self._chunks[number] = chunk
            while self.n_bytes > self.limit and self._chunks:
                self.n_bytes -= self._chunks.popitem(last=False)[1].pixels.nbytes
