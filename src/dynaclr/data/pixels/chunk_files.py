"""Finding the bytes of a chunk: in a file of its own, or inside a shard."""

from __future__ import annotations

import functools
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

import numpy as np
from numcodecs.checksum32 import CRC32C
from numpy.typing import NDArray

from dynaclr.io.array_layout import ArrayLayout

# Shards whose index is kept, some kilobytes each.
_INDEXES = 1024
# Files that stay mapped, each with a descriptor. Those of two readers, to train and to validate,
# must leave most of the 256 over that some systems give to a process.
_MAPPED = 32
_NEVER_WRITTEN = np.uint64(2**64 - 1)
# Inode, bytes and time of the last change.
_Version: TypeAlias = tuple[int, int, int]
# Offset and length of each chunk.
_ShardIndex: TypeAlias = NDArray[np.uint64]


class NeverWritten(LookupError):
    """A shard exists, and its index says that the chunk was never written."""


class StoredChunk:
    """The bytes of one chunk in an open file.

    Parameters
    ----------
    descriptor : int
        Of the file.
    offset, length : int
        Where the chunk lies in it, in bytes.
    """

    def __init__(self, descriptor: int, offset: int, length: int) -> None:
        self._descriptor = descriptor
        self._offset = offset
        self._length = length

    def read(self, offset: int, length: int) -> bytes:
        """Some of the chunk's bytes, fewer at its end."""
        length = min(length, self._length - offset)
        return os.pread(self._descriptor, length, self._offset + offset) if length > 0 else b""

    def whole(self) -> bytes:
        """All of the chunk's bytes."""
        return self.read(0, self._length)


class ChunkFiles:
    """Finds chunks of many arrays. Several threads may use it at the same time.

    Parameters
    ----------
    paths : list of str
        Folder of each array.
    """

    def __init__(self, paths: list[str]) -> None:
        self._paths = paths
        # By path, with the version of the file, which another file may replace.
        self._indexes: OrderedDict[str, tuple[_Version, _ShardIndex]] = OrderedDict()
        self._lock = threading.Lock()
        self._mapped = functools.lru_cache(_MAPPED)(_map_file)

    @contextmanager
    def open(
        self, array: int, layout: ArrayLayout, index: tuple[int, ...]
    ) -> Iterator[StoredChunk]:
        """Open the file of a chunk, as a context.

        Parameters
        ----------
        array : int
            Number of the array.
        layout : ArrayLayout
            Its layout.
        index : tuple of int
            The chunk's indices in the grid of chunks.

        Raises
        ------
        FileNotFoundError
            When the file does not exist.
        NeverWritten
            When the file exists, and was written without the chunk.
        OSError, ValueError, RuntimeError
            When the file or the index of its shard cannot be read.
        """
        path, number = self._path_of(array, layout, index)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            status = os.fstat(descriptor)
            offset, length = 0, status.st_size
            if layout.shard is not None:
                offset, length = _entry(self._index(path, descriptor, status, layout), number)
            missing = offset + length - status.st_size
            if missing > 0:
                raise ValueError(f"{missing} bytes are missing at its end")
            yield StoredChunk(descriptor, offset, length)
        except OSError:
            self._indexes.pop(path, None)
            raise
        finally:
            os.close(descriptor)

    def map(self, array: int, layout: ArrayLayout, index: tuple[int, ...]) -> NDArray[np.uint8]:
        """The bytes of a chunk that is stored uncompressed, mapped into memory without a copy.

        Raises
        ------
        FileNotFoundError, NeverWritten, OSError, ValueError, RuntimeError
            As `open`.
        """
        path, number = self._path_of(array, layout, index)
        (data, shard_index), offset = self._mapped(path, layout), 0
        if shard_index is not None:
            offset, _ = _entry(shard_index, number)
        found = data[offset : offset + layout.chunk_bytes]
        if found.size < layout.chunk_bytes:
            raise ValueError(f"{layout.chunk_bytes - found.size} bytes are missing at its end")
        return found

    def _path_of(self, array: int, layout: ArrayLayout, index: tuple[int, ...]) -> tuple[str, int]:
        name, number = layout.file_of(index)
        return f"{self._paths[array]}/{name}", number

    def _index(
        self, path: str, descriptor: int, status: os.stat_result, layout: ArrayLayout
    ) -> _ShardIndex:
        """Index of an open shard."""
        version = status.st_ino, status.st_size, status.st_mtime_ns
        known, index = self._indexes.get(path, (None, None))
        if index is None or known != version:
            file = StoredChunk(descriptor, 0, status.st_size)
            index = _read_shard_index(path, file.read, status.st_size, layout)
            with self._lock:
                self._indexes[path] = version, index
                while len(self._indexes) > _INDEXES:
                    self._indexes.popitem(last=False)
        return index


def _map_file(path: str, layout: ArrayLayout) -> tuple[NDArray[np.uint8], _ShardIndex | None]:
    """The bytes of a file, and its index if it is a shard."""
    data = np.memmap(path, np.uint8, "r").view(np.ndarray)
    if layout.shard is None:
        return data, None

    def read(offset: int, length: int) -> bytes:
        return data[offset : offset + length].tobytes()

    return data, _read_shard_index(path, read, data.size, layout)


def _entry(index: _ShardIndex, number: int) -> tuple[int, int]:
    """Offset and length of a chunk in its shard."""
    offset, length = index[number]
    if offset == _NEVER_WRITTEN:
        raise NeverWritten
    return int(offset), int(length)


def _read_shard_index(
    path: str, read: Callable[[int, int], bytes], size: int, layout: ArrayLayout
) -> _ShardIndex:
    """Offset and length of every chunk of a shard, in the order of their indices."""
    length = layout.index_bytes
    data = read(0 if layout.index_first else max(size - length, 0), length)
    if len(data) < length:
        raise ValueError(f"the index of the shard {path} is incomplete")
    if layout.index_crc:
        try:
            data = CRC32C().decode(data)
        except RuntimeError as error:
            raise ValueError(f"the index of the shard {path} is damaged: {error}") from None
    return np.frombuffer(data, "<u8").reshape(-1, 2)
