"""Building an experiment's patch store: each chunk of the plate once, whole or not at all."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from dynaclr.data.cells import PatchConfig, patch_sources
from dynaclr.data.chunks import map_ahead
from dynaclr.data.layout import position_layout
from dynaclr.data.lookup import NormalizationConfig, first_planes, normalizers, read_statistics
from dynaclr.data.patches import PatchReader, PatchSource
from dynaclr.data.shards import ShardWriter
from dynaclr.data.stored import (
    HIGHEST,
    LOWEST,
    PIXELS,
    SLOTS,
    STORE,
    WHOLE_STACK,
    StoreFacts,
    side_for,
)
from dynaclr.experiments import ExperimentConfig, Plate, UserError
from dynaclr.experiments.files import atomic_path, digest_json, read_json, read_seal, write_json
from dynaclr.experiments.fingerprint import plate_fingerprint
from dynaclr.index import MultiExperimentIndex
from dynaclr.index.fovs import FovRuns

log = logging.getLogger(__name__)

_STATISTICS = "statistics.parquet"
# Observations that are read and written at a time.
_ROWS = 256


@dataclass(frozen=True)
class Cut:
    """How a model cuts and normalizes its patches: what a store must hold for it.

    Attributes
    ----------
    patches : PatchConfig
    extraction_size : tuple of int
    normalization : NormalizationConfig
    """

    patches: PatchConfig
    extraction_size: tuple[int, int]
    normalization: NormalizationConfig

    @classmethod
    def of(cls, data: dict[str, Any]) -> Cut:
        """Take it from the ``data`` part of a training configuration."""
        chosen = {k: tuple(v) if isinstance(v, list) else v for k, v in data["patches"].items()}
        patches = PatchConfig(**chosen)
        extraction = tuple(data.get("extraction_size") or patches.size)
        return cls(patches, extraction, NormalizationConfig(**data.get("normalization", {})))


def build_patches(
    entry: ExperimentConfig,
    experiment_dir: Path,
    cuts: Sequence[Cut],
    threads: int = 2,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Store the patches of an experiment's cells for training.

    Parameters
    ----------
    entry : ExperimentConfig
    experiment_dir : Path
        Folder of the experiment's results: index and statistics. Gets ``patches.zarr`` and
        ``patches.json``.
    cuts : sequence of Cut
        What the store shall serve.
    threads : int
        Fields of view that are read at the same time.
    dry_run : bool
        Only say how many bytes it will have and how long reading will take.

    Returns
    -------
    dict
        What is in ``patches.json``: the facts, bytes and, of normalized pixels, what was lost.

    Raises
    ------
    UserError
        When the cuts cannot be served by one store, or pixels cannot be read.
    """
    job = _Job(entry, Path(experiment_dir), list(cuts))
    seconds = job.estimate() / threads
    log.info(
        "%s: %d crops of %s, %.2f GB; reading takes about %.1f minutes",
        entry.name,
        job.facts.n,
        " x ".join(map(str, job.writer.shape[1:])),
        job.n_bytes / 1e9,
        seconds / 60,
    )
    if dry_run:
        return job.report() | {"seconds": round(seconds)}
    job.build(threads)
    report = job.report() | job.loss()
    with atomic_path(job.out) as temporary:
        os.rename(job.work, temporary)
    write_json(job.out.with_name("patches.json"), report)
    return report


class _Job:
    """One store on its way, in a folder that a killed run leaves and the next one takes up."""

    def __init__(self, entry: ExperimentConfig, folder: Path, cuts: list[Cut]) -> None:
        if entry.patch_store is None or not cuts:
            raise UserError(
                f"experiment {entry.name}: nothing to store. Say `patches: true` in its entry, and "
                "use it in a model."
            )
        self.entry, self.out, self.config = entry, folder / STORE, entry.patch_store
        self.index = MultiExperimentIndex.from_parquet([folder])
        self.runs = FovRuns(self.index)
        self.places = list(zip(self.runs.experiment, self.runs.fov, strict=True))
        self.statistics = read_statistics(folder.parent, [entry.name])
        self.bounds = np.append(self.runs.start, len(self.index))
        self.sources, self.facts = self._plan(cuts, read_seal(folder / "cells.parquet"))
        self.read_dtype = PatchReader(self.sources, self.facts.depth, 0, "native").dtype
        normal = self.config.dtype != "native"
        self.dtype = np.dtype(self.config.dtype) if normal else self.read_dtype
        shape = (self.facts.n, len(self.facts.markers), self.facts.depth, *self.facts.side)
        key = {"facts": self.facts.as_json(), "compressor": self.config.compressor}
        key |= {"plate": plate_fingerprint(entry), "statistics": read_seal(folder / _STATISTICS)}
        self.work = self.out.with_name(f".{STORE}.{digest_json(key)[:12]}.work")
        self.writer = ShardWriter(self.work / PIXELS, shape, self.dtype, self.config.compressor)
        self.n_bytes = self.facts.n * self.writer.chunk_bytes
        self._prepare_planes()
        self._prepare_normalization(cuts[0].normalization)

    def _plan(self, cuts: list[Cut], cells: str) -> tuple[list[PatchSource], StoreFacts]:
        """What the store must hold for all cuts, and how it is read from the plate."""
        registry, plate = {self.entry.name: self.entry}, Plate(self.entry.data_path)
        positions = [plate.positions[fov] for _, fov in self.places]
        markers = tuple(dict.fromkeys(m for cut in cuts for m in cut.patches.markers))
        markers = tuple(marker for marker in markers if marker in self.entry.markers)
        needed, levels = [], set()
        for cut in cuts:
            patches = replace(cut.patches, markers=markers)
            sources, _ = patch_sources(
                self.places, positions, registry, patches, cut.extraction_size
            )
            needed += [side_for(source.size, source.margin) for source in sources]
            levels |= {source.level for source in sources}
        self._same(levels, "read different resolution levels")
        windows = {(cut.patches.depth, cut.patches.z_window) for cut in cuts}
        planes = {position.shape[2] for position in positions}
        if len(windows) == 1:
            ((depth, window),) = windows
        else:
            self._same(planes, "read different windows of stacks that differ in depth")
            depth, window = planes.pop(), WHOLE_STACK
        normalization = None
        if self.config.dtype != "native":
            chosen = {cut.normalization for cut in cuts}
            self._same(chosen, f"normalize differently, and dtype is {self.config.dtype}")
            normalization = asdict(chosen.pop())
        side = tuple(np.max(needed, axis=0).tolist())
        facts = StoreFacts(
            cells,
            len(self.index),
            markers,
            side,
            depth,
            window,
            min(levels),
            self.config.dtype,
            normalization,
        )
        whole = tuple(
            replace(source, size=self._fitting(source, side), margin=(0, 0)) for source in sources
        )
        return list(whole), facts

    def _same(self, values: set, what: str) -> None:
        if len(values) > 1:
            raise UserError(
                f"experiment {self.entry.name}: the models that use it {what}, so one patch store "
                "cannot serve them. Remove `patches` from its entry, or make them agree."
            )

    @staticmethod
    def _fitting(source: PatchSource, side: tuple[int, int]) -> tuple[int, int]:
        shape = position_layout(source.position, source.level).shape[-2:]
        return min(side[0], shape[0]), min(side[1], shape[1])

    def _prepare_planes(self) -> None:
        self.first_plane = None
        planes = np.array([source.position.shape[2] for source in self.sources])
        if self.facts.z_window == "focus" and (planes > self.facts.depth).any():
            self.first_plane = first_planes(
                self.places,
                {self.entry.name: self.entry},
                self.facts.markers,
                self.statistics,
                planes,
                self.facts.depth,
            )

    def _prepare_normalization(self, normalization: NormalizationConfig) -> None:
        self.center = self.spread = None
        if self.facts.normalization is not None:
            self.center, self.spread = normalizers(
                self.places,
                {self.entry.name: self.entry},
                self.facts.markers,
                self.statistics,
                normalization,
            )
            self.spread = np.where(self.spread >= 1e-6, self.spread, 1)

    def estimate(self) -> float:
        """Seconds that one thread takes to read everything, from the first frame there is."""
        t, first = self.index.column("t"), int(self.bounds[0])
        frame = np.arange(first, first + int(np.count_nonzero(t[: self.bounds[1]] == t[first])))
        began = time.perf_counter()
        reader = self._reader(0)
        for rows in np.array_split(frame, -(-len(frame) // _ROWS)):
            self._read(reader, 0, rows)
        frames = sum(
            len(np.unique(t[a:b])) for a, b in zip(self.bounds[:-1], self.bounds[1:], strict=True)
        )
        return (time.perf_counter() - began) * frames

    def build(self, threads: int) -> None:
        """Write all crops that an earlier run has not written, then seal the shards."""
        for other in self.out.parent.glob(f".{STORE}.*.work"):
            if other != self.work:
                shutil.rmtree(other)
        done = self.work / ".done"
        done.mkdir(parents=True, exist_ok=True)
        slots = self.slots()
        missing = [n for n in range(len(self.sources)) if not (done / str(n)).is_file()]
        if len(missing) < len(self.sources):
            log.info("%d fields of view were stored before", len(self.sources) - len(missing))
        if missing:
            zarr.open_group(self.work, mode="a").attrs["dynaclr"] = self.facts.as_json()
            self.writer.create()
        np.save(self.work / SLOTS, slots)
        with ThreadPoolExecutor(threads) as pool:
            for number, lost in zip(
                missing,
                map_ahead(pool, lambda n: self._store(n, slots), missing, 2 * threads),
                strict=True,
            ):
                write_json(done / str(number), lost)
                log.info("%s: %s stored", self.entry.name, self.places[number][1])
            list(map_ahead(pool, self.writer.seal, range(self.writer.n_shards), threads))
        self._losses = [read_json(done / str(n)) for n in range(len(self.sources))]
        for folder in (done, self.work / ".raw"):
            shutil.rmtree(folder)

    def slots(self) -> NDArray[np.int64]:
        """Place of each row: lineage by lineage, and by frame within a track."""
        names = ("t", "branch", "lineage_id")
        fov = self.runs.rows(np.arange(len(self.sources)))
        order = np.lexsort((*(self.index.column(name) for name in names), fov))
        slots = np.empty(len(order), np.int32)
        slots[order] = np.arange(len(order))
        return slots

    def _store(self, number: int, slots: NDArray) -> dict[str, float]:
        """Store a field of view, frame by frame; tell what was lost by rounding."""
        reader, lost = self._reader(number), _Loss()
        for rows in self._blocks(number):
            crops = self._read(reader, number, rows)
            if self.facts.normalization is not None:
                crops = self._encoded(number, rows, crops, lost)
            whole = np.zeros((len(rows), *self.writer.shape[1:]), self.dtype)
            whole[:, :, :, : crops.shape[3], : crops.shape[4]] = crops
            self.writer.write(slots[rows].astype(np.int64), whole)
        return asdict(lost)

    def _blocks(self, number: int) -> Iterator[NDArray[np.int64]]:
        rows = np.arange(self.bounds[number], self.bounds[number + 1])
        for start in range(0, len(rows), _ROWS):
            yield rows[start : start + _ROWS]

    def _reader(self, number: int) -> PatchReader:
        """A reader of one field of view whose cache no other one's chunks displace."""
        source = [self.sources[number]]
        reader = PatchReader(source, self.facts.depth, 0, self.read_dtype, threads=1)
        reader.chunks.keep(2 * reader.chunks.frame_bytes)
        return reader

    def _read(self, reader: PatchReader, number: int, rows: NDArray[np.int64]) -> NDArray[Any]:
        source = np.zeros(len(rows), np.int64)
        t, y, x = (self.index.column(name)[rows] for name in ("t", "y", "x"))
        shrink = self.sources[number].position.levels
        factor = shrink[self.facts.level].scale[3] / shrink[0].scale[3]
        if factor != 1:
            y, x = ((c.astype(np.float64) + 0.5) / factor - 0.5 for c in (y, x))
        z = None if self.first_plane is None else self.first_plane[number, t]
        return reader.read(source, t, y, x, z=z)

    def _encoded(
        self, number: int, rows: NDArray[np.int64], crops: NDArray, lost: _Loss
    ) -> NDArray[Any]:
        """Normalize and round; markers that are absent stay zero."""
        t = self.index.column("t")[rows]
        frame = t if self.center.shape[1] > 1 else np.zeros_like(t)
        center, spread = (
            values[number, frame][:, :, None, None, None] for values in (self.center, self.spread)
        )
        wanted = (crops.astype(np.float32) - center) / spread
        step = (HIGHEST - LOWEST) / 255
        if self.dtype == np.float16:
            limits = np.finfo(np.float16)
            encoded = wanted.clip(limits.min, limits.max).astype(np.float16)
            found = encoded.astype(np.float32)
        else:
            encoded = ((wanted - LOWEST) / step).round().clip(0, 255).astype(np.uint8)
            found = encoded * np.float32(step) + np.float32(LOWEST)
        present = np.array(self.sources[number].channels) >= 0
        lost.add(found[:, present] - wanted[:, present])
        encoded[:, ~present] = 0
        return encoded

    def report(self) -> dict[str, Any]:
        """Facts, and the bytes of all crops before compression."""
        return self.facts.as_json() | {
            "bytes": self.n_bytes,
            "compressor": self.config.compressor,
            "pixels": str(self.dtype),
        }

    def loss(self) -> dict[str, Any]:
        """What was lost by rounding normalized pixels, in spreads."""
        if self.facts.normalization is None:
            return {}
        n = sum(lost["n"] for lost in self._losses)
        squares = sum(lost["squares"] for lost in self._losses)
        largest = max(lost["largest"] for lost in self._losses)
        loss = {"rms": (squares / max(n, 1)) ** 0.5, "largest": largest}
        log.info("rounding lost %.2g spreads (rms), at most %.2g", loss["rms"], largest)
        return {"loss": loss}


@dataclass
class _Loss:
    """Difference of stored pixels from what they stand for."""

    n: int = 0
    squares: float = 0.0
    largest: float = 0.0

    def add(self, difference: NDArray[np.float32]) -> None:
        """Count some more pixels."""
        if difference.size:
            self.n += difference.size
            self.squares += float(np.square(difference, dtype=np.float64).sum())
            self.largest = max(self.largest, float(np.abs(difference).max()))
