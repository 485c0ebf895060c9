"""Unreadable chunks: which errors count as such, and what the message says."""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaclr.config import UserError
from dynaclr.data.pixels.compiled import compiled
from dynaclr.io.plate import read_position
from dynaclr.io.zarr_metadata import is_image

log = logging.getLogger(__name__)

# Errors of reading and decoding. `reason_of` separates a damaged chunk from a machine without
# resources.
UNREADABLE = (OSError, ValueError, RuntimeError)
_MISSING = (errno.ENOENT, errno.ENOTDIR)
_BROKEN_DISK = (errno.EIO, errno.ESTALE)
# Chunks that this process has warned of.
_warned: set[tuple[str, tuple[int, ...]]] = set()


def decoded_by(decoders: Sequence[Callable[[bytes], bytes]], data: bytes) -> bytes:
    """Decode a chunk by one codec after the other.

    Raises
    ------
    ValueError
        When a codec fails, whatever it raises: EOFError, zlib.error, lzma.LZMAError, ...
    """
    try:
        for decode in decoders:
            data = decode(data)
    except MemoryError:
        raise
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error
    return data


def reason_of(error: Exception) -> str:
    """Say in a few words why a chunk cannot be read.

    Raises
    ------
    UserError
        When that says nothing of the chunk: too many files are open, reading is not permitted.
    """
    if not isinstance(error, OSError):
        return f"the chunk is damaged: {error}"
    if error.errno in _MISSING:
        return "the chunk is missing"
    if error.errno in _BROKEN_DISK:
        return f"the chunk is damaged: {error.strerror}"
    raise UserError(
        f"{error}: a chunk cannot be read, though it may be whole. Correct that and run again."
    ) from error


class UnreadableChunkError(UserError):
    """A chunk is missing or damaged."""


def plate_and_fov(path: str) -> tuple[Path, str]:
    """Plate and field of view of an array's folder, ``<plate>/<row>/<column>/<fov>/<level>``.

    A level may lie several folders deep: the field of view is the first above it that is an image.
    """
    above = Path(path).parents
    image = next((folder for folder in above if is_image(folder)), above[0])
    return image.parents[2], "/".join(image.parts[-3:])


def flag_or_raise(
    affected: NDArray[np.bool_],
    unreadable: NDArray[np.bool_] | None,
    describe: Callable[[int], str],
) -> None:
    """Flag what cannot be used, or raise an error for the first of it.

    Parameters
    ----------
    affected : NDArray of bool, shape (B,)
    unreadable : NDArray of bool, shape (B,), optional
        Where to flag it.
    describe : callable
        Message for one of them: what is wrong and what to do.

    Raises
    ------
    UserError
        When something is affected and there is nowhere to flag it.
    """
    if unreadable is not None:
        unreadable |= affected
    elif affected.any():
        raise UserError(describe(int(affected.argmax())))


def rows_not_finite(patches: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers of the patches (B, ...) that hold NaN or infinite pixels."""
    found = np.zeros(len(patches), np.bool_)
    if patches.dtype.kind == "f":
        unsigned = f"u{patches.itemsize}"
        # Those alone have the exponent of infinity.
        exponent = np.array(np.inf, patches.dtype).view(unsigned)[()]
        rows = patches.reshape(len(patches), math.prod(patches.shape[1:])).view(unsigned)
        _mark_exponent(rows, exponent, found)
    return np.flatnonzero(found)


@compiled
def _mark_exponent(rows, exponent, found):
    for number in range(len(rows)):
        row, any_has_it = rows[number], False
        for k in range(row.size):
            any_has_it |= (row[k] & exponent) == exponent
        found[number] = any_has_it


def message_of(path: str, pixel: Sequence[int], reason: str) -> str:
    """Name plate, field of view, frame and channel of what cannot be read, and what to do.

    Parameters
    ----------
    path : str
        Folder of the array: ``<plate>/<row>/<column>/<fov>/<level>``.
    pixel : sequence of int
        Indices (t, c, ...) of a pixel.
    reason : str
    """
    plate, name = plate_and_fov(path)
    position = read_position(plate, name)
    advice = "Copy the plate again, exclude" if reason.startswith("the chunk") else "Exclude"
    advice += (
        " this field of view, or say `unreadable: skip` in the experiment's entry (and under "
        "`data` in the training configuration)."
    )
    if "missing" in reason:
        advice += " If the plate's writer leaves out empty chunks, say `empty_chunks: true`."
    return (
        f"{position.path}: cannot read frame {pixel[0]} of field of view {name}, channel "
        f"{position.channels[pixel[1]]} ({reason}). {advice}"
    )


def is_first_warning(path: str, index: tuple[int, ...]) -> bool:
    """Whether this process asks about an unreadable chunk for the first time."""
    if (path, index) in _warned:
        return False
    _warned.add((path, index))
    return True
