"""Reading cell-centred patches straight from plates."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

from dynaclr.data.arrays import context, open_array
from dynaclr.experiments import Position, UserError
from dynaclr.index import pixel_of

# Open arrays are kept, the least recently used closed first: a plate may have 10,000 of them.
_OPEN_ARRAYS = 256


@dataclass(frozen=True)
class PatchSource:
    """One field of view as patches are cut from it.

    Attributes
    ----------
    position : Position
        Where the pixels are.
    channels : tuple of int
        Number in the array of each wanted channel; -1 where the marker is absent.
    size : tuple of int
        Extent (y, x) of a patch, in pixels of this field of view.
    z_start : int
        First plane of the patch's depth window.
    margin : tuple of int
        Pixels (y, x) read beyond `size`, half of them on either side. Where they lie outside the
        image they are its mirror image, so that a margin never moves a patch.
    """

    position: Position
    channels: tuple[int, ...]
    size: tuple[int, int]
    z_start: int = 0
    margin: tuple[int, int] = (0, 0)


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


def patch_origin(center: NDArray, size: int, extent: int) -> NDArray[np.int32]:
    """First pixel of patches around `center`, moved inward where they would leave the image.

    Parameters
    ----------
    center : NDArray
        Centres along one axis, in pixels.
    size, extent : int
        Extent of the patch and of the image along that axis, in pixels.
    """
    return np.clip(pixel_of(center) - size // 2, 0, extent - size)


class PatchReader:
    """Cuts patches out of many fields of view; picklable, opens what it needs when it needs it.

    All patches of a call are read concurrently, and a chunk that several of them touch is read
    and decoded once.

    Parameters
    ----------
    sources : sequence of PatchSource
        Fields of view, addressed by their number in this sequence. They share channel count.
    depth : int
        Planes in a patch.
    cache_bytes : int
        Most bytes of decoded chunks to keep in this process.
    """

    def __init__(
        self, sources: Sequence[PatchSource], depth: int, cache_bytes: int = 256 << 20
    ) -> None:
        self.sources = list(sources)
        self.depth = depth
        self.cache_bytes = cache_bytes
        for source in self.sources:
            _check_fits(source)
        self._owner: int | None = None

    def __getstate__(self) -> dict[str, object]:
        state = self.__dict__.copy()
        state.pop("_open", None)
        return state | {"_owner": None}

    def read(
        self, source: NDArray, t: NDArray, y: NDArray, x: NDArray
    ) -> list[NDArray[np.float32]]:
        """Read patches.

        Parameters
        ----------
        source, t : NDArray of int, shape (B,)
            Number of the field of view, and frame.
        y, x : NDArray of float, shape (B,)
            Patch centres, in pixels of the field of view.

        Returns
        -------
        list of NDArray, each (C, Z, Y, X), float32
            In the order asked for; absent markers are zero. Y and X are the source's own size and
            margin.

        Raises
        ------
        UserError
            When a chunk is missing its data or is damaged, naming field of view and frame.
        """
        pending = [
            (self.sources[s], frame, *self._start(int(s), int(frame), (cy, cx)))
            for s, frame, cy, cx in zip(source, t, y, x, strict=True)
        ]
        return [self._finish(*item) for item in pending]

    def _start(
        self, number: int, t: int, center: tuple[float, float]
    ) -> tuple[ts.Future | None, list[tuple[int, int]]]:
        """Begin to read a patch; also tell what lies outside the image, before and after."""
        source = self.sources[number]
        inside, outside = [], []
        for axis, extent in enumerate(source.position.shape[-2:]):
            size, margin = source.size[axis], source.margin[axis]
            first = int(patch_origin(center[axis], size, extent)) - margin // 2
            last = first + size + margin
            inside.append(slice(max(first, 0), min(last, extent)))
            outside.append((max(-first, 0), max(last - extent, 0)))
        present = [channel for channel in source.channels if channel >= 0]
        if not present:
            return None, outside
        planes = slice(source.z_start, source.z_start + self.depth)
        return self._array(number)[(t, present, planes, *inside)].read(), outside

    def _finish(
        self,
        source: PatchSource,
        t: int,
        future: ts.Future | None,
        outside: list[tuple[int, int]],
    ) -> NDArray[np.float32]:
        sides = [size + margin for size, margin in zip(source.size, source.margin, strict=True)]
        patch_CZYX = np.zeros((len(source.channels), self.depth, *sides), dtype=np.float32)
        if future is None:
            return patch_CZYX
        try:
            pixels = future.result()
        except ValueError as error:
            raise UserError(
                f"{source.position.path}: cannot read frame {t} of field of view "
                f"{source.position.name} ({error}). Copy the plate again, or exclude this field."
            ) from None
        if np.any(outside):
            pixels = np.pad(pixels, [(0, 0), (0, 0), *outside], mode="reflect")
        patch_CZYX[[c >= 0 for c in source.channels]] = pixels
        return patch_CZYX

    def _array(self, number: int) -> ts.TensorStore:
        # A forked worker must not use its parent's handles: their threads did not come along.
        if self._owner != os.getpid():
            shared = context(self.cache_bytes)
            self._open = lru_cache(_OPEN_ARRAYS)(
                lambda key: open_array(self.sources[key].position, shared)
            )
            self._owner = os.getpid()
        return self._open(number)


def _check_fits(source: PatchSource) -> None:
    _, _, _, n_y, n_x = source.position.shape
    if source.size[0] > n_y or source.size[1] > n_x:
        raise UserError(
            f"{source.position.path}: field of view {source.position.name} is {n_y} x {n_x} "
            f"pixels, a patch needs {source.size[0]} x {source.size[1]}. "
            "Ask for a smaller `patch_size`, or exclude this field of view."
        )
