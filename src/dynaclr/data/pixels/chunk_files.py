"""Finding the bytes of a chunk: in a file of its own, or inside a shard."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numcodecs.checksum32 import CRC32C
from numpy.typing import NDArray

from dynaclr.data.pixels.layout import ArrayLayout

# Shards whose index is kept, some kilobytes each.
_INDEXES = 1024
# Files that stay mapped. Each holds a descriptor, and a process may have several readers.
_MAPPED = 64
_NEVER_WRITTEN = np.uint64(2**64 - 1)


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
        self._shard_index = functools.lru_cache(_INDEXES)(_read_shard_index)
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
            size = os.fstat(descriptor).st_size
            offset, length = 0, size
            if layout.shard is not None:
                offset, length = self._entry(path, layout, number)
            if offset + length > size:
                raise ValueError(f"{offset + length - size} bytes are missing at its end")
            yield StoredChunk(descriptor, offset, length)
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
        data, offset = self._mapped(path), 0
        if layout.shard is not None:
            offset, _ = self._entry(path, layout, number)
        found = data[offset : offset + layout.chunk_bytes]
        if found.size < layout.chunk_bytes:
            raise ValueError(f"{layout.chunk_bytes - found.size} bytes are missing at its end")
        return found

    def _path_of(self, array: int, layout: ArrayLayout, index: tuple[int, ...]) -> tuple[str, int]:
        name, number = layout.file_of(index)
        return f"{self._paths[array]}/{name}", number

    def _entry(self, path: str, layout: ArrayLayout, number: int) -> tuple[int, int]:
        """Offset and length of a chunk in its shard."""
        offset, length = self._shard_index(path, layout)[number]
        if offset == _NEVER_WRITTEN:
            raise NeverWritten(path)
        return int(offset), int(length)


def _map_file(path: str) -> NDArray[np.uint8]:
    return np.memmap(path, np.uint8, "r").view(np.ndarray)


def _read_shard_index(path: str, layout: ArrayLayout) -> NDArray[np.uint64]:
    """Offset and length of every chunk of a shard, in the order of their indices."""
    length = layout.index_bytes
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(0 if layout.index_first else max(size - length, 0))
        data = file.read(length)
    if len(data) < length:
        raise ValueError(f"the index of its shard {path} is incomplete")
    if layout.index_crc:
        data = CRC32C().decode(data)
    return np.frombuffer(data, "<u8").reshape(-1, 2)
