"""Building of an experiment's patch store: each chunk of the plate is read once."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from dynaclr.config import ExperimentConfig, UserError
from dynaclr.data.parallel import map_ahead
from dynaclr.data.patch_store.encoding import RoundingLoss, encoded, normalized, total_loss
from dynaclr.data.patch_store.plan import PatchSpec, plan_store
from dynaclr.data.patch_store.reader import PIXELS, REPORT, SLOTS, STORE
from dynaclr.data.patch_store.writer import ShardWriter
from dynaclr.data.pixels.patch_geometry import FieldsOfView, center_at_level, level_factors
from dynaclr.data.pixels.patch_reader import PatchReader
from dynaclr.data.statistics.focus import first_planes
from dynaclr.data.statistics.normalization import normalizers, read_statistics
from dynaclr.index import MultiExperimentIndex
from dynaclr.io.artifacts import atomic_path, digest_json, read_json, write_json

log = logging.getLogger(__name__)

# Bytes that a thread takes for the observations that it reads and writes at a time.
_BLOCK_BYTES = 64 << 20


def build_patches(
    entry: ExperimentConfig,
    experiment_dir: Path,
    specs: Sequence[PatchSpec],
    threads: int = 2,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Store the patches of an experiment's observations for training.

    Parameters
    ----------
    entry : ExperimentConfig
    experiment_dir : Path
        Folder of the experiment's results: index and statistics. Gets ``patches.zarr`` and
        ``patches.json``.
    specs : sequence of PatchSpec
        What the store must serve.
    threads : int
        Fields of view that are read at the same time.
    dry_run : bool
        Only say what it will hold and how many bytes it will have.

    Returns
    -------
    dict
        What is in ``patches.json``: the facts, bytes and, of normalized pixels, the rounding error.

    Raises
    ------
    UserError
        When the specs cannot be served by one store, or pixels cannot be read.
    """
    builder = _Builder(entry, Path(experiment_dir), specs)
    log.info(
        "%s: %d crops of %s, %.2f GB",
        entry.name,
        builder.facts.n,
        " x ".join(map(str, builder.writer.shape[1:])),
        builder.n_bytes / 1e9,
    )
    report = builder.facts.as_json()
    report |= {"bytes": builder.n_bytes, "pixels": str(builder.dtype)}
    if dry_run:
        return report
    losses = builder.build(threads)
    if builder.facts.normalization is not None:
        loss = total_loss(losses)
        log.info("rounding error %.2g spreads (rms), at most %.2g", loss["rms"], loss["largest"])
        report["loss"] = loss
    with atomic_path(builder.out) as temporary:
        os.rename(builder.store, temporary)
    write_json(builder.out.with_name(REPORT), report)
    shutil.rmtree(builder.work)
    return report


class _Builder:
    """One store that is being built, in a folder that a killed run leaves and the next resumes."""

    def __init__(self, entry: ExperimentConfig, folder: Path, specs: Sequence[PatchSpec]) -> None:
        if entry.patch_store is None or not specs:
            raise UserError(
                f"experiment {entry.name}: nothing to store. Say `patches: true` in its entry, and "
                "use it in a model."
            )
        self.entry, self.out = entry, folder / STORE
        self.index = MultiExperimentIndex.from_parquet([folder], labels=False)
        self.fields = FieldsOfView(self.index, {entry.name: entry})
        self.bounds = np.append(self.fields.first_row, len(self.index))
        self.sources, self.facts = plan_store(entry, entry.patch_store, self.fields, specs, folder)
        self.read_dtype = PatchReader(self.sources, self.facts.depth, 0, "native").dtype
        normalize = self.facts.normalization is not None
        self.dtype = np.dtype(self.facts.dtype) if normalize else self.read_dtype
        key = digest_json(self.facts.as_json())[:12]
        self.work = self.out.with_name(f".{STORE}.{key}.work")
        self.store, self.done = self.work / "store", self.work / "done"
        shape = (self.facts.n, len(self.facts.markers), self.facts.depth, *self.facts.side)
        self.writer = ShardWriter(
            self.store / PIXELS, self.work / "raw", shape, self.dtype, self.facts.compressor
        )
        self.n_bytes = self.facts.n * self.writer.chunk_bytes
        statistics = read_statistics(folder.parent, [entry.name])
        self.first_plane = None
        if self.facts.leading:
            wells = [position.well for position in self.fields.positions]
            leading = [self.facts.leading.get(well, "") for well in wells]
            self.first_plane = first_planes(self.fields, leading, statistics, self.facts.depth)
        if normalize:
            self.center, self.spread = normalizers(
                self.fields, self.facts.markers, statistics, specs[0].normalization
            )
            self.spread = np.where(self.spread >= 1e-6, self.spread, 1)

    def build(self, threads: int) -> list[dict[str, Any]]:
        """Write all crops that an earlier run has not written, then finish the shards.

        Returns
        -------
        list of dict
            Rounding error of each field of view.
        """
        slots = self.slots()
        self._prepare_folder(slots)
        missing = [n for n in range(len(self.sources)) if not (self.done / str(n)).is_file()]
        if len(missing) < len(self.sources):
            log.info("%d fields of view were stored before", len(self.sources) - len(missing))
        began = time.perf_counter()
        with ThreadPoolExecutor(threads) as pool:
            stored = map_ahead(pool, lambda n: self._store(n, slots), missing, 2 * threads)
            for count, (number, result) in enumerate(zip(missing, stored, strict=True), 1):
                write_json(self.done / str(number), result)
                left = (time.perf_counter() - began) / count * (len(missing) - count)
                fov = self.fields.names[number][1]
                log.info("%s: %s stored; about %.1f minutes left", self.entry.name, fov, left / 60)
            list(map_ahead(pool, self.writer.finish, range(self.writer.n_shards), threads))
        results = [read_json(note) for note in self._notes()]
        if unreadable := [row for result in results for row in result["unreadable"]]:
            count = len(unreadable)
            log.warning("%s: %d observations cannot be read; not stored", self.entry.name, count)
            slots[unreadable] = -1
            np.save(self.store / SLOTS, slots)
        return [result["rounding"] for result in results]

    def _notes(self) -> list[Path]:
        """File for each field of view that is stored: what rounding lost, and unreadable rows."""
        files = [self.done / str(number) for number in range(len(self.sources))]
        return [path for path in files if path.is_file()]

    def _prepare_folder(self, slots: NDArray[np.int32]) -> None:
        """Make the folder of a new store, or resume the one that a killed run left."""
        # What could not be read may be readable now.
        again = [note for note in self._notes() if read_json(note)["unreadable"]]
        if again and any(map(self.writer.is_finished, range(self.writer.n_shards))):
            # No crop can be added. Moved first, so that a run that is killed meanwhile leaves no
            # half of it.
            os.rename(self.work, self.work.with_suffix(".discarded.work"))
        else:
            for note in again:
                note.unlink()
        for other in self.out.parent.glob(f".{STORE}.*.work"):
            # Without a store in it, the notes of what is stored are void.
            if other != self.work or not self.store.is_dir():
                shutil.rmtree(other)
        self.store.mkdir(parents=True, exist_ok=True)
        self.done.mkdir(exist_ok=True)
        zarr.open_group(self.store, mode="a").attrs["dynaclr"] = self.facts.as_json()
        self.writer.create()
        np.save(self.store / SLOTS, slots)

    def slots(self) -> NDArray[np.int32]:
        """Number of each row's crop: lineage by lineage, and by frame within a track."""
        names = ("t", "branch", "lineage_id")
        field = np.repeat(np.arange(len(self.fields)), np.diff(self.bounds))
        order = np.lexsort((*(self.index.column(name) for name in names), field))
        slots = np.empty(len(order), np.int32)
        slots[order] = np.arange(len(order))
        return slots

    def _store(self, number: int, slots: NDArray[np.int32]) -> dict[str, Any]:
        """Store a field of view, frame by frame; return the rounding error and unreadable rows.

        A row that lacks a pixel of any marker is not stored. Of native pixels the plate is read
        for it, so that a model can have the markers that are whole.
        """
        reader, loss, left_out = self._reader(number), RoundingLoss(), []
        present = np.array(self.sources[number].channels) >= 0
        for rows in self._blocks(np.arange(self.bounds[number], self.bounds[number + 1])):
            crops, unreadable = self._read(reader, number, rows)
            if self.facts.normalization is not None:
                # There is nothing to normalize pixels with that were not read for the statistics.
                unreadable |= np.isnan(self._center_and_spread(number, rows)[0]).any(axis=1)
            left_out += rows[unreadable].tolist()
            if unreadable.any():
                rows, crops = rows[~unreadable], crops[~unreadable]
            if self.facts.normalization is not None:
                crops = normalized(crops, *self._center_and_spread(number, rows))
                crops = encoded(crops, self.dtype, present, loss)
            # Of images smaller than the store's crops, the rest stays zero.
            whole = np.zeros((len(rows), *self.writer.shape[1:]), self.dtype)
            whole[:, :, :, : crops.shape[3], : crops.shape[4]] = crops
            self.writer.write(slots[rows].astype(np.int64), whole)
        return {"rounding": asdict(loss), "unreadable": left_out}

    def _blocks(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        """Rows in parts whose crops, in all forms that they take, fit into `_BLOCK_BYTES`."""
        # As it is read, rounded (in single precision), and put into its crop.
        rounding = 0 if self.facts.normalization is None else 12
        pixel_bytes = self.read_dtype.itemsize + 2 * self.dtype.itemsize + rounding
        step = max(1, _BLOCK_BYTES // (pixel_bytes * int(np.prod(self.writer.shape[1:]))))
        for start in range(0, len(rows), step):
            yield rows[start : start + step]

    def _reader(self, number: int) -> PatchReader:
        """A reader of one field of view whose cache no other one's chunks displace."""
        source = [self.sources[number]]
        reader = PatchReader(source, self.facts.depth, 0, self.read_dtype, threads=1)
        reader.keep_frames()
        return reader

    def _read(
        self, reader: PatchReader, number: int, rows: NDArray[np.int64]
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Crops of some rows, and which of them cannot be read where the entry permits that."""
        factor = float(level_factors([self.sources[number]])[0])
        t = self.index.column("t")[rows]
        y, x = (center_at_level(self.index.column(axis)[rows], factor) for axis in ("y", "x"))
        z = None if self.first_plane is None else self.first_plane[number, t]
        unreadable = np.zeros(len(rows), bool)
        skip = unreadable if self.entry.unreadable == "skip" else None
        source = np.zeros(len(rows), np.int64)
        return reader.read(source, t, y, x, z=z, unreadable=skip), unreadable

    def _center_and_spread(
        self, number: int, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Center and spread of some rows of a field of view, each of shape (B, C)."""
        t = self.index.column("t")[rows]
        frame = t if self.center.shape[1] > 1 else np.zeros_like(t)
        return self.center[number, frame], self.spread[number, frame]
