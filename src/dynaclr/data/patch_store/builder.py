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

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.data.loading.observation_reader import PatchConfig, patch_sources
from dynaclr.data.patch_store.reader import (
    HIGHEST,
    LOWEST,
    PIXELS,
    REPORT,
    SLOTS,
    STORE,
    WHOLE_STACK,
    StoreFacts,
    side_for,
)
from dynaclr.data.patch_store.requirements import must_agree, must_be_as_deep, must_normalize_alike
from dynaclr.data.patch_store.writer import ShardWriter
from dynaclr.data.pixels.chunks import map_ahead
from dynaclr.data.pixels.layout import position_layout
from dynaclr.data.pixels.patch_reader import PatchReader, PatchSource
from dynaclr.data.statistics.lookup import (
    NormalizationConfig,
    first_planes,
    leading_markers,
    normalizers,
    read_statistics,
)
from dynaclr.index import MultiExperimentIndex
from dynaclr.index.fovs import FovRuns
from dynaclr.io import Plate, Position
from dynaclr.io.artifacts import atomic_path, digest_json, read_digest, read_json, write_json

log = logging.getLogger(__name__)

# Bytes that a thread takes for the observations that it reads and writes at a time.
_BLOCK_BYTES = 64 << 20


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
    log.info(
        "%s: %d crops of %s, %.2f GB",
        entry.name,
        job.facts.n,
        " x ".join(map(str, job.writer.shape[1:])),
        job.n_bytes / 1e9,
    )
    if dry_run:
        return job.report() | {"seconds": round(job.estimate() / threads, 3)}
    job.build(threads)
    report = job.report() | job.loss()
    with atomic_path(job.out) as temporary:
        os.rename(job.store, temporary)
    write_json(job.out.with_name(REPORT), report)
    shutil.rmtree(job.work)
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
        self.registry = {entry.name: entry}
        self.index = MultiExperimentIndex.from_parquet([folder])
        self.runs = FovRuns(self.index)
        self.places = list(zip(self.runs.experiment, self.runs.fov, strict=True))
        self.statistics = read_statistics(folder.parent, [entry.name])
        self.bounds = np.append(self.runs.start, len(self.index))
        self.sources, self.facts = self._plan(cuts)
        self.read_dtype = PatchReader(self.sources, self.facts.depth, 0, "native").dtype
        normal = self.config.dtype != "native"
        self.dtype = np.dtype(self.config.dtype) if normal else self.read_dtype
        shape = (self.facts.n, len(self.facts.markers), self.facts.depth, *self.facts.side)
        key = digest_json(self.facts.as_json())[:12]
        self.work = self.out.with_name(f".{STORE}.{key}.work")
        self.store, self.done = self.work / "store", self.work / "done"
        self.writer = ShardWriter(
            self.store / PIXELS, self.work / "raw", shape, self.dtype, self.config.compressor
        )
        self.n_bytes = self.facts.n * self.writer.chunk_bytes
        self._prepare_planes()
        self._prepare_normalization(cuts[0].normalization)

    def _plan(self, cuts: list[Cut]) -> tuple[list[PatchSource], StoreFacts]:
        """What the store must hold for all cuts, and how it is read from the plate."""
        plate = Plate(self.entry.data_path)
        positions = [plate.positions[fov] for _, fov in self.places]
        wanted = {marker for cut in cuts for marker in cut.patches.markers}
        markers = tuple(marker for marker in self.entry.markers if marker in wanted)
        sources, side = self._widest(cuts, markers, positions)
        depth, window, leading = self._window(cuts, positions)
        normalization = None
        if self.config.dtype != "native":
            chosen = {cut.normalization for cut in cuts}
            must_normalize_alike(self.entry, chosen)
            normalization = asdict(chosen.pop())
        folder = self.out.parent
        facts = StoreFacts(
            cells=read_digest(folder / "cells.parquet"),
            statistics=read_digest(folder / "statistics.parquet"),
            plate=plate.digest(),
            n=len(self.index),
            markers=markers,
            side=side,
            depth=depth,
            z_window=window,
            leading=leading,
            level=sources[0].level,
            dtype=self.config.dtype,
            compressor=self.config.compressor,
            normalization=normalization,
        )
        whole = {"z_start": 0} if window == WHOLE_STACK else {}
        fitted = [
            replace(source, size=self._fitting(source, side), margin=(0, 0), **whole)
            for source in sources
        ]
        return fitted, facts

    def _widest(
        self, cuts: list[Cut], markers: tuple[str, ...], positions: list[Position]
    ) -> tuple[list[PatchSource], tuple[int, int]]:
        """How the fields of view are read, and the extent of crops that hold every cut's patch."""
        needed, levels = [], set()
        for cut in cuts:
            patches = replace(cut.patches, markers=markers)
            sources, _ = patch_sources(
                self.places, positions, self.registry, patches, cut.extraction_size
            )
            needed += [side_for(source.size, source.margin) for source in sources]
            levels |= {source.level for source in sources}
        must_agree(self.entry, levels, "read different resolution levels")
        return sources, tuple(np.max(needed, axis=0).tolist())

    def _window(
        self, cuts: list[Cut], positions: list[Position]
    ) -> tuple[int, str, dict[str, str]]:
        """Planes of a crop, where they lie, and the marker of each well whose focus they follow."""
        windows = {(cut.patches.depth, cut.patches.z_window) for cut in cuts}
        planes = {position.shape[2] for position in positions}
        if len(windows) == 1:
            ((depth, window),) = windows
            if window != "focus" or max(planes) == depth:
                return depth, window, {}
            leading = self._leading(cuts, positions)
            if leading is not None:
                return depth, window, leading
        must_be_as_deep(self.entry, planes)
        return planes.pop(), WHOLE_STACK, {}

    def _leading(self, cuts: list[Cut], positions: list[Position]) -> dict[str, str] | None:
        """Marker of each well whose focus all cuts follow; None where they differ."""
        found: dict[str, str] = {}
        for cut in cuts:
            markers = leading_markers(self.places, self.registry, cut.patches.markers)
            for position, marker in zip(positions, markers, strict=True):
                if marker and found.setdefault(position.well, marker) != marker:
                    return None
        return found

    @staticmethod
    def _fitting(source: PatchSource, side: tuple[int, int]) -> tuple[int, int]:
        shape = position_layout(source.position, source.level).shape[-2:]
        return min(side[0], shape[0]), min(side[1], shape[1])

    def _prepare_planes(self) -> None:
        self.first_plane = None
        planes = np.array([source.position.shape[2] for source in self.sources])
        if self.facts.leading:
            wells = [source.position.well for source in self.sources]
            leading = [self.facts.leading.get(well, "") for well in wells]
            self.first_plane = first_planes(
                self.places, leading, self.statistics, planes, self.facts.depth
            )

    def _prepare_normalization(self, normalization: NormalizationConfig) -> None:
        self.center = self.spread = None
        if self.facts.normalization is not None:
            self.center, self.spread = normalizers(
                self.places,
                self.registry,
                self.facts.markers,
                self.statistics,
                normalization,
            )
            self.spread = np.where(self.spread >= 1e-6, self.spread, 1)

    def estimate(self) -> float:
        """Seconds that one thread takes to read everything, by the first chunk there is."""
        groups = [self._frame_groups(number) for number in range(len(self.sources))]
        first = self.bounds[0] + np.flatnonzero(groups[0] == groups[0][0])
        began = time.perf_counter()
        reader = self._reader(0)
        for rows in self._blocks(first):
            self._read(reader, 0, rows)
        seconds = time.perf_counter() - began
        return seconds * sum(len(np.unique(group)) for group in groups)

    def _frame_groups(self, number: int) -> NDArray[np.int64]:
        """Which of a field of view's rows lie in frames that share their chunks."""
        source = self.sources[number]
        t = self.index.column("t")[self.bounds[number] : self.bounds[number + 1]]
        return t // position_layout(source.position, source.level).chunk[0]

    def build(self, threads: int) -> None:
        """Write all crops that an earlier run has not written, then seal the shards."""
        slots = self.slots()
        self._prepare_folder(slots)
        missing = [n for n in range(len(self.sources)) if not (self.done / str(n)).is_file()]
        if len(missing) < len(self.sources):
            log.info("%d fields of view were stored before", len(self.sources) - len(missing))
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            stored = map_ahead(pool, lambda n: self._store(n, slots), missing, 2 * threads)
            for count, (number, told) in enumerate(zip(missing, stored, strict=True), 1):
                write_json(self.done / str(number), told)
                left = (time.perf_counter() - began) / count * (len(missing) - count)
                fov = self.places[number][1]
                log.info("%s: %s stored; about %.1f minutes left", self.entry.name, fov, left / 60)
            list(map_ahead(pool, self.writer.seal, range(self.writer.n_shards), threads))
        told = [read_json(self.done / str(n)) for n in range(len(self.sources))]
        self._losses = [of_fov["rounding"] for of_fov in told]
        self._leave_out([row for of_fov in told for row in of_fov["unreadable"]], slots)

    def _leave_out(self, rows: list[int], slots: NDArray[np.int32]) -> None:
        """Give no place to rows whose pixels are lost."""
        if not rows:
            return
        log.warning(
            "%s: %d observations cannot be read whole; not stored", self.entry.name, len(rows)
        )
        slots[rows] = -1
        np.save(self.store / SLOTS, slots)

    def _prepare_folder(self, slots: NDArray[np.int32]) -> None:
        """Make the folder of a new store, or take up the one that a killed run left."""
        for other in self.out.parent.glob(f".{STORE}.*.work"):
            # Without a store in it, what it says to be done is void.
            if other != self.work or not self.store.is_dir():
                shutil.rmtree(other)
        self._forget_unreadable()
        self.store.mkdir(parents=True, exist_ok=True)
        self.done.mkdir(exist_ok=True)
        zarr.open_group(self.store, mode="a").attrs["dynaclr"] = self.facts.as_json()
        self.writer.create()
        np.save(self.store / SLOTS, slots)

    def _forget_unreadable(self) -> None:
        """Let fields of view be read again of which something could not be read."""
        files = [self.done / str(n) for n in range(len(self.sources))]
        files = [path for path in files if path.is_file()]
        lost = {path for path in files if read_json(path)["unreadable"]}
        # A sealed shard takes no more crops, so that all are written again. Those that tell of it
        # go last: a run that is killed meanwhile says the same to the next one.
        sealed = (self.store / PIXELS / "c").is_dir()
        for path in sorted(files, key=lost.__contains__) if lost and sealed else lost:
            path.unlink()

    def slots(self) -> NDArray[np.int32]:
        """Place of each row: lineage by lineage, and by frame within a track."""
        names = ("t", "branch", "lineage_id")
        fov = self.runs.rows(np.arange(len(self.sources)))
        order = np.lexsort((*(self.index.column(name) for name in names), fov))
        slots = np.empty(len(order), np.int32)
        slots[order] = np.arange(len(order))
        return slots

    def _store(self, number: int, slots: NDArray) -> dict[str, Any]:
        """Store a field of view, frame by frame; tell what rounding lost, and unreadable rows.

        A row that lacks a pixel of any marker has no place. Of native pixels the plate is read
        for it, so that a model can have the markers that are whole; of normalized ones it is lost.
        """
        reader, lost, unreadable = self._reader(number), _Loss(), []
        for asked in self._blocks(np.arange(self.bounds[number], self.bounds[number + 1])):
            crops, damaged = self._read(reader, number, asked)
            unreadable += asked[damaged].tolist()
            rows, crops = asked[~damaged], crops[~damaged] if damaged.any() else crops
            if self.facts.normalization is not None:
                crops = self._normalized(number, rows, crops)
                finite = np.isfinite(crops).all(axis=(1, 2, 3, 4))
                if not finite.all():
                    self._tell_not_finite(number, rows[~finite])
                    unreadable += rows[~finite].tolist()
                    rows, crops = rows[finite], crops[finite]
                crops = self._encoded(number, crops, lost)
            whole = np.zeros((len(rows), *self.writer.shape[1:]), self.dtype)
            whole[:, :, :, : crops.shape[3], : crops.shape[4]] = crops
            self.writer.write(slots[rows].astype(np.int64), whole)
        return {"rounding": asdict(lost), "unreadable": unreadable}

    def _blocks(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Rows in parts whose crops, in all forms that they take, fit into `_BLOCK_BYTES`."""
        step = max(1, _BLOCK_BYTES // (self._pixel_bytes * int(np.prod(self.writer.shape[1:]))))
        for start in range(0, len(rows), step):
            yield rows[start : start + step]

    @property
    def _pixel_bytes(self) -> int:
        """Bytes that a pixel takes on its way: as it is read, rounded, and put into its crop."""
        rounding = 0 if self.facts.normalization is None else 12
        return self.read_dtype.itemsize + 2 * self.dtype.itemsize + rounding

    def _reader(self, number: int) -> PatchReader:
        """A reader of one field of view whose cache no other one's chunks displace."""
        source = [self.sources[number]]
        reader = PatchReader(source, self.facts.depth, 0, self.read_dtype, threads=1)
        reader.prepare_for_pass()
        return reader

    def _read(
        self, reader: PatchReader, number: int, rows: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Crops of some rows, and which of them cannot be read where the entry lets that pass."""
        source = np.zeros(len(rows), np.int64)
        t, y, x = (self.index.column(name)[rows] for name in ("t", "y", "x"))
        shrink = self.sources[number].position.levels
        factor = shrink[self.facts.level].scale[3] / shrink[0].scale[3]
        if factor != 1:
            y, x = ((c.astype(np.float64) + 0.5) / factor - 0.5 for c in (y, x))
        z = None if self.first_plane is None else self.first_plane[number, t]
        damaged = np.zeros(len(rows), bool)
        skip = {"damaged": damaged} if self.entry.unreadable == "skip" else {}
        return reader.read(source, t, y, x, z=z, **skip), damaged

    def _tell_not_finite(self, number: int, rows: NDArray[np.int64]) -> None:
        """Warn of rows whose pixels cannot be rounded, or end where the entry forbids that."""
        t, fov = self.index.column("t")[rows[0]], self.places[number][1]
        message = (
            f"experiment {self.entry.name}: frame {t} of field of view {fov} has pixels that are "
            f"not finite, which a store of {self.dtype} cannot hold"
        )
        if self.entry.unreadable != "skip":
            raise UserError(
                f"{message}. Store native pixels (`patches: true`), exclude this field of view, or "
                "say `unreadable: skip` in the experiment's entry."
            )
        log.warning("%s; it is left out, and so are %d others", message, len(rows) - 1)

    def _normalized(
        self, number: int, rows: NDArray[np.int64], crops: NDArray
    ) -> NDArray[np.float32]:
        """Crops in spreads from the center."""
        t = self.index.column("t")[rows]
        frame = t if self.center.shape[1] > 1 else np.zeros_like(t)
        center, spread = (
            values[number, frame][:, :, None, None, None] for values in (self.center, self.spread)
        )
        wanted = crops.astype(np.float32)
        wanted -= center
        wanted /= spread
        return wanted

    def _encoded(self, number: int, wanted: NDArray[np.float32], lost: _Loss) -> NDArray[Any]:
        """Round normalized crops; markers that are absent stay zero."""
        step = np.float32((HIGHEST - LOWEST) / 255)
        if self.dtype == np.float16:
            limits = np.finfo(np.float16)
            encoded = wanted.clip(limits.min, limits.max).astype(np.float16)
            found = encoded.astype(np.float32)
        else:
            scaled = wanted - np.float32(LOWEST)
            scaled /= step
            encoded = scaled.round(out=scaled).clip(0, 255, out=scaled).astype(np.uint8)
            del scaled
            found = encoded.astype(np.float32)
            found *= step
            found += np.float32(LOWEST)
        found -= wanted
        present = np.array(self.sources[number].channels) >= 0
        lost.add(found[:, present])
        encoded[:, ~present] = 0
        return encoded

    def report(self) -> dict[str, Any]:
        """Facts, and the bytes of all crops before compression."""
        return self.facts.as_json() | {
            "bytes": self.n_bytes,
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
            # Crop by crop: squares in double precision would take twice the crops' memory.
            self.squares += sum(
                float(np.square(crop, dtype=np.float64).sum()) for crop in difference
            )
            self.largest = max(self.largest, float(difference.max()), -float(difference.min()))
