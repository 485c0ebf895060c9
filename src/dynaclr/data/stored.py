"""Patch stores: what one holds, and which patches can be cut from it.

A store is a Zarr 3 group with one array ``pixels`` (cell, C, Z, Y, X), one observation a chunk,
many a file, and ``slots.npy``, the place of every row of the experiment's index. Its attributes are
the facts below.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaclr.data.lookup import NormalizationConfig
from dynaclr.data.patches import Crops, PatchSource
from dynaclr.experiments.files import read_seal
from dynaclr.index.build import CELLS

STORE = "patches.zarr"
PIXELS, SLOTS, FACTS = "pixels", "slots.npy", "zarr.json"
WHOLE_STACK = "stack"
# What 8 bits span, in spreads from the center.
LOWEST, HIGHEST = -5.0, 15.0


@dataclass(frozen=True)
class StoreFacts:
    """What a store was made of, and how.

    Attributes
    ----------
    cells
        Digest of the index whose rows it holds.
    n
        Number of its rows.
    markers
        Markers along the channel axis.
    side
        Extent (y, x) of a crop, in pixels of the resolution level `level`.
    depth, z_window
        Planes of a crop, and where they lie: ``stack`` for all, else as in `PatchConfig`.
    level
        Resolution level.
    dtype
        ``native``, or the type that normalized pixels were stored in.
    normalization
        With what they were normalized; None for native pixels.
    """

    cells: str
    n: int
    markers: tuple[str, ...]
    side: tuple[int, int]
    depth: int
    z_window: str
    level: int
    dtype: str
    normalization: dict[str, str] | None

    @classmethod
    def of(cls, content: dict[str, Any]) -> StoreFacts:
        """Facts from their JSON form."""
        lists = {name: tuple(content[name]) for name in ("markers", "side")}
        return cls(**(content | lists))

    def as_json(self) -> dict[str, Any]:
        """JSON form of the facts."""
        return json.loads(json.dumps(asdict(self)))


def side_for(size: Sequence[int], margin: Sequence[int]) -> tuple[int, int]:
    """Extent of a crop that holds a patch and its margin wherever the patch is moved to.

    A crop is moved into the image by the same rule as a patch; both halve odd extents downwards, so
    that an odd patch with an odd margin needs a pixel more.
    """
    return tuple(s + m + (s & m & 1) for s, m in zip(size, margin, strict=True))


class PatchStore:
    """A finished store.

    It pickles as its path; what it knows of rows stays on disk.

    Parameters
    ----------
    path : Path
        Folder of the store.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        content = json.loads((self.path / FACTS).read_text(encoding="utf-8"))
        self.facts = StoreFacts.of(content["attributes"]["dynaclr"])

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return type(self), (self.path,)

    @cached_property
    def slots(self) -> NDArray[np.int64]:
        """Place of each row of the experiment's index, mapped from the file."""
        return np.load(self.path / SLOTS, mmap_mode="r")

    @property
    def decoding(self) -> tuple[float, float]:
        """Center and spread that give normalized pixels; of stores that are normalized."""
        if self.facts.dtype == "float16":
            return 0.0, 1.0
        step = (HIGHEST - LOWEST) / 255
        return -LOWEST / step, 1 / step

    def lacks(
        self,
        source: PatchSource,
        markers: tuple[str, ...],
        depth: int,
        z_window: str,
        normalization: NormalizationConfig,
    ) -> str:
        """Why patches of a source cannot be cut from the store; empty when they can."""
        facts = self.facts
        absent = [
            marker
            for marker, channel in zip(markers, source.channels, strict=True)
            if channel >= 0 and marker not in facts.markers
        ]
        if absent:
            return f"it lacks {', '.join(absent)}"
        if source.level != facts.level:
            return f"it holds resolution level {facts.level}, not {source.level}"
        image = source.position.shape[-2:] if source.level == 0 else (1 << 31, 1 << 31)
        needed = side_for(source.size, source.margin)
        if any(n > s and s < i for n, s, i in zip(needed, facts.side, image, strict=True)):
            return f"its crops are {facts.side[0]} x {facts.side[1]} pixels, {needed} are needed"
        if facts.z_window != WHOLE_STACK and (depth, z_window) != (facts.depth, facts.z_window):
            return f"it holds {facts.depth} planes ({facts.z_window})"
        if facts.normalization not in (None, asdict(normalization)):
            return "its pixels were normalized otherwise"
        return ""

    def crops(self, source: PatchSource, markers: tuple[str, ...]) -> Crops:
        """How patches of a source are cut from the store."""
        channels = tuple(
            self.facts.markers.index(marker) if channel >= 0 else -1
            for marker, channel in zip(markers, source.channels, strict=True)
        )
        whole = self.facts.z_window == WHOLE_STACK
        return Crops(str(self.path / PIXELS), channels, self.facts.side, whole)


def find_store(experiment_dir: Path) -> PatchStore | None:
    """Open the store in an experiment's results, if there is one and it is of the index there."""
    path = experiment_dir / STORE
    if not (path / FACTS).is_file():
        return None
    store = PatchStore(path)
    return store if store.facts.cells == read_seal(experiment_dir / CELLS) else None
