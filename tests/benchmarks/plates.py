"""Plates, tracks and collections of any chunking, for the benchmarks of reading."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from iohub.ngff import open_ome_zarr
from scipy.ndimage import gaussian_filter

from dynaclr.config import ExperimentConfig
from dynaclr.data import compute_statistics
from dynaclr.index import build_index, merge_indexes

CHANNELS = ("Phase", "GFP")
WELLS = {"mock": "A/1", "infected": "B/1"}


@dataclass(frozen=True)
class Case:
    """A plate: edge of its images in pixels, edge of its chunks, and whether they are sharded."""

    edge: int
    chunk: int
    sharded: bool = False
    depth: int = 1
    fovs: int = 8
    frames: int = 20
    cells: int = 100
    dtype: str = "uint16"

    @property
    def name(self) -> str:
        """Short name for tables."""
        kind = "sharded" if self.sharded else "planes" if self.chunk == self.edge else "chunks"
        unusual = "" if self.dtype == "uint16" else f", {self.dtype}"
        unusual += "" if self.cells == 100 else f", {self.cells} cells"
        return f"{self.chunk} {kind}, {'3-D' if self.depth > 1 else '2-D'}{unusual}"


def make_collection(case: Case, folder: Path) -> tuple[Path, Path, ExperimentConfig]:
    """Make a plate and its merged collection; give results, collection and entry."""
    fovs = [f"{well}/{i}" for well in WELLS.values() for i in range(case.fovs // 2)]
    make_plate(case, fovs, folder / "plate.zarr")
    make_tracks(case, fovs, folder / "tracks")
    entry = ExperimentConfig(
        name="plate",
        data_path=folder / "plate.zarr",
        tracks_path=folder / "tracks",
        channels=[{"name": name, "marker": name.lower()} for name in CHANNELS],
        condition_wells={name: [well] for name, well in WELLS.items()},
        interval_minutes=30,
        start_hpi=0,
    )
    results = folder / "results"
    build_index(entry, results / "plate")
    compute_statistics(entry, results / "plate")
    options = {"train": ["plate"], "validation_fov_fraction": 0.25}
    merge_indexes([results / "plate"], folder / "collection", **options)
    return results, folder / "collection", entry


def make_plate(case: Case, fovs: list[str], path: Path) -> None:
    """Write one field of view; the others are hard links to its chunks, so that disk is spared."""
    shape = (case.frames, len(CHANNELS), case.depth, case.edge, case.edge)
    chunks = (1, 1, 1, case.chunk, case.chunk)
    whole = (1, len(CHANNELS), case.depth, case.edge, case.edge)
    ratio = tuple(n // c for n, c in zip(whole, chunks, strict=True)) if case.sharded else None
    rng = np.random.default_rng(0)
    version = "0.5" if case.sharded else "0.4"
    with open_ome_zarr(
        path, layout="hcs", mode="w-", channel_names=list(CHANNELS), version=version
    ) as plate:
        positions = [plate.create_position(*fov.split("/")) for fov in fovs]
        arrays = [
            position.create_zeros(
                "0", shape, np.dtype(case.dtype), chunks=chunks, shards_ratio=ratio
            )
            for position in positions
        ]
        smooth = gaussian_filter(rng.normal(size=(case.edge, case.edge)), 3)
        scene = 1000 + 200 * smooth / smooth.std()
        for t in range(case.frames):
            noise = rng.normal(0, 20, shape[1:]).astype(np.float32)
            arrays[0][t] = (scene + noise).clip(0, 65535).astype(case.dtype)
    for fov in fovs[1:]:
        shutil.rmtree(path / fov / "0")
        shutil.copytree(path / fovs[0] / "0", path / fov / "0", copy_function=os.link)


def make_tracks(case: Case, fovs: list[str], folder: Path) -> None:
    """Cells that wander; each is seen in every frame."""
    rng = np.random.default_rng(1)
    for fov in fovs:
        start = rng.uniform(0, case.edge, (case.cells, 1, 2))
        steps = rng.normal(0, 4, (case.cells, case.frames, 2)).cumsum(axis=1)
        position = (start + steps).clip(0, case.edge - 1)
        table = pd.DataFrame(
            {
                "track_id": np.repeat(np.arange(1, case.cells + 1), case.frames),
                "t": np.tile(np.arange(case.frames), case.cells),
                "y": position[..., 0].ravel(),
                "x": position[..., 1].ravel(),
                "parent_track_id": -1,
            }
        )
        (folder / fov).mkdir(parents=True)
        table.to_csv(folder / fov / "tracks.csv", index=False)
