"""Pieces of boxes: cutting, copying them out of a chunk, and telling which of its bytes they need.

A batch has thousands of pieces. The loops over them are compiled and run without the interpreter's
lock, so that threads that decode do not wait for those that copy.

A piece is a row of 20 numbers: its corners (sample, c, z, y, x) in the output, first and behind the
last one, then those (t, c, z, y, x) in the chunk.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from dynaclr.data.pixels.compiled import compiled

# Bytes that a streaming store writes at a time, and a multiple of which it writes to.
_WORD = 32
# Outputs of so many bytes would not stay in the cache: what is written passes by it.
STREAMED = 8 << 20


def cut_boxes(
    start: NDArray[np.int64],
    stop: NDArray[np.int64],
    target: NDArray[np.int64],
    layout: NDArray[np.int64],
    chunk: NDArray[np.int64],
    grid: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Cut boxes at the borders of chunks.

    Parameters
    ----------
    start, stop, target : NDArray of int, shape (K, 5)
        See `dynaclr.data.pixels.chunks.Boxes`.
    layout : NDArray of int, shape (K,)
        Number of the layout of each box's array.
    chunk, grid : NDArray of int, shape (L, 5)
        Extent of a chunk, and number of chunks, along each axis (t, c, z, y, x) of a layout.

    Returns
    -------
    box : NDArray of int, shape (P,)
        Box that each piece is of, ascending.
    number : NDArray of int, shape (P,)
        Number of its chunk in its array, in C order.
    index : NDArray of int, shape (P, 5)
        Place of that chunk in the grid.
    pieces : NDArray of int, shape (P, 20)
    """
    return _cut(
        *(np.ascontiguousarray(x, np.int64) for x in (start, stop, target, layout, chunk, grid))
    )


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
def _cut(start, stop, target, layout, chunk, grid):
    count = np.ones(len(start), np.int64)
    for k in range(len(start)):
        for axis in range(5):
            extent = chunk[layout[k], axis]
            count[k] *= (stop[k, axis] - 1) // extent - start[k, axis] // extent + 1
    n = count.sum()
    box, number = np.empty(n, np.int64), np.zeros(n, np.int64)
    index, pieces = np.empty((n, 5), np.int64), np.empty((n, 20), np.int64)
    p = 0
    for k in range(len(start)):
        kind = layout[k]
        for piece in range(count[k]):
            rest = piece
            for axis in range(4, -1, -1):
                first, behind, extent = start[k, axis], stop[k, axis], chunk[kind, axis]
                low = first // extent
                side = (behind - 1) // extent - low + 1
                place, rest = low + rest % side, rest // side
                corner = place * extent
                begin, end = max(first, corner), min(behind, corner + extent)
                index[p, axis] = place
                pieces[p, axis] = target[k, axis] + begin - first
                pieces[p, 5 + axis] = target[k, axis] + end - first
                pieces[p, 10 + axis], pieces[p, 15 + axis] = begin - corner, end - corner
            for axis in range(5):
                number[p] = number[p] * grid[kind, axis] + index[p, axis]
            box[p] = k
            p += 1
    return box, number, index, pieces


@intrinsic
def _stream(typing_context, source, begin, out, place):
    """Copy a word that passes by the cache, which else first reads what is there from memory."""

    def emitted(context, builder, signature, arguments):
        word = ir.VectorType(ir.IntType(64), _WORD // 8).as_pointer()
        arrays = (
            context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 2)
        )
        first, target = (
            builder.bitcast(builder.gep(array.data, [at]), word)
            for array, at in zip(arrays, arguments[1::2], strict=True)
        )
        loaded = builder.load(first, align=1)
        stored = builder.store(loaded, target, align=_WORD)
        one = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        stored.set_metadata("nontemporal", one)
        return context.get_dummy_value()

    return types.void(source, types.intp, out, types.intp), emitted


@intrinsic
def _fence(typing_context):
    """Let other threads see the words that passed by the cache before whatever is stored later."""

    def emitted(context, builder, signature, arguments):
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), emitted


@compiled
def _copy_bytes(source, source_shape, out, out_shape, pieces, item):
    streams = out.size >= STREAMED and out.ctypes.data % _WORD == 0
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
                if streams and (target | length | n_x * item) % _WORD == 0:
                    _stream_runs(source, begin, n_l * item, out, target, n_x * item, runs, length)
                    continue
                for run in range(runs):
                    first, place = begin + run * n_l * item, target + run * n_x * item
                    row, target_row = source[first : first + length], out[place : place + length]
                    for byte in range(length):
                        target_row[byte] = row[byte]
    if streams:
        _fence()


@compiled
def _stream_runs(source, begin, step, out, target, target_step, runs, length):
    # No array is passed on or cut from here on: counting who refers to it would wait for the words.
    for run in range(runs):
        first, place = begin + run * step, target + run * target_step
        for byte in range(0, length, _WORD):
            _stream(source, first + byte, out, place + byte)


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
