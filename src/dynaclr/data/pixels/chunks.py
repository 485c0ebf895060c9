"""Reading boxes out of many Zarr arrays: every chunk that they touch is read and decoded once.

A batch of patches is a few hundred boxes. NumPy cuts all of them at the borders of the chunks at
once; what is left to do for each chunk is to decode it (of a Blosc chunk only the blocks that are
needed) and to copy its pieces to their places. Threads share that work.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dynaclr.data.pixels.blosc import BloscBlocks, decode_whole, decoder
from dynaclr.data.pixels.chunk_files import ChunkFiles, NeverWritten, StoredChunk
from dynaclr.data.pixels.chunk_slices import copy_pieces, cut_boxes, needed_blocks
from dynaclr.data.pixels.layout import ArrayLayout
from dynaclr.data.pixels.unreadable import UNREADABLE, decoded_by, reason_of

# Groups of chunks for each thread: the last ones to finish wait for at most one of them.
_GROUPS_PER_THREAD = 32
# Shares of a chunk that needs no decoding: to begin one takes as long as to copy some patches.
_SHARES_PER_THREAD = 4
# Blosc chunks up to this many bytes are decoded whole: to tell their few blocks apart costs more.
_SMALL = 1 << 18
Job, Result = TypeVar("Job"), TypeVar("Result")
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
class Fault:
    """A chunk that cannot be read.

    Attributes
    ----------
    boxes : NDArray of int
        Boxes that need it.
    array : int
        Number of its array.
    index : tuple of int
        Its place in the grid of chunks.
    place : tuple of int
        Indices (t, c, z, y, x) of the first of its pixels that is needed.
    reason : str
        Why it cannot be read.
    """

    boxes: NDArray[np.int64]
    array: int
    index: tuple[int, ...]
    place: tuple[int, ...]
    reason: str


@dataclass
class _Chunk:
    """A decoded chunk, or the blocks of it that were asked for so far."""

    pixels: NDArray[Any]
    keep: bool = True
    buffer: NDArray[np.uint8] | None = None
    valid: NDArray[np.bool_] | None = None
    block_bytes: int = 0


@dataclass(frozen=True)
class _Plan:
    """Pieces of boxes by chunk: those of chunk `u` are ``first[u]`` to ``first[u + 1]``."""

    box: NDArray[np.int64]
    corners: NDArray[np.int64]
    first: NDArray[np.int64]
    number: NDArray[np.int64]
    array: NDArray[np.int64]
    index: NDArray[np.int64]


@dataclass
class _Cache:
    """Decoded chunks, the least recently used leave first; who takes one owns it."""

    limit: int
    held: int = 0
    chunks: OrderedDict[int, _Chunk] = field(default_factory=OrderedDict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, number: int) -> _Chunk | None:
        with self.lock:
            chunk = self.chunks.pop(number, None)
            if chunk is not None:
                self.held -= chunk.pixels.nbytes
            return chunk

    def give(self, number: int, chunk: _Chunk) -> None:
        if not chunk.keep or chunk.pixels.nbytes > self.limit:
            return
        with self.lock:
            before = self.chunks.pop(number, None)
            self.held += chunk.pixels.nbytes - (before.pixels.nbytes if before else 0)
            self.chunks[number] = chunk
            while self.held > self.limit:
                self.held -= self.chunks.popitem(last=False)[1].pixels.nbytes


class _Groups:
    """Groups of chunks that threads take in order, with what is kept of their chunks.

    Both are taken at once: else a chunk of a group could leave the cache, for those of later
    groups, before the thread that holds the group comes to it.
    """

    def __init__(self, plan: _Plan, groups: list[range], cache: _Cache) -> None:
        self.plan = plan
        self.faults: dict[int, list[Fault]] = {}
        self._groups = enumerate(groups)
        self._cache = cache
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Leave no group to threads that ask for another one."""
        with self._lock:
            self._groups = enumerate([])

    def __iter__(self) -> Iterator[tuple[int, range, dict[int, _Chunk | None]]]:
        while True:
            with self._lock:
                number, group = next(self._groups, (-1, range(0)))
                chunks = self.plan.number[group.start : group.stop].tolist()
                kept = {chunk: self._cache.take(chunk) for chunk in chunks}
            if not kept:
                return
            yield number, group, kept


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
    layout_of : NDArray of int, shape (arrays,)
        Number of each array's layout.
    cache_bytes : int
        Most bytes of decoded chunks to keep.
    threads : int, optional
        Threads that decode. Default: as many as torch uses, which is one in a loader's worker.
    may_lack : NDArray of bool, shape (arrays,), optional
        Arrays of which a chunk that is not there was never written, instead of lost.
    """

    def __init__(
        self,
        paths: Sequence[str],
        layouts: Sequence[ArrayLayout],
        layout_of: NDArray[np.int64],
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
        self._chunk = np.array([layout.chunk for layout in layouts], np.int64).reshape(-1, 5)
        self._grid = np.array([layout.grid for layout in layouts], np.int64).reshape(-1, 5)
        chunks = self._grid.prod(axis=1)[self.layout_of]
        self._first = np.concatenate([[0], np.cumsum(chunks)])
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._owner = os.getpid()
        self._files = ChunkFiles(self.paths)
        self._cache = _Cache(self.cache_bytes)
        self._pool: ThreadPoolExecutor | None = None
        self._count = self.threads or 0
        self._decoders = [None if c.is_blosc or c.is_raw else c.decoders() for c in self.layouts]
        self._is_blosc = [layout.is_blosc for layout in self.layouts]
        self._is_raw = np.array([layout.is_raw for layout in self.layouts], bool)
        # What goes wrong when these are loaded must not be taken for a chunk's damage.
        needed_blocks(np.empty((0, 20), np.int64), (1,) * 5, 1, 1, 1)
        if any(self._is_blosc):
            decoder()

    def __getstate__(self) -> dict[str, Any]:
        own = ("_owner", "_files", "_cache", "_pool", "_count", "_decoders", "_is_blosc", "_is_raw")
        return {name: value for name, value in self.__dict__.items() if name not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._start_afresh()

    def keep_frames(self, n: int, channels: int, planes: int) -> None:
        """Keep the decoded chunks that hold so many channels and planes of `n` frames."""
        frame = max(_chunks_of_frame(c, channels, planes) * c.chunk_bytes for c in self.layouts)
        # Threads may be late with a chunk of earlier frames.
        late = self._threads() * max(layout.chunk_bytes for layout in self.layouts)
        self.cache_bytes = max(self.cache_bytes, n * frame + late)
        self._cache = _Cache(self.cache_bytes)

    def read(self, boxes: Boxes, out: NDArray[Any]) -> list[Fault]:
        """Copy boxes into an array.

        Parameters
        ----------
        boxes : Boxes
        out : NDArray, shape (B, C, Z, Y, X)
            Of any type, and large enough; what no box covers stays as it is.

        Returns
        -------
        list of Fault
            Chunks that cannot be read; their places in `out` stay as they are.

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
        if plan.corners[:, :5].min() < 0 or (plan.corners[:, 5:10] > out.shape).any():
            raise IndexError(f"boxes reach beyond the output of shape {out.shape}")
        threads = self._threads()
        n_groups = min(len(plan.number), threads * _GROUPS_PER_THREAD)
        bounds = np.linspace(0, len(plan.number), n_groups + 1).astype(int)
        groups = [range(a, b) for a, b in itertools.pairwise(bounds.tolist())]
        left = _Groups(plan, groups, self._cache)
        try:
            if threads == 1:
                self._copy(left, out)
            else:
                list(self._pool.map(lambda _: self._copy(left, out), range(threads)))
        finally:
            left.stop()
        return [fault for number in sorted(left.faults) for fault in left.faults[number]]

    def whole(self, array: int, index: tuple[int, ...]) -> NDArray[Any]:
        """Decode a whole chunk, to its full extent also where the array ends before.

        Raises
        ------
        OSError, ValueError, RuntimeError
            When it is missing or damaged; see `dynaclr.data.pixels.unreadable`.
        """
        kind = int(self.layout_of[array])
        layout = self.layouts[kind]
        stored = self._opened(array, layout, index)
        if stored is None:
            return _never_written(layout)
        with stored:
            return _as_pixels(self._decoded(stored, kind), layout)

    def _threads(self) -> int:
        if self._count == 0:
            import torch

            self._count = torch.get_num_threads()
        if self._count > 1 and self._pool is None:
            self._pool = ThreadPoolExecutor(self._count)
        return self._count

    def _plan(self, boxes: Boxes) -> _Plan:
        """Cut boxes at the borders of chunks and order the pieces by chunk."""
        layout = self.layout_of[boxes.array]
        box, number, index, corners = cut_boxes(
            boxes.start, boxes.stop, boxes.target, layout, self._chunk, self._grid
        )
        number += self._first[boxes.array[box]]
        order = np.argsort(number, kind="stable")
        box, number, index, corners = (x[order] for x in (box, number, index, corners))
        first = self._first_pieces(number, self._is_raw[layout[box]])
        first_piece = np.append(first, len(box))
        array = boxes.array[box[first]]
        return _Plan(box, corners, first_piece, number[first], array, index[first])

    def _first_pieces(self, number: NDArray[np.int64], raw: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Where each chunk begins among pieces in the order of their chunks.

        A chunk that needs no decoding, such as a shard of a store that holds a whole batch, is
        shared out to the threads.
        """
        first = np.flatnonzero(np.diff(number, prepend=-1))
        if self._threads() == 1 or not raw.any():
            return first
        share = -(-len(number) // (self._threads() * _SHARES_PER_THREAD))
        place = np.arange(len(number))
        place -= np.repeat(first, np.diff(np.append(first, len(number))))
        return np.flatnonzero((place == 0) | (raw & (place % share == 0)))

    def _copy(self, left: _Groups, out: NDArray[Any]) -> None:
        """Decode groups of chunks and copy their pieces until none is left."""
        try:
            for number, group, kept in left:
                left.faults[number] = self._copy_group(left.plan, group, kept, out)
        except BaseException:
            left.stop()
            raise

    def _copy_group(
        self, plan: _Plan, group: range, kept: dict[int, _Chunk | None], out: NDArray[Any]
    ) -> list[Fault]:
        """Decode one group's chunks and copy their pieces; tell those that cannot be read."""
        faults = []
        bounds = plan.first[group.start : group.stop + 1].tolist()
        numbers, arrays = plan.number[group.start : group.stop], plan.array[group.start :]
        for u, number in enumerate(numbers.tolist()):
            own = slice(bounds[u], bounds[u + 1])
            pieces = plan.corners[own]
            array, index = int(arrays[u]), tuple(plan.index[group.start + u].tolist())
            try:
                chunk = self._chunk_of(kept.pop(number, None), array, index, pieces)
            except UNREADABLE as error:
                place = np.array(index) * self._chunk[self.layout_of[array]] + pieces[0, 10:15]
                place, reason = tuple(place.tolist()), reason_of(error)
                faults.append(Fault(plan.box[own], array, index, place, reason))
                continue
            copy_pieces(chunk.pixels, pieces, out)
            self._cache.give(number, chunk)
        return faults

    def _chunk_of(
        self,
        chunk: _Chunk | None,
        array: int,
        index: tuple[int, ...],
        pieces: NDArray[np.int64],
    ) -> _Chunk:
        """A chunk of which at least the pieces are decoded, from what was kept of it."""
        kind = int(self.layout_of[array])
        layout = self.layouts[kind]
        if chunk is not None and (chunk.valid is None or not _lacking(pieces, layout, chunk).any()):
            return chunk
        stored = self._opened(array, layout, index)
        if stored is None:
            return _Chunk(_never_written(layout), keep=False)
        with stored:
            if self._is_blosc[kind] and layout.chunk_bytes > _SMALL:
                return _decode_blocks(stored, layout, chunk, pieces)
            return _Chunk(_as_pixels(self._decoded(stored, kind), layout), keep=not layout.is_raw)

    def _opened(
        self, array: int, layout: ArrayLayout, index: tuple[int, ...]
    ) -> StoredChunk | None:
        """The bytes of a chunk; None of one that was never written."""
        try:
            return self._files.open(array, layout, index)
        except NeverWritten:
            return None
        except FileNotFoundError:
            if not self._may_lack[array]:
                raise
            return None

    def _decoded(self, stored: StoredChunk, kind: int) -> NDArray[np.uint8]:
        """All bytes of a chunk."""
        layout = self.layouts[kind]
        if layout.is_raw:
            return stored.mapped(layout.chunk_bytes)
        if self._is_blosc[kind]:
            return decode_whole(stored.whole(), layout.chunk_bytes)
        return np.frombuffer(decoded_by(self._decoders[kind], stored.whole()), np.uint8)


def _chunks_of_frame(layout: ArrayLayout, channels: int, planes: int) -> int:
    """Most chunks that hold so many channels and planes of a frame."""
    _, _, deep, high, wide = layout.grid
    # Frames of one chunk may be in focus in different planes.
    if layout.chunk[0] == 1:
        deep = min(-(-(planes - 1) // layout.chunk[2]) + 1, deep)
    return min(channels, layout.grid[1]) * deep * high * wide


def _never_written(layout: ArrayLayout) -> NDArray[Any]:
    """What a chunk holds that no one has written."""
    return np.broadcast_to(np.asarray(layout.fill, layout.dtype), layout.chunk)


def _decode_blocks(
    stored: StoredChunk, layout: ArrayLayout, chunk: _Chunk | None, pieces: NDArray[np.int64]
) -> _Chunk:
    """Decode those blocks of a Blosc chunk that its pieces need and that are not there yet."""
    blocks = BloscBlocks(stored.read, layout.chunk_bytes)
    if chunk is None:
        buffer = np.empty(layout.chunk_bytes, np.uint8)
        valid = np.zeros(blocks.n_blocks, bool)
        chunk = _Chunk(_as_pixels(buffer, layout), True, buffer, valid, blocks.block_bytes)
    lacking = _lacking(pieces, layout, chunk)
    blocks.decode(lacking, chunk.buffer)
    chunk.valid |= lacking
    return chunk


def _lacking(pieces: NDArray[np.int64], layout: ArrayLayout, chunk: _Chunk) -> NDArray[np.bool_]:
    """Which blocks of a chunk hold pixels of its pieces and are not decoded yet."""
    if layout.order != _C_ORDER:
        return ~chunk.valid
    item, n_blocks = chunk.pixels.itemsize, len(chunk.valid)
    needed = needed_blocks(pieces, layout.chunk, item, chunk.block_bytes, n_blocks)
    return needed & ~chunk.valid


def _as_pixels(data: NDArray[np.uint8], layout: ArrayLayout) -> NDArray[Any]:
    """Decoded bytes of a chunk as an array with axes (T, C, Z, Y, X), without a copy."""
    if data.nbytes != layout.chunk_bytes:
        raise ValueError(f"{data.nbytes} bytes instead of {layout.chunk_bytes}")
    if layout.order == _C_ORDER:
        return data.view(layout.dtype).reshape(layout.chunk)
    stored = data.view(layout.dtype).reshape([layout.chunk[axis] for axis in layout.order])
    return stored.transpose(np.argsort(layout.order))


def map_ahead(
    pool: ThreadPoolExecutor, work: Callable[[Job], Result], jobs: Iterable[Job], ahead: int
) -> Iterator[Result]:
    """Results of `work` in the order of the jobs, of which at most `ahead` are begun at a time."""
    waiting: deque = deque()
    for job in jobs:
        waiting.append(pool.submit(work, job))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
