"""Layout of a Zarr array's chunks on disk, from its metadata alone (Zarr 2 and 3)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dynaclr.io.zarr_metadata import read_array_metadata

_INDEX_ENTRY = 16
_CRC = 4
# Axes (t, c, z, y, x) of an array that has all of them.
ALL_AXES = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class ArrayLayout:
    """What is needed to find and to decode any chunk of an array.

    Fields of view of one plate have equal layouts, so that thousands of them share one. Extents and
    indices are along (t, c, z, y, x), whatever axes the array has: an absent one has extent 1.

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
        Axes from the slowest to the fastest one in a stored chunk.
    codecs : tuple of str
        Configurations of the byte codecs as JSON, in the order in which a chunk was encoded.
    prefix, separator : str
        Name of a file: prefix, then its indices joined by the separator.
    axes : tuple of int
        Which of (t, c, z, y, x) the array's own axes are.
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
    axes: tuple[int, ...] = ALL_AXES
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

        decoders = []
        for codec in map(json.loads, reversed(self.codecs)):
            try:
                decoders.append(numcodecs.get_codec(codec).decode)
            except ValueError:
                raise ValueError(_unsupported_codec(codec["id"])) from None
        return decoders

    def file_of(self, index: tuple[int, ...]) -> tuple[str, int]:
        """Name of the file that holds a chunk, and the chunk's number in the shard's index."""
        if self.shard is None:
            return self._file_name([index[axis] for axis in self.axes]), 0
        number, outer = 0, []
        for axis in self.axes:
            n = self.shard[axis] // self.chunk[axis]
            outer.append(index[axis] // n)
            number = number * n + index[axis] % n
        return self._file_name(outer), number

    def _file_name(self, index: list[int]) -> str:
        return self.prefix + self.separator.join(map(str, index))

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


def layout_of(metadata: dict[str, Any], axes: Sequence[int] = ALL_AXES) -> ArrayLayout:
    """Read an array's metadata, as `dynaclr.io.zarr_metadata.read_array_metadata` gives them.

    Parameters
    ----------
    metadata : dict
    axes : sequence of int
        Which of (t, c, z, y, x) the array's axes are.

    Raises
    ------
    ValueError
        When the array uses something that cannot be read.
    """
    readers = {"2": _layout_of_v2, "3": _layout_of_v3}
    layout = readers[_one_of(readers, str(metadata["zarr_format"]), "Zarr format")](metadata)
    extents = layout.shape, layout.chunk, layout.shard or layout.chunk
    if {len(extent) for extent in extents} != {len(axes)}:
        shown = ", ".join(str(list(extent)) for extent in extents[:2])
        raise ValueError(f"its metadata name {len(axes)} axes for an array and chunks of {shown}")
    if any(shard % chunk for chunk, shard in zip(*extents[1:], strict=True)):
        raise ValueError(f"shards of {list(extents[2])} hold no whole chunks of {list(extents[1])}")
    return layout if tuple(axes) == ALL_AXES else _with_all_axes(layout, tuple(axes))


def _with_all_axes(layout: ArrayLayout, axes: tuple[int, ...]) -> ArrayLayout:
    """Layout along (t, c, z, y, x) of an array that lacks some of them, or has another order."""
    order = tuple(axes[axis] for axis in layout.order)
    if list(order) == sorted(order):
        order = ALL_AXES
    else:
        order = (*(axis for axis in ALL_AXES if axis not in axes), *order)

    def extended(extent: tuple[int, ...]) -> tuple[int, ...]:
        found = dict(zip(axes, extent, strict=True))
        return tuple(found.get(axis, 1) for axis in ALL_AXES)

    return replace(
        layout,
        shape=extended(layout.shape),
        chunk=extended(layout.chunk),
        shard=None if layout.shard is None else extended(layout.shard),
        order=order,
        axes=axes,
    )


def _one_of(known: Iterable[str], value: Any, what: str) -> str:
    if value not in list(known):
        raise ValueError(f"{what} {value!r} is not supported")
    return str(value)


def _extent(values: Any) -> tuple[int, ...]:
    if not values or not all(type(value) is int and 0 < value < 2**31 for value in values):
        raise ValueError(f"an array or chunk of {values} pixels")
    return tuple(values)


def _pixel_type(name: Any) -> np.dtype[Any]:
    try:
        dtype = np.dtype(name)
    except (TypeError, ValueError):
        dtype = np.dtype(object)
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise ValueError(f"pixels of type {name!r} are not supported")
    return dtype


def _fill(value: Any, dtype: np.dtype[Any]) -> float:
    """Fill value; in Zarr 3 that of floats may be given by its bits, as ``0x7fc00000``."""
    if isinstance(value, str) and value.startswith("0x") and dtype.kind == "f":
        return float(np.array(int(value, 16), f"u{dtype.itemsize}").view(f"f{dtype.itemsize}"))
    return float(value or 0)


def _layout_of_v2(metadata: dict[str, Any]) -> ArrayLayout:
    axes = range(len(metadata["shape"]))
    codecs = [*(metadata.get("filters") or []), metadata.get("compressor")]
    dtype = _pixel_type(metadata["dtype"])
    order = _one_of("CF", metadata.get("order", "C"), "order of pixels")
    return ArrayLayout(
        shape=_extent(metadata["shape"]),
        chunk=_extent(metadata["chunks"]),
        shard=None,
        dtype=dtype.str,
        fill=_fill(metadata.get("fill_value"), dtype),
        order=tuple(axes if order == "C" else reversed(axes)),
        codecs=tuple(json.dumps(codec, sort_keys=True) for codec in codecs if codec),
        prefix="",
        separator=_one_of("./", metadata.get("dimension_separator", "."), "separator"),
        axes=tuple(axes),
    )


def _layout_of_v3(metadata: dict[str, Any]) -> ArrayLayout:
    grid, key = metadata["chunk_grid"], metadata["chunk_key_encoding"]
    _one_of(["regular"], grid["name"], "chunk grid")
    _one_of(["default", "v2"], key["name"], "chunk key encoding")
    if metadata.get("storage_transformers"):
        raise ValueError("storage transformers are not supported")
    chunk = _extent(grid["configuration"]["chunk_shape"])
    codecs, shard, index = metadata["codecs"], None, {}
    if codecs[0]["name"] == "sharding_indexed":
        if outer := [codec["name"] for codec in codecs[1:]]:
            raise ValueError(f"codecs {outer} of whole shards are not supported")
        sharding = codecs[0]["configuration"]
        codecs, shard, chunk = sharding["codecs"], chunk, _extent(sharding["chunk_shape"])
        index = _index_options(sharding)
    order, dtype, rest = tuple(range(len(chunk))), _pixel_type(metadata["data_type"]), []
    for codec in codecs:
        options = codec.get("configuration", {})
        if codec["name"] == "transpose":
            order = tuple(order[axis] for axis in options["order"])
        elif codec["name"] == "bytes":
            endian = _one_of(["little", "big"], options.get("endian", "little"), "byte order")
            dtype = dtype.newbyteorder("<" if endian == "little" else ">")
        else:
            rest.append(_numcodecs_configuration(codec["name"], options))
    default = "/" if key["name"] == "default" else "."
    separator = key.get("configuration", {}).get("separator", default)
    _one_of("./", separator, "separator")
    return ArrayLayout(
        shape=_extent(metadata["shape"]),
        chunk=chunk,
        shard=shard,
        dtype=dtype.str,
        fill=_fill(metadata["fill_value"], dtype),
        order=order,
        codecs=tuple(rest),
        prefix=f"c{separator}" if key["name"] == "default" else "",
        separator=separator,
        axes=tuple(range(len(chunk))),
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
    raise ValueError(_unsupported_codec(name))


def _unsupported_codec(name: str) -> str:
    return f"codec {name!r} is not supported (write its pixels again with Blosc, zstd or gzip)"
