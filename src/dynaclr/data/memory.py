"""Memory of large arrays that is used again.

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

# Smaller arrays the C library keeps well enough itself.
_SMALL = 1 << 20


class Memory:
    """Gives arrays, and gives their memory to later ones once nothing refers to them.

    Several threads may ask at the same time. It pickles without its memory.

    Parameters
    ----------
    spare_bytes : int
        Most bytes that are kept for later arrays.
    """

    def __init__(self, spare_bytes: int) -> None:
        self.spare_bytes = spare_bytes
        self._spare: list[NDArray[np.uint8]] = []
        # Garbage is collected at any place, also while the lock is held: who gives a block back
        # takes no lock.
        self._returned: deque[NDArray[np.uint8]] = deque()
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[type[Memory], tuple[int]]:
        return Memory, (self.spare_bytes,)

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """An array of any content, in C order; it and all views of it are the caller's."""
        n_bytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        if n_bytes < _SMALL:
            return np.empty(shape, dtype)
        block = self._taken(n_bytes)
        # A view refers to the array at the end of its chain of views; the memoryview ends it here.
        own = np.frombuffer(memoryview(block), np.uint8, n_bytes)
        weakref.finalize(own, self._returned.append, block).atexit = False
        return own.view(dtype).reshape(shape)

    def _taken(self, n_bytes: int) -> NDArray[np.uint8]:
        """The smallest spare block that fits, which is less than twice as large, or a new one."""
        with self._lock:
            while self._returned:
                self._spare.append(self._returned.popleft())
            while sum(block.nbytes for block in self._spare) > self.spare_bytes:
                self._spare.pop(0)
            sizes = {n: block.nbytes for n, block in enumerate(self._spare)}
            fitting = [n for n, size in sizes.items() if n_bytes <= size < 2 * n_bytes]
            if fitting:
                return self._spare.pop(min(fitting, key=sizes.__getitem__))
        return np.empty(n_bytes, np.uint8)
