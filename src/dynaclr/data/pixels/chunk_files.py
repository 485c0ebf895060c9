"""Finding the bytes of a chunk: in a file of its own, or inside a shard."""

from __future__ import annotations

import mmap
import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numcodecs.checksum32 import CRC32C
from numpy.typing import NDArray

from dynaclr.data.pixels.layout import ArrayLayout

# Shards whose index is remembered, some kilobytes each, and most files that stay open or mapped:
# each holds a descriptor, and a process may have several readers.
_INDEXES = 1024
_OPEN, _SHARE_OF_DESCRIPTORS = 128, 8
_NOT_THERE = np.uint64(2**64 - 1)
# Chunks up to this many bytes are read whole: one call costs more than the bytes that are left out.
_SMALL = 1 << 18
# Bytes that compressors rarely exceed in adding to what they cannot compress.
_ADDED = 1 << 10
Kept = TypeVar("Kept")
Read = Callable[[int, int], bytes]


class NeverWritten(LookupError):
    """A shard is there, and its index says that nobody has written the chunk."""


class _File:
    """A file that stays open as long as something refers to it.

    Attributes
    ----------
    size : int
        Its bytes when it was opened.
    failed : bool
        Whether reading it went wrong: a file server may have forgotten it.

    Raises
    ------
    OSError
        When it is not there or cannot be opened.
    """

    _descriptor = -1

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self._descriptor).st_size
        self.failed = False

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        if self._descriptor >= 0:
            close(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """Some of the file's bytes, fewer at its end."""
        try:
            return os.pread(self._descriptor, length, offset)
        except OSError:
            self.failed = True
            raise


class StoredChunk:
    """The bytes of one chunk in a file; use it as a context.

    Parameters
    ----------
    file : _File, optional
        The file, let go at the end of the context: what goes wrong meanwhile may refer to the chunk
        for long. Not needed where it is mapped or read already.
    offset, length : int
        Where the chunk is in it.
    data : bytes, optional
        The chunk's bytes, if they are read already.
    mapping : NDArray of uint8, optional
        The file's bytes mapped into memory.
    """

    def __init__(
        self,
        file: _File | None,
        offset: int,
        length: int,
        data: bytes | None = None,
        mapping: NDArray[np.uint8] | None = None,
    ) -> None:
        self._file = file
        self._offset = offset
        self._length = length
        self._data = data
        self._mapping = mapping

    def __enter__(self) -> StoredChunk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        self._file = None

    def read(self, offset: int, length: int) -> bytes:
        """Some of the chunk's bytes, fewer at its end."""
        if self._data is not None:
            return self._data[offset : offset + length]
        length = min(length, self._length - offset)
        return self._file.read(self._offset + offset, length) if length > 0 else b""

    def whole(self) -> bytes:
        """All of the chunk's bytes."""
        if self._data is not None:
            return self._data
        return self._file.read(self._offset, self._length)

    def mapped(self, n_bytes: int) -> NDArray[np.uint8]:
        """The chunk's bytes in the mapped file, without a copy.

        Raises
        ------
        ValueError
            When the file does not hold as many.
        """
        found = self._mapping[self._offset : self._offset + n_bytes]
        if found.size < n_bytes:
            raise ValueError(f"{n_bytes - found.size} bytes are missing at its end")
        return found


class ChunkFiles:
    """Opens chunks of many arrays; only few files are open at any time.

    Parameters
    ----------
    paths : list of str
        Folder of each array.
    """

    def __init__(self, paths: list[str]) -> None:
        self._paths = paths
        self._indexes: OrderedDict[str, NDArray[np.uint64]] = OrderedDict()
        # Shards that are open, and files that are mapped.
        self._open: OrderedDict[str, Any] = OrderedDict()
        self._lock = threading.Lock()
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._n_open = _OPEN
        if descriptors != resource.RLIM_INFINITY:
            self._n_open = min(_OPEN, max(descriptors // _SHARE_OF_DESCRIPTORS, 1))

    def open(self, array: int, layout: ArrayLayout, index: tuple[int, ...]) -> StoredChunk:
        """Find a chunk.

        Raises
        ------
        FileNotFoundError
            When its file is not there.
        NeverWritten
            When the file is there, and was written without it.
        OSError, ValueError, RuntimeError
            When its file or the index of its shard cannot be read.
        """
        name, place = layout.file_of(index)
        path = f"{self._paths[array]}/{name}"
        if layout.is_raw:
            return self._mapped(path, layout, place)
        if layout.shard is not None:
            return self._in_shard(path, layout, place)
        most = layout.chunk_bytes + _ADDED
        if most <= _SMALL:
            # To ask for the length first costs a call more.
            data = _start_of(path, most)
            if len(data) < most:
                return StoredChunk(None, 0, len(data), data)
        file = _File(path)
        return _part_of(file, 0, file.size)

    def _mapped(self, path: str, layout: ArrayLayout, place: int) -> StoredChunk:
        data = self._remembered(self._open, path, self._n_open, lambda: _map(path))
        if layout.shard is None:
            return StoredChunk(None, 0, data.size, mapping=data)
        offset, _ = self._place(
            path, layout, place, data.size, lambda first, n: data[first : first + n].tobytes()
        )
        return StoredChunk(None, offset, data.size - offset, mapping=data)

    def _in_shard(self, path: str, layout: ArrayLayout, place: int) -> StoredChunk:
        file = self._remembered(self._open, path, self._n_open, lambda: _File(path))
        if file.failed:
            with self._lock:
                self._open.pop(path, None)
                self._indexes.pop(path, None)
            file = self._remembered(self._open, path, self._n_open, lambda: _File(path))
        offset, length = self._place(path, layout, place, file.size, file.read)
        missing = offset + length - file.size
        if missing > 0:
            raise ValueError(f"{missing} bytes are missing at its end")
        return _part_of(file, offset, length)

    def _place(
        self, path: str, layout: ArrayLayout, place: int, size: int, read: Read
    ) -> tuple[int, int]:
        """Where a chunk is in a shard of `size` bytes."""
        index = self._remembered(
            self._indexes, path, _INDEXES, lambda: _read_index(path, layout, size, read)
        )
        offset, length = index[place]
        if offset == _NOT_THERE:
            raise NeverWritten(path)
        return int(offset), int(length)

    def _remembered(
        self, kept: OrderedDict[str, Kept], path: str, limit: int, make: Callable[[], Kept]
    ) -> Kept:
        """What is kept for a file, made now if it is not; the oldest leaves."""
        found = kept.get(path)
        if found is None:
            found = make()
            with self._lock:
                kept[path] = found
                while len(kept) > limit:
                    kept.popitem(last=False)
        return found


def _map(path: str) -> NDArray[np.uint8]:
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return np.empty(0, np.uint8)
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def _start_of(path: str, n_bytes: int) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, n_bytes, 0)
    finally:
        os.close(descriptor)


def _part_of(file: _File, offset: int, length: int) -> StoredChunk:
    data = file.read(offset, length) if length <= _SMALL else None
    return StoredChunk(file, offset, length, data)


def _read_index(path: str, layout: ArrayLayout, size: int, read: Read) -> NDArray[np.uint64]:
    """Offset and length of every chunk of a shard, in the order of their indices."""
    length = layout.index_bytes
    data = read(0 if layout.index_first else max(size - length, 0), length)
    if len(data) < length:
        raise ValueError(f"the index of its shard {path} is cut off")
    if layout.index_crc:
        data = CRC32C().decode(data)
    return np.frombuffer(data, "<u8").reshape(-1, 2)
