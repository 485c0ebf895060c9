"""Memory of the workers of a loader, together, at indexes of several sizes.

    python tests/benchmarks/workers.py [--rows 1e5 1e7] [--workers 4]

The plate has no pixels: a chunk that is not there is read as zeros, so that what is measured is
what the workers hold besides pixels. "Private" counts anonymous pages alone; those of the mapped
index belong to all processes of the node together.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from iohub.ngff import open_ome_zarr

sys.path.insert(0, str(Path(__file__).parent))
from sampling import lineages_and_anchors, positives
from tables import as_batch, make_rows

from dynaclr.config import ExperimentConfig
from dynaclr.data import (
    FieldsOfView,
    MultiExperimentTripletDataset,
    NormalizationConfig,
    ObservationReader,
    PatchConfig,
    ResumableLoader,
)
from dynaclr.data.loading.dataset import IndexColumn
from dynaclr.index import MultiExperimentIndex
from dynaclr.sampling import FlexibleBatchSampler

EXPERIMENTS, BATCH = 32, 128


def private_mb(process: int) -> float:
    """Megabytes of anonymous memory of a process."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Anonymous:")) / 1024


def empty_plate(path: Path, fovs: list[str]) -> None:
    """A plate of metadata alone, long enough for three days at ten minutes a frame."""
    with open_ome_zarr(path, layout="hcs", mode="w-", channel_names=["Phase"]) as plate:
        for fov in fovs:
            position = plate.create_position(*fov.split("/"))
            position.create_zeros("0", (433, 1, 1, 256, 256), np.uint16, chunks=(1, 1, 1, 256, 256))


def open_reader(index: MultiExperimentIndex, plate: Path) -> ObservationReader:
    """Reader of an index whose experiments all share one plate."""
    _, fovs = index.codes("fov")
    wells = sorted({fov.rsplit("/", 1)[0] for fov in fovs})
    registry = {
        name: ExperimentConfig(
            name=name,
            data_path=plate,
            tracks_path=plate,
            channels=[{"name": "Phase", "marker": "phase"}],
            condition_wells={"any": wells},
            interval_minutes=10,
            start_hpi=0,
            empty_chunks=True,
        )
        for name in index.experiments
    }
    statistics = pd.DataFrame(
        [
            {"level": "fov", "experiment": name, "fov": fov, "t": -1, "marker": "phase"}
            for name in registry
            for fov in fovs
        ]
    ).assign(median=0.0, std=1.0)
    patches = PatchConfig(("phase",), (64, 64))
    fields = FieldsOfView(index, registry)
    return ObservationReader(fields, statistics, patches, NormalizationConfig(), 0)


def run_size(n: int, workers: int) -> None:
    """Print what the workers of one size hold after some batches."""
    rows = make_rows(n, EXPERIMENTS)
    columns, has_positive = lineages_and_anchors(rows)
    with tempfile.TemporaryDirectory() as name:
        folder, batch = Path(name), as_batch(rows, columns)
        path = str(folder / "index.arrow")
        with pa.OSFile(path, "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        del batch, columns
        index = MultiExperimentIndex.from_merged(folder / "index.arrow")
        empty_plate(folder / "plate.zarr", index.codes("fov")[1])
        anchors = index.valid_anchors(has_positive=has_positive)
        numbers = [index.column(name) for name in ("t", "branch", "branch_end")]
        drawer = positives(*numbers, index.codes("experiment")[0])
        dataset = MultiExperimentTripletDataset(
            open_reader(index, folder / "plate.zarr"),
            anchors.rows,
            drawer.sample,
            {"lineage_id": IndexColumn(index, "lineage_id")},
        )
        table = anchors.frame(["experiment", "condition", "hours"])
        loader = ResumableLoader(dataset, FlexibleBatchSampler(table, BATCH), workers)
        batches = iter(loader)
        for _ in range(4 * workers):
            next(batches)
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        held = sorted(map(private_mb, map(int, children)))[-workers:]
        print(f"| {len(index):,} | {sum(held):.0f} | {private_mb(os.getpid()):.0f} |", flush=True)


def main() -> None:
    """Run every size in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=float, default=[1e5, 1e7])
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.one:
        run_size(chosen.one, chosen.workers)
        return
    print(f"| rows | {chosen.workers} workers together, private MB | main process, private MB |")
    print("|---|---:|---:|", flush=True)
    for n in chosen.rows:
        command = [sys.executable, __file__, "--one", str(int(n))]
        subprocess.run([*command, "--workers", str(chosen.workers)], check=True)


if __name__ == "__main__":
    main()
