"""Pieces of boxes in a decoded chunk: copying them, and telling which of its bytes they need.

A batch has thousands of pieces. The loops over them are compiled and run without the interpreter's
lock, so that threads that decode do not wait for those that copy.

A piece is a row of 20 numbers: its corners (sample, c, z, y, x) in the output, first and behind the
last one, then those (t, c, z, y, x) in the chunk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaclr.data.compiled import compiled


def copy_pieces(pixels: NDArray[Any], pieces: NDArray[np.int64], out: NDArray[Any]) -> None:
    """Copy pieces of a chunk to their places.

    They must lie inside both arrays: the compiled loop does not look.

    Parameters
    ----------
    pixels : NDArray, shape (T, C, Z, Y, X)
        The chunk.
    pieces : NDArray of int, shape (K, 20)
    out : NDArray, shape (B, C, Z, Y, X)
        Of any type.
    """
    if pixels.dtype == out.dtype and pixels.flags.c_contiguous and out.flags.c_contiguous:
        item = out.itemsize
        _copy_bytes(_bytes_of(pixels), pixels.shape, _bytes_of(out), out.shape, pieces, item)
        return
    # Other types, byte orders and layouts are for NumPy, which holds the lock meanwhile.
    for b, c, z, y, x, _, c1, z1, y1, x1, t, k, i, j, l, _, k1, i1, j1, l1 in pieces.tolist():  # noqa: E741
        out[b, c:c1, z:z1, y:y1, x:x1] = pixels[t, k:k1, i:i1, j:j1, l:l1]


def needed_blocks(
    pieces: NDArray[np.int64], shape: tuple[int, ...], item: int, block_bytes: int, n_blocks: int
) -> NDArray[np.bool_]:
    """Which blocks of a chunk in C order hold pixels of its pieces.

    Parameters
    ----------
    pieces : NDArray of int, shape (K, 20)
    shape : tuple of int
        Extent (t, c, z, y, x) of the chunk.
    item : int
        Bytes of a pixel.
    block_bytes, n_blocks : int
        Bytes of a block, and number of blocks.
    """
    needed = np.zeros(n_blocks, np.bool_)
    _mark(pieces, shape, item, block_bytes, needed)
    return needed


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)


@compiled
def _copy_bytes(source, source_shape, out, out_shape, pieces, item):
    _, n_k, n_i, n_j, n_l = source_shape
    _, n_c, n_z, n_y, n_x = out_shape
    for piece in pieces:
        rows, width = piece[8] - piece[3], piece[9] - piece[4]
        runs, length = rows, width * item
        if width == n_l and width == n_x:
            # Rows follow each other in both arrays.
            runs, length = 1, rows * length
        for c in range(piece[6] - piece[1]):
            for z in range(piece[7] - piece[2]):
                plane = (piece[10] * n_k + piece[11] + c) * n_i + piece[12] + z
                begin = ((plane * n_j + piece[13]) * n_l + piece[14]) * item
                plane = (piece[0] * n_c + piece[1] + c) * n_z + piece[2] + z
                target = ((plane * n_y + piece[3]) * n_x + piece[4]) * item
                for run in range(runs):
                    first, place = begin + run * n_l * item, target + run * n_x * item
                    row, target_row = source[first : first + length], out[place : place + length]
                    for byte in range(length):
                        target_row[byte] = row[byte]


@compiled
def _mark(pieces, shape, item, block_bytes, needed):
    _, n_c, n_z, n_y, n_x = shape
    for piece in pieces:
        for channel in range(piece[11], piece[16]):
            for plane in range(piece[12], piece[17]):
                row = ((piece[10] * n_c + channel) * n_z + plane) * n_y
                first = ((row + piece[13]) * n_x + piece[14]) * item
                last = ((row + piece[18] - 1) * n_x + piece[19]) * item - 1
                for block in range(first // block_bytes, last // block_bytes + 1):
                    needed[block] = True
