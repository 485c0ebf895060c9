"""Writing of OME-Zarr plates, frame by frame, through iohub.

A plate appears at its path only when it is complete. Frames are handed over one after the other, so
a movie never has to fit into memory.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dynaclr.config.errors import UserError
from dynaclr.io.artifacts import atomic_path


@dataclass(frozen=True)
class PlateLayout:
    """How the arrays of a plate lie on disk.

    Attributes
    ----------
    ngff : {"0.4", "0.5"}
        Version of the NGFF metadata: 0.4 uses Zarr format 2, 0.5 uses Zarr format 3.
    chunk_yx : int
        Edge of a chunk along y and x, in pixels. A chunk holds one channel and all of z.
    chunk_frames : int
        Frames in a chunk.
    shard_frames : int, optional
        Frames in one file (a shard), which then holds all channels and all of y and x. Default: one
        file a chunk. Zarr format 2 has no shards.

    Raises
    ------
    ValueError
        When a size is not positive, NGFF 0.4 shall have shards, or a shard does not hold a whole
        number of chunks.
    """

    ngff: Literal["0.4", "0.5"] = "0.4"
    chunk_yx: int = 256
    chunk_frames: int = 1
    shard_frames: int | None = None

    def __post_init__(self) -> None:
        if self.ngff not in ("0.4", "0.5"):
            raise ValueError(f"ngff is {self.ngff!r}; give '0.4' or '0.5'")
        shard_frames = 1 if self.shard_frames is None else self.shard_frames
        if min(self.chunk_yx, self.chunk_frames, shard_frames) < 1:
            raise ValueError("chunk_yx, chunk_frames and shard_frames must be at least 1")
        if self.shard_frames is None:
            return
        if self.ngff == "0.4":
            raise ValueError("shard_frames needs ngff '0.5': Zarr format 2 has no shards")
        if self.shard_frames % self.chunk_frames:
            raise ValueError(
                f"shard_frames ({self.shard_frames}) must be a multiple of "
                f"chunk_frames ({self.chunk_frames})"
            )

    @property
    def frames_at_once(self) -> int:
        """Frames that one file holds, so that no file is written twice."""
        return self.shard_frames or self.chunk_frames

    def chunks(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Chunk extent for an array of `shape` (T, C, Z, Y, X), in pixels."""
        n_frames, _, depth, height, width = shape
        edge = self.chunk_yx
        return (min(self.chunk_frames, n_frames), 1, depth, min(edge, height), min(edge, width))

    def shards_ratio(self, shape: tuple[int, ...]) -> tuple[int, ...] | None:
        """Chunks in a shard along each axis of an array of `shape`, or None without shards."""
        if self.shard_frames is None:
            return None
        chunks = self.chunks(shape)
        extent = (min(self.shard_frames, shape[0]), *shape[1:])
        return tuple(math.ceil(n / c) for n, c in zip(extent, chunks, strict=True))


@dataclass(frozen=True)
class PlateWriter:
    """A plate that is being written; made by `new_plate`.

    Attributes
    ----------
    path : Path
        Temporary folder of the plate.
    positions : tuple of str
        Fields of view (``row/column/fov``).
    frames_at_once : int
        Frames of each field of view that are buffered before they are written.
    """

    path: Path
    positions: tuple[str, ...]
    frames_at_once: int

    def position(self, name: str) -> FrameWriter:
        """Writer of the frames of field of view `name`.

        It holds paths alone, so it can be sent to another process; fields of view are independent
        of each other.

        Raises
        ------
        KeyError
            When the plate has no such field of view.
        """
        if name not in self.positions:
            raise KeyError(name)
        return FrameWriter(self.path / name, self.frames_at_once)


class FrameWriter:
    """Takes the frames of one field of view in order; use it as a context.

    Parameters
    ----------
    path : Path
        Folder of the field of view.
    frames_at_once : int
        Frames that are buffered before they are written.
    """

    def __init__(self, path: Path, frames_at_once: int = 1) -> None:
        self.path = path
        self.frames_at_once = frames_at_once
        self._buffer: list[NDArray[Any]] = []
        self._written = 0

    def __enter__(self) -> FrameWriter:
        self._node = _open(self.path, layout="fov", mode="r+")
        self._array = self._node["0"]
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
                self._check_complete()
        finally:
            self._node.close()

    def append(self, frame_CZYX: NDArray[Any]) -> None:
        """Add the next frame.

        Parameters
        ----------
        frame_CZYX : ndarray
            All channels, (C, Z, Y, X) in pixels. Its type must fit into the plate's type.

        Raises
        ------
        ValueError
            When the shape or type does not fit, or the movie is already full.
        """
        n_frames, *expected = self._array.shape
        if list(frame_CZYX.shape) != expected:
            raise ValueError(
                f"{self.path}: frame has shape {frame_CZYX.shape}; (C, Z, Y, X) = "
                f"{tuple(expected)} is needed"
            )
        if not np.can_cast(frame_CZYX.dtype, self._array.dtype, "safe"):
            raise ValueError(
                f"{self.path}: frame of {frame_CZYX.dtype} does not fit into {self._array.dtype}"
            )
        if self._written + len(self._buffer) == n_frames:
            raise ValueError(f"{self.path}: all {n_frames} frames are already there")
        self._buffer.append(frame_CZYX)
        if len(self._buffer) == self.frames_at_once:
            self._flush()

    def _flush(self) -> None:
        if self._buffer:
            block_TCZYX = np.stack(self._buffer).astype(self._array.dtype, copy=False)
            stop = self._written + len(block_TCZYX)
            self._array[self._written : stop] = block_TCZYX
            self._written = stop
            self._buffer.clear()

    def _check_complete(self) -> None:
        n_frames = self._array.shape[0]
        if self._written != n_frames:
            raise ValueError(f"{self.path}: {self._written} of {n_frames} frames were given")


@contextmanager
def new_plate(
    path: str | Path,
    *,
    positions: Sequence[str],
    channels: Sequence[str],
    shape_TZYX: tuple[int, int, int, int] | Mapping[str, tuple[int, ...]],
    dtype: DTypeLike,
    interval_minutes: float,
    pixel_size_um: float | None = None,
    layout: PlateLayout | None = None,
    overwrite: bool = False,
) -> Iterator[PlateWriter]:
    """Make a plate; it appears at `path` when the block ends without an error.

    Parameters
    ----------
    path : str or Path
        Root folder of the plate.
    positions : sequence of str
        Fields of view as ``row/column/fov``.
    channels : sequence of str
        Channel names, in the order of the channel axis.
    shape_TZYX : tuple of int, or mapping of str to tuple of int
        Frames, and extent of a frame in pixels: of all fields of view, or of each.
    dtype : dtype-like
        Type of the pixels.
    interval_minutes : float
        Minutes from one frame to the next; stored in seconds.
    pixel_size_um : float, optional
        Pixel size along y and x, in micrometres. When it is unknown the scale is 1 and the axes
        have no unit.
    layout : PlateLayout, optional
        NGFF version, chunks and shards.
    overwrite : bool
        Whether a plate at `path` may be replaced.

    Yields
    ------
    PlateWriter
        Gives a frame writer for each field of view.

    Raises
    ------
    UserError
        When something is at `path` and `overwrite` is false.
    ValueError
        When names are missing or given twice.
    """
    from iohub.ngff.models import TransformationMeta

    path = Path(path)
    layout = layout or PlateLayout()
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists already. Remove it, or choose another path.")
    for what, names in (("positions", positions), ("channels", channels)):
        if not names or len(set(names)) < len(names):
            raise ValueError(f"{what}: names must be given and differ; got {list(names)}")
    scale = [interval_minutes * 60.0, 1.0, 1.0, *[pixel_size_um or 1.0] * 2]
    with atomic_path(path) as temporary:
        options = {"channel_names": list(channels), "version": layout.ngff}
        options["axes"] = _axes("micrometer" if pixel_size_um else None)
        with _open(temporary, layout="hcs", mode="w-", **options) as plate:
            for name in positions:
                n_t, *zyx = shape_TZYX[name] if isinstance(shape_TZYX, Mapping) else shape_TZYX
                shape = (n_t, len(channels), *zyx)
                plate.create_position(*name.split("/")).create_zeros(
                    "0",
                    shape=shape,
                    dtype=np.dtype(dtype),
                    chunks=layout.chunks(shape),
                    shards_ratio=layout.shards_ratio(shape),
                    transform=[TransformationMeta(type="scale", scale=scale)],
                )
        yield PlateWriter(temporary, tuple(positions), layout.frames_at_once)


def _axes(unit: str | None) -> list[Any]:
    from iohub.ngff.models import ChannelAxisMeta, SpaceAxisMeta, TimeAxisMeta

    # Depth has no physical size: its step is not known to the caller.
    space = [SpaceAxisMeta(name="Z"), *(SpaceAxisMeta(name=name, unit=unit) for name in "YX")]
    return [TimeAxisMeta(name="T", unit="second"), ChannelAxisMeta(name="C"), *space]


def _open(path: Path, **options: Any) -> Any:
    from iohub.ngff import open_ome_zarr

    # The Rust codecs that newer iohub takes by default put the chunks of a shard in an order that
    # changes from run to run; the same input shall give the same bytes.
    if "implementation" in inspect.signature(open_ome_zarr).parameters:
        options["implementation"] = "zarr-python"
    return open_ome_zarr(path, **options)
