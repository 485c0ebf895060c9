"""Patch stores: what one holds, and which patches can be read from it.

A store is a Zarr 3 group with one array ``pixels`` (observation, C, Z, Y, X), one observation a
chunk, many a file, and ``slots.npy``: the number in ``pixels`` of every row of the experiment's
index, -1 where its crop could not be stored. Its attributes are the facts below.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaclr.data.pixels.patch_geometry import FieldsOfView, PatchConfig
from dynaclr.data.pixels.patch_source import PatchSource, StoredCrops
from dynaclr.data.statistics.normalization import NormalizationConfig
from dynaclr.io.artifacts import read_digest, read_json, reading

log = logging.getLogger(__name__)

STORE, REPORT = "patches.zarr", "patches.json"
PIXELS, SLOTS, METADATA = "pixels", "slots.npy", "zarr.json"
WHOLE_STACK = "stack"
# Range of 8-bit pixels, in spreads from the center.
LOWEST, HIGHEST = -5.0, 15.0


@dataclass(frozen=True)
class StoreFacts:
    """What a store was made from, and how.

    Attributes
    ----------
    cells, statistics, plate
        Digests of the index whose rows it holds, of the statistics, and of the plate's metadata.
    n
        Number of its rows.
    markers
        Markers along the channel axis.
    side
        Extent (y, x) of a crop, in pixels of the resolution level `level`.
    depth, z_window
        Planes of a crop, and where they lie: ``stack`` for all, else as in `PatchConfig`.
    leading
        Well to the marker whose focus its planes follow; empty where they follow none.
    level
        Resolution level.
    dtype, compressor
        As in the experiment's entry: ``native``, or the type that normalized pixels were stored in.
    normalization
        Statistics that they were normalized with; None for native pixels.
    """

    cells: str
    statistics: str
    plate: str
    n: int
    markers: tuple[str, ...]
    side: tuple[int, int]
    depth: int
    z_window: str
    leading: dict[str, str]
    level: int
    dtype: str
    compressor: str
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
    height, width = (s + m + (s & m & 1) for s, m in zip(size, margin, strict=True))
    return height, width


class PatchStore:
    """A finished store.

    It pickles as its path; the slots of rows stay on disk.

    Parameters
    ----------
    path : Path
        Folder of the store.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path).absolute()
        content = read_json(self.path / METADATA)
        self.facts = StoreFacts.of(content["attributes"]["dynaclr"])

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return type(self), (self.path,)

    @cached_property
    def slots(self) -> NDArray[np.int64]:
        """Number of each row's crop in the store, mapped from the file."""
        with reading(self.path / SLOTS):
            return np.load(self.path / SLOTS, mmap_mode="r")

    def outdated(self, plate: str, n: int) -> str:
        """Why the store does not belong to the files beside it; empty when it does.

        Parameters
        ----------
        plate : str
            Digest of the metadata of the experiment's plate.
        n : int
            Observations of the experiment in the index that is read.
        """
        facts, folder = self.facts, self.path.parent
        report, content = _report_of(folder), facts.as_json()
        if {name: report.get(name) for name in content} != content:
            return "the experiment's entry does not ask for it"
        now = {"plate": plate}
        now |= {name: read_digest(folder / f"{name}.parquet") for name in ("cells", "statistics")}
        changed = [name for name, digest in now.items() if getattr(facts, name) != digest]
        if changed:
            return f"{', '.join(changed)} changed since it was made"
        if facts.n != n:
            return f"it holds {facts.n} observations, the index has {n}"
        return ""

    @property
    def decoding(self) -> tuple[float, float]:
        """Center and spread that give normalized pixels; of stores that are normalized."""
        if self.facts.dtype == "float16":
            return 0.0, 1.0
        step = (HIGHEST - LOWEST) / 255
        return -LOWEST / step, 1 / step

    def lacks(
        self, source: PatchSource, patches: PatchConfig, normalization: NormalizationConfig
    ) -> str:
        """Why patches of a source cannot be read from the store; empty when they can."""
        facts = self.facts
        imaged = [
            marker
            for marker, channel in zip(patches.markers, source.channels, strict=True)
            if channel >= 0
        ]
        absent = [marker for marker in imaged if marker not in facts.markers]
        if absent:
            return f"it lacks {', '.join(absent)}"
        if source.level != facts.level:
            return f"it holds resolution level {facts.level}, not {source.level}"
        image = source.position.shape[-2:] if source.level == 0 else (1 << 31, 1 << 31)
        needed = side_for(source.size, source.margin)
        if any(n > s and s < i for n, s, i in zip(needed, facts.side, image, strict=True)):
            return f"its crops are {facts.side[0]} x {facts.side[1]} pixels, {needed} are needed"
        window = patches.depth, patches.z_window
        if facts.z_window != WHOLE_STACK and window != (facts.depth, facts.z_window):
            return f"it holds {facts.depth} planes ({facts.z_window})"
        followed = facts.leading.get(source.position.well)
        if followed and imaged and followed != imaged[0]:
            return f"its planes follow the focus of {followed}, not of {imaged[0]}"
        if facts.normalization not in (None, asdict(normalization)):
            return "its pixels were normalized otherwise"
        return ""

    def crops(self, source: PatchSource, markers: tuple[str, ...]) -> StoredCrops:
        """How patches of a source are read from the store."""
        channels = tuple(
            self.facts.markers.index(marker) if channel >= 0 else -1
            for marker, channel in zip(markers, source.channels, strict=True)
        )
        whole = self.facts.z_window == WHOLE_STACK
        markers = self.facts.markers
        native = self.facts.normalization is None
        return StoredCrops(
            str(self.path / PIXELS), markers, channels, self.facts.side, whole, native
        )


def attach_stores(
    sources: list[PatchSource],
    fields: FieldsOfView,
    folder: Path,
    patches: PatchConfig,
    normalization: NormalizationConfig,
) -> tuple[list[PatchSource], list[tuple[PatchStore, int]], NDArray[np.int64]]:
    """Let sources read from patch stores where these are current and hold what is needed.

    Parameters
    ----------
    sources : list of PatchSource
        Of each field of view.
    fields : FieldsOfView
    folder : Path
        May hold ``<experiment>/patches.zarr``.
    patches, normalization
        What is asked for.

    Returns
    -------
    sources : list of PatchSource
    stores : list of (PatchStore, int)
        With the first row of their experiment.
    store_of : NDArray of int, shape (F,)
        Number of each source's store; -1 for none.
    """
    sources = list(sources)
    stores: list[tuple[PatchStore, int]] = []
    store_of = np.full(len(sources), -1)
    for name, (begin, end) in fields.row_spans().items():
        store = find_store(folder / name)
        if store is None:
            continue
        own = [number for number, (experiment, _) in enumerate(fields.names) if experiment == name]
        problems = {store.outdated(fields.plates[name].digest(), end - begin)} - {""}
        if not problems:
            problems = {store.lacks(sources[n], patches, normalization) for n in own} - {""}
        if problems:
            log.warning("%s is not used: %s", store.path, "; ".join(sorted(problems)))
            continue
        store_of[own] = len(stores)
        stores.append((store, begin))
        for number in own:
            crops = store.crops(sources[number], patches.markers)
            sources[number] = replace(sources[number], crops=crops)
    return sources, stores, store_of


def find_store(experiment_dir: Path) -> PatchStore | None:
    """Open the store in an experiment's results, if there is one."""
    path = experiment_dir / STORE
    if not (path / METADATA).is_file():
        if _report_of(experiment_dir):
            log.warning("%s is gone; the plate is read until the stage of patches runs", path)
        return None
    try:
        return PatchStore(path)
    except (KeyError, TypeError):
        log.warning("%s is not used: another version of this software made it", path)
        return None


def _report_of(folder: Path) -> dict[str, Any]:
    """Report of the stage on the store that the entry asks for; empty when it asks for none."""
    path = folder / REPORT
    return read_json(path) or {} if path.is_file() else {}
