"""Layout of a Zarr array's chunks on disk, from its metadata alone (Zarr 2 and 3)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dynaclr.config import UserError
from dynaclr.io import Position
from dynaclr.io.plate import read_array_metadata

_INDEX_ENTRY = 16
_CRC = 4


@dataclass(frozen=True)
class ArrayLayout:
    """What is needed to find and to decode any chunk of an array.

    Fields of view of one plate have equal layouts, so that thousands of them share one.

    Attributes
    ----------
    shape : tuple of int
        Extent of the array.
    chunk : tuple of int
        Extent of what is compressed as a unit: a chunk, or an inner chunk of a shard.
    shard : tuple of int, optional
        Extent of what is a file where that holds several chunks.
    dtype : str
        Type of the stored pixels, byte order included.
    fill : float
        Value of pixels whose chunk was never written.
    order : tuple of int
        Axes of the array from the slowest to the fastest one in a stored chunk.
    codecs : tuple of str
        Configurations of the byte codecs as JSON, in the order in which a chunk was encoded.
    prefix, separator : str
        Name of a file: prefix, then its indices joined by the separator.
    index_first, index_crc : bool
        Whether a shard's index is at its start instead of its end, and whether it has a checksum.
    """

    shape: tuple[int, ...]
    chunk: tuple[int, ...]
    shard: tuple[int, ...] | None
    dtype: str
    fill: float
    order: tuple[int, ...]
    codecs: tuple[str, ...]
    prefix: str
    separator: str
    index_first: bool = False
    index_crc: bool = True

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Number of chunks along each axis."""
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk, strict=True))

    @cached_property
    def chunk_bytes(self) -> int:
        """Bytes of a decoded chunk."""
        return int(np.prod(self.chunk)) * np.dtype(self.dtype).itemsize

    @cached_property
    def is_raw(self) -> bool:
        """Whether chunks are stored as they are."""
        return not self.codecs

    @cached_property
    def is_blosc(self) -> bool:
        """Whether chunks are Blosc buffers, of which any block can be decoded alone."""
        return len(self.codecs) == 1 and json.loads(self.codecs[0])["id"] == "blosc"

    def decoders(self) -> list[Callable[[bytes], bytes]]:
        """Functions that decode a chunk when they are called one after the other.

        Raises
        ------
        ValueError
            When a codec is not supported.
        """
        import numcodecs

        codecs = [numcodecs.get_codec(json.loads(codec)) for codec in self.codecs]
        return [codec.decode for codec in reversed(codecs)]

    def file_of(self, index: tuple[int, ...]) -> tuple[str, int]:
        """Name of the file that holds a chunk, and the chunk's number in the shard's index."""
        if self.shard is None:
            return self.prefix + self.separator.join(map(str, index)), 0
        chunks = [s // c for s, c in zip(self.shard, self.chunk, strict=True)]
        number, outer = 0, []
        for i, n in zip(index, chunks, strict=True):
            outer.append(str(i // n))
            number = number * n + i % n
        return self.prefix + self.separator.join(outer), number

    @cached_property
    def index_bytes(self) -> int:
        """Bytes of a shard's index."""
        assert self.shard is not None, "only shards have an index"
        n = math.prod(s // c for s, c in zip(self.shard, self.chunk, strict=True))
        return n * _INDEX_ENTRY + (_CRC if self.index_crc else 0)


def store_layout(path: Path) -> ArrayLayout:
    """Layout of a patch store's array; an uncompressed shard counts as one chunk.

    Uncompressed crops follow each other in a shard, so that the shard is one array in its file.
    """
    layout = layout_of(read_array_metadata(path))
    if not layout.is_raw:
        return layout
    assert layout.shard is not None, "a patch store consists of shards"
    return replace(layout, chunk=layout.shard, shard=None)


def position_layout(position: Position, level: int = 0) -> ArrayLayout:
    """Layout of a resolution level of a field of view.

    Raises
    ------
    UserError
        When the array uses something that cannot be read.
    """
    path = position.levels[level].path
    metadata = position.array_metadata if level == 0 else read_array_metadata(path)
    try:
        return layout_of(metadata)
    except (KeyError, ValueError) as error:
        raise UserError(
            f"{path}: field of view {position.name} cannot be read: {error}. "
            "Convert the plate with iohub."
        ) from None


def layout_of(metadata: dict[str, Any]) -> ArrayLayout:
    """Read an array's metadata document (``.zarray`` or ``zarr.json``).

    Raises
    ------
    ValueError
        When the array uses something that cannot be read.
    """
    if metadata["zarr_format"] == 2:
        return _layout_of_v2(metadata)
    return _layout_of_v3(metadata)


def _layout_of_v2(metadata: dict[str, Any]) -> ArrayLayout:
    axes = range(len(metadata["shape"]))
    codecs = [*(metadata.get("filters") or []), metadata.get("compressor")]
    return ArrayLayout(
        shape=tuple(metadata["shape"]),
        chunk=tuple(metadata["chunks"]),
        shard=None,
        dtype=metadata["dtype"],
        fill=float(metadata.get("fill_value") or 0),
        order=tuple(axes if metadata["order"] == "C" else reversed(axes)),
        codecs=tuple(json.dumps(codec, sort_keys=True) for codec in codecs if codec),
        prefix="",
        separator=metadata.get("dimension_separator", "."),
    )


def _layout_of_v3(metadata: dict[str, Any]) -> ArrayLayout:
    if metadata["chunk_grid"]["name"] != "regular":
        raise ValueError(f"chunk grid {metadata['chunk_grid']['name']!r} is not supported")
    chunk = tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"])
    codecs, shard, index = metadata["codecs"], None, {}
    if codecs[0]["name"] == "sharding_indexed":
        if outer := [codec["name"] for codec in codecs[1:]]:
            raise ValueError(f"codecs {outer} of whole shards are not supported")
        sharding = codecs[0]["configuration"]
        codecs, shard, chunk = sharding["codecs"], chunk, tuple(sharding["chunk_shape"])
        index = _index_options(sharding)
    order, dtype, rest = tuple(range(len(chunk))), np.dtype(metadata["data_type"]), []
    for codec in codecs:
        options = codec.get("configuration", {})
        if codec["name"] == "transpose":
            order = tuple(order[axis] for axis in options["order"])
        elif codec["name"] == "bytes":
            dtype = dtype.newbyteorder("<" if options.get("endian", "little") == "little" else ">")
        else:
            rest.append(_numcodecs_configuration(codec["name"], options))
    key = metadata["chunk_key_encoding"]
    default = "/" if key["name"] == "default" else "."
    separator = key.get("configuration", {}).get("separator", default)
    return ArrayLayout(
        shape=tuple(metadata["shape"]),
        chunk=chunk,
        shard=shard,
        dtype=dtype.str,
        fill=float(metadata["fill_value"] or 0),
        order=order,
        codecs=tuple(rest),
        prefix=f"c{separator}" if key["name"] == "default" else "",
        separator=separator,
        **index,
    )


def _index_options(sharding: dict[str, Any]) -> dict[str, bool]:
    names = [codec["name"] for codec in sharding["index_codecs"]]
    endian = sharding["index_codecs"][0].get("configuration", {}).get("endian", "little")
    if names not in (["bytes"], ["bytes", "crc32c"]) or endian != "little":
        raise ValueError(f"index codecs {names} of the shards are not supported")
    return {
        "index_first": sharding.get("index_location", "end") == "start",
        "index_crc": "crc32c" in names,
    }


def _numcodecs_configuration(name: str, options: dict[str, Any]) -> str:
    """Configuration for numcodecs of a codec as Zarr 3 describes it."""
    if name in ("blosc", "gzip", "zstd", "crc32c"):
        # Decoding needs no options: the bytes say what they are.
        return json.dumps({"id": name})
    if name.startswith("numcodecs."):
        return json.dumps({"id": name.removeprefix("numcodecs."), **options}, sort_keys=True)
    raise ValueError(f"codec {name!r} is not supported")
