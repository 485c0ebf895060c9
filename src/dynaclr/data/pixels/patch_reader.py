"""Reader of patches around observations: all of a batch in one read."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dynaclr.config import UserError
from dynaclr.data.pixels.chunk_reader import Boxes, ChunkReader, UnreadableChunk
from dynaclr.data.pixels.patch_source import PatchSource
from dynaclr.data.pixels.unreadable import (
    flag_or_raise,
    is_first_warning,
    message_of,
    plate_and_fov,
    rows_not_finite,
)
from dynaclr.index import pixel_of
from dynaclr.io.array_layout import ArrayLayout, store_layout

log = logging.getLogger(__name__)


def depth_window(n_planes: int, depth: int, where: str) -> int:
    """First plane of a window of `depth` planes in the middle of a stack.

    Raises
    ------
    UserError
        When the stack is not that deep.
    """
    if depth > n_planes:
        raise UserError(
            f"{where}: has {n_planes} z planes, {depth} are asked for. "
            "Set `depth` in the training configuration to at most that."
        )
    return (n_planes - depth) // 2


def patch_origin(
    center: NDArray[Any], size: NDArray[np.int64] | int, extent: NDArray[np.int64] | int
) -> NDArray[np.int32]:
    """First pixel of patches around `center`, moved inward where they would leave the image.

    Parameters
    ----------
    center : NDArray
        Centres along one axis, in pixels.
    size, extent : int or NDArray of int
        Extent of the patch and of the image along that axis, in pixels.
    """
    return np.clip(pixel_of(center) - size // 2, 0, extent - size)


class PatchReader:
    """Reads patches from many fields of view; it pickles small and opens files when it needs them.

    All patches of a call are read together: a chunk that several of them touch is read and decoded
    once.

    Parameters
    ----------
    sources : sequence of PatchSource
        Fields of view, addressed by their number in this sequence. They share channel count.
    depth : int
        Planes in a patch.
    cache_bytes : int
        Most bytes of decoded chunks to keep in this process.
    dtype : dtype-like
        Type of the patches, ``"native"`` for the plates' own where they share one that torch
        knows and float32 where they do not.
    threads : int, optional
        Threads that decode; default: what `dynaclr.data.pixels.chunk_reader.ChunkReader` chooses.

    Attributes
    ----------
    sides : NDArray of int, shape (S, 2)
        Extent (y, x) that is read of each source, margin included.
    chunks : ChunkReader
        What reads the pixels.

    Raises
    ------
    UserError
        When an image is smaller than a patch, or uses a codec that is not supported.
    """

    def __init__(
        self,
        sources: Sequence[PatchSource],
        depth: int,
        cache_bytes: int = 256 << 20,
        dtype: DTypeLike | str = np.float32,
        threads: int | None = None,
    ) -> None:
        self.depth = depth
        layouts: dict[ArrayLayout, int] = {}
        kinds = [
            layouts.setdefault(source.position.layout(source.level), len(layouts))
            for source in sources
        ]
        shapes = np.array([layout.shape for layout in layouts], np.int64)[kinds]
        self._image = shapes[:, 3:]
        for source, image in zip(sources, self._image.tolist(), strict=True):
            _check_fits(source, image)
        self._size = np.array([source.size for source in sources], np.int64)
        self._margin = np.array([source.margin for source in sources], np.int64)
        self.sides = self._size + self._margin
        self._z_start = np.array([source.z_start for source in sources], np.int64)
        paths = [str(source.position.levels[source.level].path.absolute()) for source in sources]
        may_lack = [source.may_lack_chunks for source in sources]
        # The arrays of patch stores follow those of the plates.
        self._markers = {s.crops.path: s.crops.markers for s in sources if s.crops is not None}
        for path in self._markers:
            kinds.append(layouts.setdefault(store_layout(Path(path)), len(layouts)))
        self._set_crops(sources, list(self._markers))
        self.chunks = ChunkReader(
            paths + list(self._markers),
            list(layouts),
            kinds,
            cache_bytes,
            threads,
            np.array(may_lack + [False] * len(self._markers), bool),
        )
        used = {self.chunks.layouts[kinds[array]] for array in self._array}
        self.dtype = _common_type(used) if dtype == "native" else np.dtype(dtype)

    @property
    def channel_bytes(self) -> int:
        """Size of one channel of the largest patch."""
        return self.depth * int(self.sides.prod(axis=1).max()) * self.dtype.itemsize

    def keep_frames(self) -> None:
        """Keep what a pass in the order of frames uses again.

        Each chunk is then decoded once, also where the patches of one frame fall into two reads.
        """
        self.chunks.keep_frames(2, self._channels.shape[1], self.depth)

    def _set_crops(self, sources: Sequence[PatchSource], stores: list[str]) -> None:
        """Note which sources are read from a store, and how."""
        self._has_store = np.array([source.crops is not None for source in sources], bool)
        self._array = np.arange(len(sources))
        self._plate_channels = np.array([source.channels for source in sources], np.int64)
        self._channels = self._plate_channels.copy()
        self._crop = np.zeros((len(sources), 2), np.int64)
        self._whole_stack = np.ones(len(sources), bool)
        self._native = np.ones(len(sources), bool)
        for number, source in enumerate(sources):
            if source.crops is not None:
                crops = source.crops
                self._array[number] = len(sources) + stores.index(crops.path)
                self._channels[number] = crops.channels
                self._crop[number] = np.minimum(crops.side, self._image[number])
                self._whole_stack[number] = crops.whole_stack
                self._native[number] = crops.native

    def read(
        self,
        source: NDArray[np.int64],
        t: NDArray[np.int64],
        y: NDArray[np.floating],
        x: NDArray[np.floating],
        *,
        z: NDArray[np.int64] | None = None,
        channels: NDArray[np.int64] | None = None,
        slot: NDArray[np.int64] | None = None,
        unreadable: NDArray[np.bool_] | None = None,
    ) -> NDArray[Any]:
        """Read patches of sources that have the same extent.

        Parameters
        ----------
        source, t : NDArray of int, shape (B,)
            Number of the field of view, and frame.
        y, x : NDArray of float, shape (B,)
            Patch centres, in pixels of the source's resolution level.
        z : NDArray of int, shape (B,), optional
            First plane of each patch; default: the source's own.
        channels : NDArray of int, shape (B, C), optional
            Which of the source's channels; default: all.
        slot : NDArray of int, shape (B,), optional
            Number of each patch's crop in the store of its source; -1 where there is none. Of a
            store of native pixels the plate is read then, else the patch is unreadable.
        unreadable : NDArray of bool, shape (B,), optional
            Where it is given, patches that cannot be read are flagged in it instead of raising an
            error.

        Returns
        -------
        NDArray, shape (B, C, Z, Y, X)
            In the order asked for; absent markers are zero. Y and X are the source's own size and
            margin.

        Raises
        ------
        UserError
            When a chunk is missing or damaged, or pixels are NaN or infinite, naming plate, field
            of view, frame and channel.
        """
        source = np.asarray(source, np.int64)
        slot = np.full(len(source), -1) if slot is None else slot
        in_store = self._has_store[source] & ((slot >= 0) | ~self._native[source])
        missing = in_store & (slot < 0)
        flag_or_raise(missing, unreadable, lambda row: self._missing(source[row], t[row]))
        chosen = np.where(in_store[:, None], self._channels[source], self._plate_channels[source])
        if channels is not None:
            chosen = np.take_along_axis(chosen, channels, axis=1)
        sides = self.sides[source[0]].tolist() if len(source) else [0, 0]
        out = np.empty((*chosen.shape, self.depth, *sides), self.dtype)
        out[chosen < 0] = 0
        first = self._first_pixels(source, y, x)
        inside = np.clip(first, 0, self._image[source]), first + sides
        inside = inside[0], np.minimum(inside[1], self._image[source])
        start_z = self._z_start[source] if z is None else z
        boxes = _boxes(
            np.where(in_store, self._array[source], source),
            np.where(in_store, np.maximum(slot, 0), t),
            chosen,
            np.where(in_store & ~self._whole_stack[source], 0, start_z),
            self.depth,
            first,
            inside,
            self._crop_origins(source, y, x, in_store),
        )
        for chunk in self.chunks.read(boxes, out):
            samples = boxes.target[chunk.boxes, 0]
            first_patch = source[samples[0]], t[samples[0]]
            if unreadable is None:
                raise UserError(self._message(chunk, *first_patch))
            if is_first_warning(self.chunks.paths[chunk.array], chunk.index):
                log.warning(self._message(chunk, *first_patch))
            unreadable[samples] = True
            out[samples] = 0
        _mirror(out, first, inside, self._image[source])
        out[missing] = 0
        self._check_finite(out, source, t, channels, unreadable)
        return out

    def _check_finite(
        self,
        out: NDArray[Any],
        source: NDArray[np.int64],
        t: NDArray[np.int64],
        channels: NDArray[np.int64] | None,
        unreadable: NDArray[np.bool_] | None,
    ) -> None:
        """Treat patches with pixels that are NaN or infinite as unreadable; they become zero."""
        rows = rows_not_finite(out)
        if not rows.size:
            return
        row = int(rows[0])
        path = self.chunks.paths[source[row]]
        # Where one patch of a field of view has such pixels, others have too: one warning for all.
        if unreadable is None or is_first_warning(path, ()):
            channel = int((~np.isfinite(out[row])).any(axis=(1, 2, 3)).argmax())
            channel = channel if channels is None else int(channels[row, channel])
            pixel = int(t[row]), int(self._plate_channels[source[row], channel])
            message = message_of(path, pixel, "pixels are NaN or infinite")
            if unreadable is None:
                raise UserError(message)
            log.warning(message)
        unreadable[rows] = True
        out[rows] = 0

    def _first_pixels(
        self, source: NDArray[np.int64], y: NDArray[Any], x: NDArray[Any]
    ) -> NDArray[np.int64]:
        """First pixel (y, x) of each patch and its margin, outside the image where negative."""
        first = np.empty((len(source), 2), np.int64)
        for axis, center in enumerate((y, x)):
            size, extent = self._size[source, axis], self._image[source, axis]
            first[:, axis] = patch_origin(center, size, extent) - self._margin[source, axis] // 2
        return first

    def _crop_origins(
        self,
        source: NDArray[np.int64],
        y: NDArray[Any],
        x: NDArray[Any],
        in_store: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """First pixel (y, x) of the image that each patch's crop in a store holds; else 0."""
        origin = np.zeros((len(source), 2), np.int64)
        for axis, center in enumerate((y, x)):
            side, extent = self._crop[source, axis], self._image[source, axis]
            origin[:, axis] = np.where(in_store, patch_origin(center, side, extent), 0)
        return origin

    def _message(self, chunk: UnreadableChunk, source: int, t: int) -> str:
        """Message about an unreadable chunk and a patch that needs it."""
        path = self.chunks.paths[chunk.array]
        if chunk.array < len(self._has_store):
            return message_of(path, chunk.pixel, chunk.reason)
        plate, fov = plate_and_fov(self.chunks.paths[source])
        return (
            f"{Path(path).parent}: cannot read frame {t} of field of view {fov}, "
            f"channel {self._markers[path][chunk.pixel[1]]}, of {plate} ({chunk.reason}). "
            "Delete the patch store: the plate is read until its stage runs again."
        )

    def _missing(self, source: int, t: int) -> str:
        """Message about a patch that a store of normalized pixels lacks."""
        plate, fov = plate_and_fov(self.chunks.paths[source])
        return (
            f"{plate}: frame {t} of field of view {fov} could not be read when its patches were "
            "stored. Copy the plate again and store them again, or say `unreadable: skip` under "
            "`data` in the training configuration."
        )


def _boxes(
    array: NDArray[np.int64],
    t: NDArray[np.int64],
    channels: NDArray[np.int64],
    z: NDArray[np.int64],
    depth: int,
    first: NDArray[np.int64],
    inside: tuple[NDArray[np.int64], NDArray[np.int64]],
    origin: NDArray[np.int64],
) -> Boxes:
    """One box for each patch and run of channels that lie side by side in its array."""
    present = channels >= 0
    continues = present[:, :-1] & present[:, 1:] & (np.diff(channels, axis=1) == 1)
    edge = np.zeros((len(channels), 1), bool)
    sample, channel = np.nonzero(present & ~np.concatenate([edge, continues], axis=1))
    _, last = np.nonzero(present & ~np.concatenate([continues, edge], axis=1))
    low, high = (corner[sample] for corner in inside)
    corner = np.column_stack([t[sample], channels[sample, channel], z[sample]])
    beyond = np.column_stack([t[sample] + 1, channels[sample, last] + 1, z[sample] + depth])
    start = np.column_stack([corner, low - origin[sample]])
    stop = np.column_stack([beyond, high - origin[sample]])
    target = np.column_stack([sample, channel, np.zeros_like(sample), low - first[sample]])
    return Boxes(array[sample], start, stop, target)


def _mirror(
    out: NDArray[Any],
    first: NDArray[np.int64],
    inside: tuple[NDArray[np.int64], NDArray[np.int64]],
    image: NDArray[np.int64],
) -> None:
    """Fill what of patches lies outside the image with its mirror image, edges not repeated."""
    for axis in (0, 1):
        extent = out.shape[3 + axis]
        stop = first[:, axis] + extent
        beyond = np.flatnonzero((inside[0][:, axis] > first[:, axis]) | (inside[1][:, axis] < stop))
        if not beyond.size:
            continue
        last = image[beyond, axis, None] - 1
        pixel = (first[beyond, axis, None] + np.arange(extent)) % np.maximum(2 * last, 1)
        pixel = np.minimum(pixel, 2 * last - pixel) - first[beyond, axis, None]
        shape = [len(beyond), 1, 1, 1, 1]
        shape[3 + axis] = extent
        out[beyond] = np.take_along_axis(out[beyond], pixel.reshape(shape), axis=3 + axis)


def _common_type(layouts: Iterable[ArrayLayout]) -> np.dtype[Any]:
    types = {np.dtype(layout.dtype).newbyteorder("=") for layout in layouts}
    kept = {np.dtype(name) for name in ("uint8", "int8", "uint16", "int16", "float16", "float32")}
    return types.pop() if len(types) == 1 and types <= kept else np.dtype(np.float32)


def _check_fits(source: PatchSource, image: Sequence[int]) -> None:
    if source.size[0] > image[0] or source.size[1] > image[1]:
        raise UserError(
            f"{source.position.path}: field of view {source.position.name} is {image[0]} x "
            f"{image[1]} pixels, a patch needs {source.size[0]} x {source.size[1]}. "
            "Ask for a smaller `patch_size`, or exclude this field of view."
        )
