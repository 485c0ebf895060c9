"""What patches are read from: fields of view of plates, or crops of them in a patch store."""

from __future__ import annotations

from dataclasses import dataclass

from dynaclr.io import Position


@dataclass(frozen=True)
class StoredCrops:
    """Crops in a patch store, from which a field of view's patches are read instead of its plate.

    Attributes
    ----------
    path : str
        Folder of the store's array, axes (observation, C, Z, Y, X).
    markers : tuple of str
        Markers of the store's channels.
    channels : tuple of int
        Channel in the store of each wanted marker; -1 where the marker is absent.
    side : tuple of int
        Extent (y, x) of the crops, in pixels of the resolution level.
    whole_stack : bool
        Whether crops hold all planes; else they hold those of the patch.
    native : bool
        Whether its pixels are the plate's own. Then a patch that the store lacks, because a chunk
        of one of its markers is unreadable, is read from the plate, where the markers that are
        needed may be whole. Where pixels are normalized, such a patch counts as unreadable: pixels
        of the plate would not be rounded as those of the store are.
    """

    path: str
    markers: tuple[str, ...]
    channels: tuple[int, ...]
    side: tuple[int, int]
    whole_stack: bool
    native: bool


@dataclass(frozen=True)
class PatchSource:
    """One field of view, and which patches are read from it.

    Attributes
    ----------
    position : Position
        The field of view.
    channels : tuple of int
        Number in the array of each wanted channel; -1 where the marker is absent.
    size : tuple of int
        Extent (y, x) of a patch, in pixels of the resolution level.
    z_start : int
        First plane of the patch's depth window, unless another one is asked for.
    margin : tuple of int
        Pixels (y, x) read beyond `size`, half of them on either side. Where they lie outside the
        image they are its mirror image, so that a margin never moves a patch.
    level : int
        Resolution level, 0 the finest.
    may_lack_chunks : bool
        Whether the plate's writer left out chunks that are empty; else a missing one is unreadable.
    crops : StoredCrops, optional
        Patch store to read from instead.
    """

    position: Position
    channels: tuple[int, ...]
    size: tuple[int, int]
    z_start: int = 0
    margin: tuple[int, int] = (0, 0)
    level: int = 0
    may_lack_chunks: bool = False
    crops: StoredCrops | None = None
