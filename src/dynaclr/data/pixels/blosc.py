"""Decoding some of the blocks of a Blosc buffer.

Blosc compresses a chunk in blocks of some ten kilobytes, each on its own. A patch of a whole-plane
chunk needs a tenth of them. The needed blocks are put together as a smaller Blosc buffer, which any
Blosc decodes. C-Blosc2 is used: unlike C-Blosc it prepares the decompressor once a buffer instead
of once a block, which saves a fifth of the time.

The format (C-Blosc, ``README_CHUNK_FORMAT.rst``): a header of 16 bytes (version, version of the
compressor, flags, item size, then as 32-bit numbers the decoded bytes, the bytes of a block and
those of the buffer), the offset of each block as a 32-bit number, and the blocks in any order. With
bit 1 of the flags set the data follow the header as they are.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_HEADER = struct.Struct("<BBBBIII")
_STORED = 0x2
# Enough for the offsets of a thousand blocks.
_FIRST_READ = 4096
_LONGEST = 2**31 - 1

Read = Callable[[int, int], bytes]


def decode_whole(data: bytes, n_bytes: int) -> NDArray[np.uint8]:
    """Decode a whole Blosc buffer.

    Raises
    ------
    ValueError, RuntimeError
        When it is damaged, or does not decode to `n_bytes`.
    """
    if len(data) < _HEADER.size:
        raise ValueError(f"only {len(data)} bytes")
    *_, decoded, _, end = _HEADER.unpack_from(data)
    if decoded != n_bytes or end > len(data):
        raise ValueError(f"{len(data)} bytes for {decoded} of {n_bytes} bytes")
    out = np.empty(n_bytes, np.uint8)
    decoder()(data, out)
    return out


@functools.cache
def decoder() -> Callable[[bytes, NDArray[np.uint8]], None]:
    """The function ``decode(data, out)``, which must not be given more than fits.

    It is imported, in a quarter of a second, when it is first asked for. It runs in the thread that
    calls it, without the interpreter's lock.
    """
    import blosc2

    blosc2.set_releasegil(True)
    return functools.partial(blosc2.decompress2, nthreads=1)


class BloscBlocks:
    """A Blosc buffer whose blocks are read and decoded when they are asked for.

    Parameters
    ----------
    read : callable
        ``read(offset, length)`` gives bytes of the buffer; fewer at its end.
    n_bytes : int
        Bytes that the buffer must decode to.

    Raises
    ------
    ValueError
        When the buffer is no Blosc buffer of that size.
    """

    def __init__(self, read: Read, n_bytes: int) -> None:
        self._read = read
        first = read(0, _FIRST_READ)
        if len(first) < _HEADER.size:
            raise ValueError(f"only {len(first)} bytes")
        self._head = _HEADER.unpack_from(first)
        *_, flags, _, decoded, self.block_bytes, self._end = self._head
        if decoded != n_bytes or self.block_bytes == 0:
            raise ValueError(f"decodes to {decoded} bytes instead of {n_bytes}")
        if self._end > _LONGEST:
            raise ValueError(f"{self._end} bytes are more than a Blosc buffer may have")
        self.n_blocks = -(-n_bytes // self.block_bytes)
        self._stored = bool(flags & _STORED)
        if not self._stored:
            length = _HEADER.size + 4 * self.n_blocks
            first = first if len(first) >= length else read(0, length)
            starts = np.frombuffer(first, "<i4", self.n_blocks, _HEADER.size)
            # Blocks end where the next one in the file begins; they may stand in any order.
            order = np.argsort(starts, kind="stable")
            self._starts, self._ends = starts, np.empty_like(starts)
            self._ends[order[:-1]], self._ends[order[-1]] = starts[order[1:]], self._end
            if starts[order[0]] < length or starts[order[-1]] >= self._end:
                raise ValueError("offsets of blocks outside the buffer")

    def decode(self, wanted: NDArray[np.bool_], out: NDArray[np.uint8]) -> None:
        """Decode blocks to where they lie in the whole decoded buffer.

        Parameters
        ----------
        wanted : NDArray of bool, shape (n_blocks,)
        out : NDArray of uint8
            The whole decoded buffer, of which the wanted blocks are filled.

        Raises
        ------
        ValueError, RuntimeError
            When bytes are missing or damaged.
        """
        if wanted.all() and not self._stored:
            decoder()(self._all_of(0, self._end), out)
            return
        edges = np.flatnonzero(np.diff(np.concatenate([[False], wanted, [False]])))
        if len(edges) and edges[-2] == self.n_blocks - 1 > 0:
            # A buffer of the last block alone would be shorter than a block, which Blosc refuses.
            edges[-2] -= 1
        for first, stop in edges.reshape(-1, 2).tolist():
            begin = first * self.block_bytes
            self._decode_run(first, stop, out[begin : stop * self.block_bytes])

    def _decode_run(self, first: int, stop: int, out: NDArray[np.uint8]) -> None:
        if self._stored:
            out[:] = np.frombuffer(
                self._all_of(_HEADER.size + first * self.block_bytes, out.size), np.uint8
            )
            return
        low = int(self._starts[first:stop].min())
        body = self._all_of(low, int(self._ends[first:stop].max()) - low)
        length = _HEADER.size + 4 * (stop - first)
        starts = (self._starts[first:stop] + np.int32(length - low)).tobytes()
        head = _HEADER.pack(*self._head[:4], out.size, self.block_bytes, length + len(body))
        decoder()(head + starts + body, out)

    def _all_of(self, offset: int, length: int) -> bytes:
        found = self._read(offset, length)
        if len(found) < length:
            raise ValueError(f"{length - len(found)} bytes are missing at its end")
        return found
