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
    """

    position: Position
    channels: tuple[int, ...]
    size: tuple[int, int]
    z_start: int = 0


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


def patch_origin(center: NDArray, size: int, extent: int) -> NDArray[np.int64]:
    """First pixel of patches around `center`, moved inward where they would leave the image.

    Parameters
    ----------
    center : NDArray
        Centres along one axis, in pixels.
    size, extent : int
        Extent of the patch and of the image along that axis, in pixels.
    """
    start = np.floor(np.asarray(center, dtype=np.float64) + 0.5).astype(np.int64) - size // 2
    return np.clip(start, 0, extent - size)


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
            In the order asked for; absent markers are zero. Y and X are the source's own size.

        Raises
        ------
        UserError
            When a chunk is missing its data or is damaged, naming field of view and frame.
        """
        pending = [
            (self.sources[s], frame, self._start(int(s), int(frame), cy, cx))
            for s, frame, cy, cx in zip(source, t, y, x, strict=True)
        ]
        return [self._finish(*item) for item in pending]

    def _start(self, number: int, t: int, y: float, x: float) -> ts.Future | None:
        source = self.sources[number]
        present = [channel for channel in source.channels if channel >= 0]
        if not present:
            return None
        _, _, _, n_y, n_x = source.position.shape
        y0 = int(patch_origin(y, source.size[0], n_y))
        x0 = int(patch_origin(x, source.size[1], n_x))
        window = self._array(number)[
            t,
            present,
            source.z_start : source.z_start + self.depth,
            y0 : y0 + source.size[0],
            x0 : x0 + source.size[1],
        ]
        return window.read()

    def _finish(self, source: PatchSource, t: int, future: ts.Future | None) -> NDArray[np.float32]:
        patch_CZYX = np.zeros((len(source.channels), self.depth, *source.size), dtype=np.float32)
        if future is None:
            return patch_CZYX
        try:
            pixels = future.result()
        except ValueError as error:
            raise UserError(
                f"{source.position.path}: cannot read frame {t} of field of view "
                f"{source.position.name} ({error}). Copy the plate again, or exclude this field."
            ) from None
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
