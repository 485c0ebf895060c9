"""Compilation of loops to machine code that runs without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function when it is first called, for the types that it is called with.

    The code is kept on disk for the next process, beside the source, in the user's cache or in
    ``NUMBA_CACHE_DIR``; where none of these can be written, each process compiles for itself.
    """
    try:
        return numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:
        return numba.njit(nogil=True)(function)
