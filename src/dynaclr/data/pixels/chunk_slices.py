"""Chunk slices: what boxes of pixels take of each chunk that they touch.

A batch has thousands of chunk slices, so they are rows of one array (P, 3, 5): the first pixel
(sample, c, z, y, x) in the output, the first pixel (t, c, z, y, x) in the chunk, and the extent.
The loops over them are compiled and run without the interpreter's lock, so that threads that decode
do not wait for those that copy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaclr.data.pixels.compiled import compiled


def slice_boxes(
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    target: NDArray[np.int64],
    layout: NDArray[np.int64],
    chunk: NDArray[np.int64],
    grid: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Divide boxes at the borders of chunks.

    Parameters
    ----------
    start, stop, target : NDArray of int, shape (K, 5)
        See `dynaclr.data.pixels.chunk_reader.Boxes`.
    layout : NDArray of int, shape (K,)
        Number of the layout of each box's array.
    chunk, grid : NDArray of int, shape (L, 5)
        Extent of a chunk, and number of chunks, along each axis (t, c, z, y, x) of a layout.

    Returns
    -------
    box : NDArray of int, shape (P,)
        Box that each chunk slice belongs to, ascending.
    number : NDArray of int, shape (P,)
        Number of its chunk in its array, in C order.
    index : NDArray of int, shape (P, 5)
        Indices of that chunk in the grid.
    slices : NDArray of int, shape (P, 3, 5)
    """
    first = start // chunk[layout]
    count = (stop - 1) // chunk[layout] - first + 1
    n_slices = count.prod(axis=1)
    box = np.repeat(np.arange(len(start)), n_slices)
    # The number of a slice in its box counts the box's chunks in C order.
    rest = np.arange(len(box)) - np.repeat(np.cumsum(n_slices) - n_slices, n_slices)
    index, count = first[box], count[box]
    for axis in range(4, -1, -1):
        rest, step = np.divmod(rest, count[:, axis])
        index[:, axis] += step
    extent, kind = chunk[layout[box]], layout[box]
    corner = index * extent
    begin = np.maximum(start[box], corner)
    end = np.minimum(stop[box], corner + extent)
    slices = np.stack([target[box] + begin - start[box], begin - corner, end - begin], axis=1)
    number = np.zeros(len(box), np.int64)
    for axis in range(5):
        number = number * grid[kind, axis] + index[:, axis]
    return box, number, index, slices


def copy_slices(pixels: NDArray[Any], slices: NDArray[np.int64], out: NDArray[Any]) -> None:
    """Copy slices of a chunk to their positions in the output.

    They must lie inside both arrays: the compiled loop does not check.

    Parameters
    ----------
    pixels : NDArray, shape (T, C, Z, Y, X)
        The chunk.
    slices : NDArray of int, shape (K, 3, 5)
    out : NDArray, shape (B, C, Z, Y, X)
        Of any type.
    """
    if pixels.dtype == out.dtype and pixels.flags.c_contiguous and out.flags.c_contiguous:
        item = out.itemsize
        _copy_bytes(_bytes_of(pixels), pixels.shape, _bytes_of(out), out.shape, slices, item)
        return
    # Other types, byte orders and axis orders are left to NumPy, which holds the lock meanwhile.
    for target, inside, extent in slices:
        here, there = (tuple(map(slice, a, a + extent)) for a in (target, inside))
        out[here] = pixels[there]


def needed_blocks(
    slices: NDArray[np.int64], shape: tuple[int, ...], item: int, block_bytes: int, n_blocks: int
) -> NDArray[np.bool_]:
    """Which blocks of a chunk in C order hold pixels of its slices.

    Parameters
    ----------
    slices : NDArray of int, shape (K, 3, 5)
    shape : tuple of int
        Extent (t, c, z, y, x) of the chunk.
    item : int
        Bytes of a pixel.
    block_bytes, n_blocks : int
        Bytes of a block, and number of blocks.
    """
    needed = np.zeros(n_blocks, np.bool_)
    _mark_blocks(slices, shape, item, block_bytes, needed)
    return needed


def _bytes_of(array: NDArray[Any]) -> NDArray[np.uint8]:
    return array.reshape(-1).view(np.uint8)


@compiled
def _copy_bytes(source, source_shape, out, out_shape, slices, item):
    _, n_k, n_i, n_j, n_l = source_shape
    _, n_c, n_z, n_y, n_x = out_shape
    for target, inside, extent in slices:
        rows, length = extent[3], extent[4] * item
        if extent[4] == n_l and extent[4] == n_x:
            # Rows follow each other in both arrays.
            rows, length = 1, rows * length
        for c in range(extent[1]):
            for z in range(extent[2]):
                plane = (inside[0] * n_k + inside[1] + c) * n_i + inside[2] + z
                begin = ((plane * n_j + inside[3]) * n_l + inside[4]) * item
                plane = (target[0] * n_c + target[1] + c) * n_z + target[2] + z
                to = ((plane * n_y + target[3]) * n_x + target[4]) * item
                for row in range(rows):
                    first, last = begin + row * n_l * item, to + row * n_x * item
                    row_in, row_out = source[first : first + length], out[last : last + length]
                    for byte in range(length):
                        row_out[byte] = row_in[byte]


@compiled
def _mark_blocks(slices, shape, item, block_bytes, needed):
    _, n_c, n_z, n_y, n_x = shape
    for _, inside, extent in slices:
        for c in range(inside[1], inside[1] + extent[1]):
            for z in range(inside[2], inside[2] + extent[2]):
                row = ((inside[0] * n_c + c) * n_z + z) * n_y + inside[3]
                first = (row * n_x + inside[4]) * item
                last = ((row + extent[3] - 1) * n_x + inside[4] + extent[4]) * item - 1
                for block in range(first // block_bytes, last // block_bytes + 1):
                    needed[block] = True
