"""Memory of large arrays: where it begins, and how it is used again.

The C library gives a large block back to the system when it is freed (mallopt(3), M_MMAP_THRESHOLD
and M_TRIM_THRESHOLD), and each page of a new one costs a fault when it is first written.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

# Smaller arrays the C library keeps well enough itself; larger ones are not worth what they hold.
_SMALL, _LARGE = 1 << 20, 256 << 20
# Bytes of a line of the cache.
_LINE = 64
# Blocks that are kept for later arrays.
_SPARES = 2


def empty(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
    """An array of any content, in C order, that begins where a line of the cache does."""
    n_bytes = _size(shape, dtype)
    block = np.empty(n_bytes + _LINE, np.uint8)
    return _aligned(block, n_bytes).view(dtype).reshape(shape)


def _size(shape: tuple[int, ...], dtype: DTypeLike) -> int:
    return int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize


def _aligned(block: NDArray[np.uint8], n_bytes: int) -> NDArray[np.uint8]:
    """The bytes of a block, of which it has a line more, from the first line of the cache on."""
    # A view refers to the array at the end of its chain of views; the memoryview ends it here.
    return np.frombuffer(memoryview(block), np.uint8, n_bytes, -block.ctypes.data % _LINE)


class Memory:
    """Gives arrays, and gives their memory to later ones once nothing refers to them.

    Several threads may ask at the same time. It pickles without its memory.
    """

    def __init__(self) -> None:
        # Garbage is collected at any place, also while the lock is held: who gives a block back
        # takes no lock.
        self._spare: deque[NDArray[np.uint8]] = deque(maxlen=_SPARES)
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Memory], tuple[()]]:
        return Memory, ()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """As `empty`; the array and all views of it are the caller's."""
        n_bytes = _size(shape, dtype)
        if not _SMALL <= n_bytes <= _LARGE:
            return empty(shape, dtype)
        block = self._taken(n_bytes + _LINE)
        own = _aligned(block, n_bytes)
        weakref.finalize(own, self._spare.append, block).atexit = False
        return own.view(dtype).reshape(shape)

    def _taken(self, n_bytes: int) -> NDArray[np.uint8]:
        """The smallest spare block that fits, which is less than twice as large, or a new one."""
        with self._lock:
            blocks = [self._spare.popleft() for _ in range(len(self._spare))]
            fitting = [block for block in blocks if n_bytes <= block.nbytes < 2 * n_bytes]
            chosen = min(fitting, key=len, default=None)
            self._spare.extend(block for block in blocks if block is not chosen)
        return np.empty(n_bytes, np.uint8) if chosen is None else chosen
