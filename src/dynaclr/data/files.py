"""Finding the bytes of a chunk: in a file of its own, or inside a shard."""

from __future__ import annotations

import mmap
import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

import numpy as np
from numcodecs.checksum32 import CRC32C
from numpy.typing import NDArray

from dynaclr.data.layout import ArrayLayout

# Shards whose index is remembered, some kilobytes each, and most files that stay mapped: a mapping
# holds a descriptor, and a process may have several readers.
_INDEXES = 1024
_MAPS, _SHARE_OF_DESCRIPTORS = 128, 8
_NOT_THERE = np.uint64(2**64 - 1)
# Chunks up to this many bytes are read whole: one call costs more than the bytes that are left out.
_SMALL = 1 << 18


class NeverWritten(LookupError):
    """A shard is there, and its index says that nobody has written the chunk."""


@contextmanager
def _closed_on_error(descriptor: int) -> Iterator[None]:
    """Many lost chunks may be passed over: none may leave a file open."""
    try:
        yield
    except BaseException:
        os.close(descriptor)
        raise


def _open(path: str) -> tuple[int, int]:
    """Descriptor and length of a file."""
    descriptor = os.open(path, os.O_RDONLY)
    with _closed_on_error(descriptor):
        return descriptor, os.fstat(descriptor).st_size


class StoredChunk:
    """The bytes of one chunk in an open file; use it as a context.

    Parameters
    ----------
    descriptor : int
        The open file, closed at the end of the context.
    offset, length : int
        Where the chunk is in it.
    mapping : NDArray of uint8, optional
        The file's bytes mapped into memory.
    """

    def __init__(
        self, descriptor: int | None, offset: int, length: int, mapping: NDArray | None = None
    ) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._length = length
        self._mapping = mapping
        self._data: bytes | None = None
        if descriptor is not None and length <= _SMALL:
            with _closed_on_error(descriptor):
                self._data = self.whole()

    def __enter__(self) -> StoredChunk:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: object, trace: TracebackType | None
    ) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)

    def read(self, offset: int, length: int) -> bytes:
        """Some of the chunk's bytes, fewer at its end."""
        if self._data is not None:
            return self._data[offset : offset + length]
        length = min(length, self._length - offset)
        return os.pread(self._descriptor, length, self._offset + offset) if length > 0 else b""

    def whole(self) -> bytes:
        """All of the chunk's bytes."""
        if self._data is not None:
            return self._data
        return os.pread(self._descriptor, self._length, self._offset)

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
        self._maps: OrderedDict[str, NDArray[np.uint8]] = OrderedDict()
        self._lock = threading.Lock()
        descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._n_maps = _MAPS
        if descriptors != resource.RLIM_INFINITY:
            self._n_maps = min(_MAPS, max(descriptors // _SHARE_OF_DESCRIPTORS, 1))

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
            data = self._remembered(self._maps, path, self._n_maps, lambda: _map(path))
            offset = 0 if layout.shard is None else self._place(path, layout, place)[0]
            return StoredChunk(None, offset, data.size - offset, data)
        if layout.shard is not None:
            offset, length = self._place(path, layout, place)
            descriptor, size = _open(path)
            missing = offset + length - size
            if missing > 0:
                os.close(descriptor)
                raise ValueError(f"{missing} bytes are missing at its end")
            return StoredChunk(descriptor, offset, length)
        descriptor, size = _open(path)
        return StoredChunk(descriptor, 0, size)

    def _place(self, path: str, layout: ArrayLayout, place: int) -> tuple[int, int]:
        index = self._remembered(self._indexes, path, _INDEXES, lambda: _read_index(path, layout))
        offset, length = index[place]
        if offset == _NOT_THERE:
            raise NeverWritten(path)
        return int(offset), int(length)

    def _remembered(
        self, kept: OrderedDict, path: str, limit: int, make: Callable[[], NDArray]
    ) -> NDArray:
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


def _read_index(path: str, layout: ArrayLayout) -> NDArray[np.uint64]:
    """Offset and length of every chunk of a shard, in the order of their indices."""
    length = layout.index_bytes
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        data = os.pread(file.fileno(), length, 0 if layout.index_first else max(size - length, 0))
    if len(data) < length:
        raise ValueError(f"the index of its shard {path} is cut off")
    if layout.index_crc:
        data = CRC32C().decode(data)
    return np.frombuffer(data, "<u8").reshape(-1, 2)
