"""Writing the shards of a patch store: one observation a chunk, in any order.

While a store is built its chunks have fixed offsets, uncompressed, so that observations may come in
the order of the plate and leave in the order of training, and a killed run can be resumed.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import zarr
from numcodecs.checksum32 import CRC32C
from numpy.typing import DTypeLike, NDArray
from zarr.codecs import BloscCodec

_SHARD_BYTES = 256 << 20
_NEVER_WRITTEN = 2**64 - 1


class ShardWriter:
    """The array of a patch store that is being written.

    Parameters
    ----------
    path : Path
        Folder of the array.
    unfinished : Path
        Folder for shards that are not finished yet, on the same file system.
    shape : tuple of int
        (N, C, Z, Y, X) of the array.
    dtype : dtype-like
    compressor : {"none", "zstd", "lz4"}
        Blosc with bit shuffling around it, applied by `finish`.
    """

    def __init__(
        self,
        path: Path,
        unfinished: Path,
        shape: tuple[int, ...],
        dtype: DTypeLike,
        compressor: str = "none",
    ) -> None:
        self.path, self.unfinished = path, unfinished
        self.dtype, self.shape = np.dtype(dtype), shape
        self.chunk_bytes = int(np.prod(shape[1:])) * self.dtype.itemsize
        self.per_shard = int(np.clip(_SHARD_BYTES // self.chunk_bytes, 1, shape[0]))
        self.n_shards = -(-shape[0] // self.per_shard)
        self._codec = None
        if compressor != "none":
            self._codec = numcodecs.Blosc(compressor, clevel=1, shuffle=numcodecs.Blosc.BITSHUFFLE)

    def create(self) -> None:
        """Write the array's metadata, if that is not there yet."""
        if (self.path / "zarr.json").is_file():
            return
        options: dict[str, Any] = {}
        if self._codec is not None:
            options["compressors"] = BloscCodec(
                cname=self._codec.cname,
                clevel=self._codec.clevel,
                shuffle="bitshuffle",
                typesize=self.dtype.itemsize,
            )
        zarr.create_array(
            self.path,
            shape=self.shape,
            dtype=self.dtype,
            chunks=(1, *self.shape[1:]),
            shards=(self.per_shard, *self.shape[1:]),
            dimension_names=("cell", "c", "z", "y", "x"),
            **({"compressors": None} | options),
        )

    def _raw(self, shard: int) -> Path:
        return self.unfinished / str(shard)

    def write(self, slots: NDArray[np.int64], crops: NDArray[Any]) -> None:
        """Write crops (K, C, Z, Y, X) into their slots; several threads may write."""
        crops = np.ascontiguousarray(crops, self.dtype)
        self.unfinished.mkdir(parents=True, exist_ok=True)
        for shard in np.unique(slots // self.per_shard).tolist():
            descriptor = os.open(self._raw(shard), os.O_WRONLY | os.O_CREAT, 0o666)
            try:
                for number in np.flatnonzero(slots // self.per_shard == shard).tolist():
                    offset = int(slots[number]) % self.per_shard * self.chunk_bytes
                    written = os.pwrite(descriptor, crops[number].data, offset)
                    if written != self.chunk_bytes:
                        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            finally:
                os.close(descriptor)

    def _file(self, shard: int) -> Path:
        return self.path / "c" / str(shard) / "0/0/0/0"

    def is_finished(self, shard: int) -> bool:
        """Whether a shard is a file of the array, to which no crop can be added."""
        return self._file(shard).is_file()

    def finish(self, shard: int) -> None:
        """Make a shard whose chunks are all written a file of the array, if it is none yet."""
        raw, file = self._raw(shard), self._file(shard)
        if not raw.is_file():
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        n = min(self.per_shard, self.shape[0] - shard * self.per_shard)
        if self._codec is None:
            index = self._index(np.full(n, self.chunk_bytes))
            with raw.open("r+b") as stream:
                # The last shard has room for as many crops as the others, so that it is read alike.
                stream.seek(self.per_shard * self.chunk_bytes)
                stream.write(index)
                stream.truncate()
            os.replace(raw, file)
            return
        temporary, lengths = raw.with_suffix(".packed"), []
        with raw.open("rb") as source, temporary.open("wb") as stream:
            for _ in range(n):
                pixels = np.frombuffer(source.read(self.chunk_bytes), self.dtype)
                lengths.append(stream.write(self._codec.encode(pixels)))
            stream.write(self._index(np.array(lengths)))
        os.replace(temporary, file)
        raw.unlink()

    def _index(self, lengths: NDArray[np.int64]) -> bytes:
        """Index of a shard whose chunks have these lengths and stand one after the other."""
        index = np.full((self.per_shard, 2), _NEVER_WRITTEN, "<u8")
        index[: len(lengths), 0] = np.cumsum(lengths) - lengths
        index[: len(lengths), 1] = lengths
        return bytes(CRC32C().encode(index))
