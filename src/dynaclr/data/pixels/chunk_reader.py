"""Reading boxes out of many Zarr arrays: every chunk that they touch is read and decoded once.

A batch of patches is a few hundred boxes. NumPy divides all of them at the borders of the chunks at
once; what is left to do for each chunk is to decode it (of a Blosc chunk only the blocks that are
needed) and to copy its slices to the output. Threads share that work.
"""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynaclr.data.pixels.blosc import BloscBlocks, decode_whole, decoder
from dynaclr.data.pixels.chunk_cache import ChunkCache, DecodedChunk
from dynaclr.data.pixels.chunk_files import ChunkFiles, NeverWritten, StoredChunk
from dynaclr.data.pixels.chunk_slices import copy_slices, needed_blocks, slice_boxes
from dynaclr.data.pixels.unreadable import UNREADABLE, decoded_by, reason_of
from dynaclr.io.array_layout import ArrayLayout

# Groups of chunks for each thread: the last ones to finish wait for at most one of them.
_GROUPS_PER_THREAD = 32
# Parts of a chunk that needs no decoding: to begin one takes as long as to copy some patches.
_PARTS_PER_THREAD = 4
# Blosc chunks up to this many bytes are decoded whole: finding the needed blocks takes longer.
_SMALL = 1 << 18
_C_ORDER = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Boxes:
    """K boxes of pixels, each of one frame, and where they go.

    Attributes
    ----------
    array : NDArray of int, shape (K,)
        Number of the array that each box is in.
    start, stop : NDArray of int, shape (K, 5)
        Corners (t, c, z, y, x) in the array; one frame each, none empty.
    target : NDArray of int, shape (K, 5)
        First corner (sample, c, z, y, x) in the output.
    """

    array: NDArray[np.int64]
    start: NDArray[np.int64]
    stop: NDArray[np.int64]
    target: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.array)


@dataclass(frozen=True)
class UnreadableChunk:
    """A chunk that cannot be read.

    Attributes
    ----------
    boxes : NDArray of int
        Boxes that need it.
    array : int
        Number of its array.
    index : tuple of int
        Its indices in the grid of chunks.
    pixel : tuple of int
        Indices (t, c, z, y, x) of the first of its pixels that is needed.
    reason : str
        Why it cannot be read.
    """

    boxes: NDArray[np.int64]
    array: int
    index: tuple[int, ...]
    pixel: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class _Plan:
    """Slices of boxes by chunk: those of chunk `u` are ``first[u]`` to ``first[u + 1]``.

    Attributes
    ----------
    box : NDArray of int, shape (P,)
    slices : NDArray of int, shape (P, 3, 5)
    first : NDArray of int, shape (U + 1,)
    number : NDArray of int, shape (U,)
        Number of each chunk among those of all arrays.
    array : NDArray of int, shape (U,)
    index : NDArray of int, shape (U, 5)
    """

    box: NDArray[np.int64]
    slices: NDArray[np.int64]
    first: NDArray[np.int64]
    number: NDArray[np.int64]
    array: NDArray[np.int64]
    index: NDArray[np.int64]


class ChunkReader:
    """Copies boxes of pixels out of arrays with axes (T, C, Z, Y, X).

    It pickles without what it has open or decoded, and a forked process starts afresh. Several
    threads may read at the same time.

    Parameters
    ----------
    paths : sequence of str
        Folder of each array.
    layouts : sequence of ArrayLayout
        Distinct layouts.
    layout_of : array_like of int, shape (arrays,)
        Number of each array's layout.
    cache_bytes : int
        Most bytes of decoded chunks to keep.
    threads : int, optional
        Threads that decode. Default: as many as torch uses, which is one in a loader's worker.
    may_lack : NDArray of bool, shape (arrays,), optional
        Arrays whose writer left out empty chunks. Elsewhere a missing chunk is unreadable.
    """

    def __init__(
        self,
        paths: Sequence[str],
        layouts: Sequence[ArrayLayout],
        layout_of: ArrayLike,
        cache_bytes: int,
        threads: int | None = None,
        may_lack: NDArray[np.bool_] | None = None,
    ) -> None:
        self.paths = list(paths)
        self.layouts = list(layouts)
        self.layout_of = np.asarray(layout_of, np.int64)
        self.cache_bytes = cache_bytes
        self.threads = threads
        self._may_lack = np.zeros(len(paths), bool) if may_lack is None else may_lack
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._owner = os.getpid()
        # A loader's worker, forked from a process of many threads, has one.
        self.__dict__.pop("_n_threads", None)
        self._chunk = np.array([layout.chunk for layout in self.layouts], np.int64).reshape(-1, 5)
        self._grid = np.array([layout.grid for layout in self.layouts], np.int64).reshape(-1, 5)
        chunks = self._grid.prod(axis=1)[self.layout_of]
        self._first_chunk = np.concatenate([[0], np.cumsum(chunks)])
        self._files = ChunkFiles(self.paths)
        self._cache = ChunkCache(self.cache_bytes)
        self._is_raw = np.array([layout.is_raw for layout in self.layouts], bool)
        self._is_blosc = [layout.is_blosc for layout in self.layouts]
        self._decoders = [[] if layout.is_blosc else layout.decoders() for layout in self.layouts]
        self._pool: ThreadPoolExecutor | None = None
        # An error in loading these must not be taken for a damaged chunk.
        needed_blocks(np.empty((0, 3, 5), np.int64), (1,) * 5, 1, 1, 1)
        if any(self._is_blosc):
            decoder()

    def __reduce__(self) -> tuple[Any, ...]:
        options = self.cache_bytes, self.threads, self._may_lack
        arguments = self.paths, self.layouts, self.layout_of, *options
        return type(self), arguments

    @functools.cached_property
    def _n_threads(self) -> int:
        if self.threads:
            return self.threads
        import torch

        return torch.get_num_threads()

    def keep_frames(self, n: int, channels: int, planes: int) -> None:
        """Keep the decoded chunks that hold so many channels and planes of `n` frames."""
        frame = max(_chunks_of_frame(c, channels, planes) * c.chunk_bytes for c in self.layouts)
        # Threads may be late with a chunk of earlier frames.
        late = self._n_threads * max(layout.chunk_bytes for layout in self.layouts)
        self.cache_bytes = max(self.cache_bytes, n * frame + late)
        self._cache = ChunkCache(self.cache_bytes)

    def read(self, boxes: Boxes, out: NDArray[Any]) -> list[UnreadableChunk]:
        """Copy boxes into an array.

        Parameters
        ----------
        boxes : Boxes
        out : NDArray, shape (B, C, Z, Y, X)
            Of any type, and large enough; what no box covers stays as it is.

        Returns
        -------
        list of UnreadableChunk
            Their pixels in `out` stay as they are.

        Raises
        ------
        IndexError
            When a box reaches beyond `out`.
        """
        if self._owner != os.getpid():
            self._start_afresh()
        if not len(boxes):
            return []
        plan = self._plan(boxes)
        target, extent = plan.slices[:, 0], plan.slices[:, 2]
        if target.min() < 0 or (target + extent > out.shape).any():
            raise IndexError(f"boxes reach beyond the output of shape {out.shape}")
        # Taken at once: chunks of later groups must not leave the cache for those of earlier ones.
        numbers = plan.number.tolist()
        cached = self._cache.take(numbers)
        try:
            return self._copy(functools.partial(self._copy_chunks, plan, cached, out), len(numbers))
        finally:
            self._cache.release(numbers)

    def _copy(
        self, copy: Callable[[range], list[UnreadableChunk]], n_chunks: int
    ) -> list[UnreadableChunk]:
        """Copy groups of chunks at the same time; return those that cannot be read."""
        if self._n_threads == 1:
            return copy(range(n_chunks))
        n_groups = min(n_chunks, self._n_threads * _GROUPS_PER_THREAD)
        bounds = np.linspace(0, n_chunks, n_groups + 1).astype(int).tolist()
        groups = [range(a, b) for a, b in itertools.pairwise(bounds)]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._n_threads)
        return list(itertools.chain.from_iterable(self._pool.map(copy, groups)))

    def whole(self, array: int, index: tuple[int, ...]) -> NDArray[Any]:
        """Decode a whole chunk, to its full extent also where the array ends before.

        Raises
        ------
        OSError, ValueError, RuntimeError
            When it is missing or damaged; see `dynaclr.data.pixels.unreadable`.
        """
        return self._load(array, index, None, None).pixels

    def _plan(self, boxes: Boxes) -> _Plan:
        """Divide boxes at the borders of chunks and order the slices by chunk."""
        layout = self.layout_of[boxes.array]
        box, number, index, slices = slice_boxes(
            boxes.start, boxes.stop, boxes.target, layout, self._chunk, self._grid
        )
        number += self._first_chunk[boxes.array[box]]
        order = np.argsort(number, kind="stable")
        box, number, index, slices = (x[order] for x in (box, number, index, slices))
        first = np.flatnonzero(np.diff(number, prepend=-1))
        raw = self._is_raw[layout[box]]
        if self._n_threads > 1 and raw.any():
            # A raw chunk, such as a shard of a store that holds a whole batch, is shared out.
            part = -(-len(number) // (self._n_threads * _PARTS_PER_THREAD))
            first = np.union1d(first, np.flatnonzero(raw)[::part])
        first_slice = np.append(first, len(box))
        return _Plan(box, slices, first_slice, number[first], boxes.array[box[first]], index[first])

    def _copy_chunks(
        self, plan: _Plan, cached: dict[int, DecodedChunk], out: NDArray[Any], chunks: range
    ) -> list[UnreadableChunk]:
        """Decode some chunks and copy their slices; return those that cannot be read."""
        unreadable = []
        for u in chunks:
            own = slice(int(plan.first[u]), int(plan.first[u + 1]))
            slices, number, array = plan.slices[own], int(plan.number[u]), int(plan.array[u])
            index = tuple(plan.index[u].tolist())
            try:
                chunk = self._load(array, index, slices, cached.pop(number, None))
            except UNREADABLE as error:
                pixel = plan.index[u] * self._chunk[self.layout_of[array]] + slices[0, 1]
                reason = reason_of(error)
                unreadable.append(
                    UnreadableChunk(plan.box[own], array, index, tuple(pixel.tolist()), reason)
                )
                continue
            copy_slices(chunk.pixels, slices, out)
            self._cache.put(number, chunk)
        return unreadable

    def _load(
        self,
        array: int,
        index: tuple[int, ...],
        slices: NDArray[np.int64] | None,
        chunk: DecodedChunk | None,
    ) -> DecodedChunk:
        """A chunk of which at least the slices are decoded (None: all), given what is cached."""
        kind = int(self.layout_of[array])
        layout = self.layouts[kind]
        if chunk and slices is not None and not _missing_blocks(slices, layout, chunk).any():
            return chunk
        try:
            if layout.is_raw:
                return DecodedChunk(
                    _as_pixels(self._files.map(array, layout, index), layout), False
                )
            with self._files.open(array, layout, index) as stored:
                if self._is_blosc[kind] and slices is not None and layout.chunk_bytes > _SMALL:
                    return _decode_blocks(stored, layout, chunk, slices)
                if self._is_blosc[kind]:
                    data = decode_whole(stored.whole(), layout.chunk_bytes)
                else:
                    data = np.frombuffer(decoded_by(self._decoders[kind], stored.whole()), np.uint8)
                return DecodedChunk(_as_pixels(data, layout))
        except FileNotFoundError:
            if not self._may_lack[array]:
                raise
        except NeverWritten:
            pass
        fill = np.asarray(layout.fill, layout.dtype)
        return DecodedChunk(np.broadcast_to(fill, layout.chunk), keep=False)


def _chunks_of_frame(layout: ArrayLayout, channels: int, planes: int) -> int:
    """Most chunks that hold so many channels and planes of a frame."""
    _, _, deep, high, wide = layout.grid
    # Frames of one chunk may be in focus in different planes.
    if layout.chunk[0] == 1:
        deep = min(-(-(planes - 1) // layout.chunk[2]) + 1, deep)
    return min(channels, layout.grid[1]) * deep * high * wide


def _decode_blocks(
    stored: StoredChunk,
    layout: ArrayLayout,
    chunk: DecodedChunk | None,
    slices: NDArray[np.int64],
) -> DecodedChunk:
    """Decode those blocks of a Blosc chunk that its slices need and that are not decoded yet."""
    blocks = BloscBlocks(stored.read, layout.chunk_bytes)
    if chunk is None:
        buffer = np.empty(layout.chunk_bytes, np.uint8)
        valid = np.zeros(blocks.n_blocks, bool)
        chunk = DecodedChunk(_as_pixels(buffer, layout), True, buffer, valid, blocks.block_bytes)
    missing = _missing_blocks(slices, layout, chunk)
    assert chunk.buffer is not None, "blocks are missing only where they are decoded one by one"
    assert chunk.valid is not None, "blocks are missing only where they are decoded one by one"
    blocks.decode(missing, chunk.buffer)
    chunk.valid |= missing
    return chunk


def _missing_blocks(
    slices: NDArray[np.int64], layout: ArrayLayout, chunk: DecodedChunk
) -> NDArray[np.bool_]:
    """Which blocks of a chunk hold pixels of its slices and are not decoded yet."""
    if chunk.valid is None:
        return np.zeros(0, bool)
    if layout.order != _C_ORDER:
        return ~chunk.valid
    item, n_blocks = chunk.pixels.itemsize, len(chunk.valid)
    needed = needed_blocks(slices, layout.chunk, item, chunk.block_bytes, n_blocks)
    return needed & ~chunk.valid


def _as_pixels(data: NDArray[np.uint8], layout: ArrayLayout) -> NDArray[Any]:
    """Decoded bytes of a chunk as an array with axes (T, C, Z, Y, X), without a copy."""
    if data.nbytes != layout.chunk_bytes:
        raise ValueError(f"{data.nbytes} bytes instead of {layout.chunk_bytes}")
    if layout.order == _C_ORDER:
        return data.view(layout.dtype).reshape(layout.chunk)
    stored = data.view(layout.dtype).reshape([layout.chunk[axis] for axis in layout.order])
    return stored.transpose(np.argsort(layout.order))
