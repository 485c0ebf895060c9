"""Patches, statistics and prediction against what merely decoding or copying the same bytes takes.

    python tests/benchmarks/reading.py [--cases ...] [--batches 8] [--small]
    python tests/benchmarks/reading.py --profile plates|store|prediction [--cases ...]

Every case has plates of its own, made in a temporary folder (about 4 GB for all). What is compared
runs in turns, batch by batch, and medians are given; everything has been read once before, so that
the page cache is warm. Prints the rows of the table in the README.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import logging
import pstats
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from inspect import signature
from pathlib import Path

import numpy as np
import tensorstore as ts
import torch

sys.path.insert(0, str(Path(__file__).parent))
from plates import CHANNELS, Case, make_collection

from dynaclr.data import (
    MultiExperimentDataModule,
    MultiExperimentTripletDataset,
    NormalizationConfig,
    PatchConfig,
    PatchSpec,
    SamplingConfig,
    build_patches,
)
from dynaclr.data.loading.resumable_loader import EpochBatches
from dynaclr.data.pixels.patch_reader import patch_origin
from dynaclr.data.statistics.compute import statistics_table
from dynaclr.inference import embed
from dynaclr.inference.observations import Observations
from dynaclr.io import Plate

SIZE, ANCHORS, THREADS = 160, 128, 2
# Most patches of a batch of `dynaclr embed`.
EMBEDDED = signature(embed).parameters["batch_size"].default
CASES = [
    *(
        Case(edge, chunk, sharded, depth)
        for depth in (1, 5)
        for edge, chunk, sharded in (
            (1024, 1024, 0),
            (2048, 2048, 0),
            (2048, 256, 0),
            (2048, 256, 1),
        )
    ),
    Case(1024, 1024, dtype="float32"),
    # As many cells on a square millimetre as in planes of 2048 pixels.
    *(Case(1024, 1024, depth=depth, cells=25) for depth in (1, 5)),
]
# Chunks that tensorstore decodes ahead of the one that is used.
AHEAD = 16
SMALL = [Case(256, 256, fovs=4, frames=6, cells=30), Case(256, 64, True, 3, 4, 6, 30)]


class Setup:
    """A case's collection, its batches, and the same pixels through tensorstore alone."""

    def __init__(self, case: Case, folder: Path) -> None:
        self.case, self.size = case, min(SIZE, case.edge // 4)
        self.results, self.collection, self.entry = make_collection(case, folder)
        self.patches = PatchConfig(("phase", "gfp"), (self.size, self.size), case.depth)
        module = self.module()
        self.index = module.index
        self.dataset = module._datasets["train"]
        self.cells = Observations(self.results / "plate", self.patches, NormalizationConfig())
        self.batches = list(EpochBatches(module.batches("train"), self.dataset))
        pool = ts.Context({"cache_pool": {"total_bytes_limit": 0}})
        positions = Plate(self.entry.data_path).positions
        codes, names = self.index.codes("fov")
        self.fov = codes
        self.arrays = [_opened(positions[name].levels[0].path, pool) for name in names]
        self.chunk = self.arrays[0].chunk_layout.read_chunk.shape

    def module(self) -> MultiExperimentDataModule:
        """The data module as a training has it, without a cache between batches."""
        module = MultiExperimentDataModule(
            self.collection,
            self.results,
            self.patches,
            tau_range=(0.5, 2.0),
            batch_size=ANCHORS,
            cache_mb=0,
            sampling=SamplingConfig(temporal_enrichment=True),
        )
        module.setup()
        return module

    def stored(self) -> MultiExperimentTripletDataset:
        """The same dataset with a patch store."""
        entry = self.entry.model_copy(update={"patches": True})
        spec = PatchSpec(self.patches, self.patches.size, NormalizationConfig())
        build_patches(entry, self.results / "plate", [spec])
        dataset = self.module()._datasets["train"]
        assert dataset.reader._stores
        return dataset

    def predict(self) -> None:
        """Read all cells in the order of the index, as embedding does."""
        for _batch in self.cells.batches(EMBEDDED):
            pass

    def locations(self, rows: np.ndarray) -> tuple[np.ndarray, ...]:
        """Field of view, frame and first pixel of each patch."""
        first = (
            patch_origin(self.index.column(axis)[rows], self.size, self.case.edge)
            for axis in ("y", "x")
        )
        return self.fov[rows], self.index.column("t")[rows], *first

    def unique_chunks(self, rows: np.ndarray) -> dict[tuple[int, ...], list[int]]:
        """Chunks that patches touch, and the number of its patches in each."""
        fov, t, y, x = (values.tolist() for values in self.locations(rows))
        edge, found = self.chunk[3], {}
        for b in range(len(fov)):
            for c in range(len(CHANNELS)):
                for z in range(self.case.depth):
                    for cy in range(y[b] // edge, (y[b] + self.size - 1) // edge + 1):
                        for cx in range(x[b] // edge, (x[b] + self.size - 1) // edge + 1):
                            found.setdefault((fov[b], t[b], c, z, cy, cx), []).append(b)
        return found

    def empty(self, n: int) -> np.ndarray:
        """An array for some patches."""
        shape = (n, len(CHANNELS), self.case.depth, self.size, self.size)
        return np.empty(shape, self.arrays[0].dtype.numpy_dtype)

    def ceiling(self, rows: np.ndarray, chunks: dict[tuple[int, ...], list[int]]) -> np.ndarray:
        """Decode each chunk that patches touch once with tensorstore and slice it."""
        _, _, y, x = (values.tolist() for values in self.locations(rows))
        out = self.empty(len(rows))
        for (key, patches), pixels in zip(chunks.items(), self.decoded(chunks), strict=True):
            for b in patches:
                self.crop(pixels, key, y[b], x[b], out[b])
        return out

    def crop(
        self, pixels: np.ndarray, key: tuple[int, ...], y: int, x: int, out: np.ndarray
    ) -> None:
        """Copy what a decoded chunk holds of a patch."""
        size, edge = self.size, self.chunk[3]
        c, z, top, left = key[2], key[3], key[4] * edge, key[5] * edge
        y0, y1 = max(y, top), min(y + size, top + edge)
        x0, x1 = max(x, left), min(x + size, left + edge)
        part = pixels[y0 - top : y1 - top, x0 - left : x1 - left]
        out[c, z, y0 - y : y1 - y, x0 - x : x1 - x] = part

    def predicted(self, chunks: dict[tuple[int, ...], list[int]]) -> None:
        """Decode every chunk once with tensorstore and crop all patches from it, by frame."""
        _, _, y, x = (values.tolist() for values in self.locations(np.arange(len(self.index))))
        frame, out = None, None
        for (key, patches), pixels in zip(chunks.items(), self.decoded(chunks), strict=True):
            if key[:2] != frame:
                frame, out = key[:2], self.empty(self.case.cells)
            for b in patches:
                # All cells are seen in all frames, and rows are in the order of frames.
                self.crop(pixels, key, y[b], x[b], out[b % self.case.cells])

    def one_by_one(self, rows: np.ndarray) -> np.ndarray:
        """Read patches one by one, as a dataset that knows single samples does."""
        size = self.size
        return np.stack(
            [
                self.arrays[f][t, :, :, y : y + size, x : x + size].read().result()
                for f, t, y, x in zip(*self.locations(rows), strict=True)
            ]
        )

    def decoded(self, chunks: list[tuple[int, ...]]) -> Iterator[np.ndarray]:
        """Whole chunks, of which some are always on their way, so that all cores decode."""
        waiting: deque[ts.Future] = deque()
        for key in chunks:
            waiting.append(self.begun(*key))
            if len(waiting) > AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def begun(self, fov: int, t: int, c: int, z: int, cy: int, cx: int) -> ts.Future:
        """The reading of a whole chunk."""
        edge = self.chunk[3]
        rows, columns = (slice(i * edge, (i + 1) * edge) for i in (cy, cx))
        return self.arrays[fov][t, c, z, rows, columns].read()

    def every_chunk(self) -> list[tuple[int, ...]]:
        """All chunks of the plate, in order."""
        n = -(-self.case.edge // self.chunk[3])
        shape = (len(self.arrays), self.case.frames, len(CHANNELS), self.case.depth, n, n)
        return list(np.ndindex(shape))


def _opened(path: Path, context: ts.Context) -> ts.TensorStore:
    driver = "zarr3" if (path / "zarr.json").is_file() else "zarr"
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": str(path)}}
    return ts.open(spec, context=context, read=True).result()


def in_turns(methods: dict[str, Callable[[int], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each method over rounds in which all of them run, in changing order.

    A first pass over all rounds is not timed: it fills the page cache and maps the files.
    """
    taken: dict[str, list[float]] = {name: [] for name in methods}
    names = list(methods)
    for number in range(2 * rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            start = time.perf_counter()
            methods[name](number % rounds)
            if number >= rounds:
                taken[name].append(time.perf_counter() - start)
    return {name: float(np.median(times)) for name, times in taken.items()}


def pixels_of(batch: dict) -> np.ndarray:
    """Patches of a batch, anchors first."""
    return np.concatenate([batch[view]["patch"].numpy() for view in ("anchor", "positive")])


def from_plates(setup: Setup, rounds: int) -> dict[str, float]:
    """Training batches straight from the plate."""
    drawn = setup.batches[:rounds]
    rows = [batch[:, :2].T.ravel() for batch in drawn]
    chunks = [setup.unique_chunks(batch) for batch in rows]
    wanted = setup.ceiling(rows[0], chunks[0])
    assert np.array_equal(pixels_of(setup.dataset.__getitems__(drawn[0])), wanted)
    assert np.array_equal(setup.one_by_one(rows[0]), wanted)
    return in_turns(
        {
            "ours": lambda i: setup.dataset.__getitems__(drawn[i]),
            "decode and slice": lambda i: setup.ceiling(rows[i], chunks[i]),
            "patch by patch": lambda i: setup.one_by_one(rows[i]),
        },
        min(rounds, len(drawn)),
    ) | {"chunks of a batch": float(np.mean([len(found) for found in chunks]))}


def from_store(setup: Setup, rounds: int) -> dict[str, float]:
    """The same batches from a patch store, and its bytes read as contiguous blocks."""
    drawn = setup.batches[:rounds]
    dataset = setup.stored()
    folder = setup.results / "plate"
    plain, stored = setup.dataset.__getitems__(drawn[0]), dataset.__getitems__(drawn[0])
    assert np.array_equal(pixels_of(plain), pixels_of(stored))
    n_bytes = pixels_of(stored).nbytes
    files = sorted((folder / "patches.zarr/pixels/c").glob("*/0/0/0/0"))
    files = [file for file in files if file.stat().st_size > n_bytes] or files[:1]

    def contiguous(number: int) -> np.ndarray:
        file = files[number % len(files)]
        out = np.empty(min(n_bytes, file.stat().st_size), np.uint8)
        with file.open("rb", buffering=0) as stream:
            stream.seek((number * n_bytes) % max(file.stat().st_size - out.size, 1))
            stream.readinto(out)
        return out

    def ours(number: int) -> None:
        dataset.__getitems__(drawn[number % len(drawn)])

    # A batch takes some milliseconds, and two of them differed by a half. From the plate it takes
    # some twenty times as long: no need to have it in turns.
    taken = in_turns({"ours": ours, "contiguous blocks": contiguous}, 16 * rounds)
    slow = in_turns(
        {"from the plate": lambda i: setup.dataset.__getitems__(drawn[i % len(drawn)])}, rounds
    )
    return taken | slow


def passes(setup: Setup, rounds: int) -> dict[str, float]:
    """Statistics, and the reading of a prediction pass, against decoding every chunk once."""
    every = setup.every_chunk()
    patches = setup.unique_chunks(np.arange(len(setup.index)))
    patches = {key: patches.get(key, []) for key in every}

    def decode(_: int) -> None:
        for _pixels in setup.decoded(every):
            pass

    return in_turns(
        {
            "statistics": lambda _: statistics_table(setup.entry, THREADS),
            "prediction": lambda _: setup.predict(),
            "decode": decode,
            "decode and copy": lambda _: setup.predicted(patches),
        },
        rounds,
    )


def profile(case: Case, what: str, rounds: int) -> None:
    """Print where one thread spends its time when it reads from plates, a store, or all cells."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(case, Path(folder))
        dataset = setup.stored() if what == "store" else setup.dataset

        def run() -> None:
            if what == "prediction":
                # Embedding reads in a thread of its own, which a profile would not show.
                for start in range(0, len(setup.cells), EMBEDDED):
                    setup.cells.read(slice(start, start + EMBEDDED))
                return
            for drawn in setup.batches[:rounds]:
                dataset.__getitems__(drawn)

        run()
        profiler = cProfile.Profile()
        profiler.runcall(run)
        pstats.Stats(profiler).sort_stats("tottime").print_stats(15)


def run_case(case: Case, rounds: int) -> dict[str, float]:
    """All ratios of a case; larger is better."""
    with tempfile.TemporaryDirectory() as folder:
        setup = Setup(case, Path(folder))
        plates, store = from_plates(setup, rounds), from_store(setup, rounds)
        # Passes over flat plates are short, and two of them differed by a tenth.
        whole = passes(setup, 6 if case.depth == 1 else 2)
    patches = 2 * ANCHORS
    return {
        "patches/s from plates": patches / plates["ours"],
        "of decode and slice": plates["decode and slice"] / plates["ours"],
        "times patch by patch": plates["patch by patch"] / plates["ours"],
        "patches/s from store": patches / store["ours"],
        "of contiguous blocks": store["contiguous blocks"] / store["ours"],
        "times from plates": store["from the plate"] / store["ours"],
        "statistics of decoding": whole["decode"] / whole["statistics"],
        "prediction of decoding": whole["decode"] / whole["prediction"],
        "of decode and copy": whole["decode and copy"] / whole["prediction"],
        "decoded planes/s": case.fovs * case.frames * 2 * case.depth / whole["decode"],
    }


def main() -> None:
    """Run the cases, each in a process of its own, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cases", type=int, nargs="+", help="numbers of the cases, from 0")
    parser.add_argument("--batches", type=int, default=8, help="batches timed")
    parser.add_argument("--small", action="store_true", help="tiny plates, to see that it runs")
    parser.add_argument("--profile", choices=["plates", "store", "prediction"])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    cases = SMALL if chosen.small else CASES
    if chosen.profile:
        logging.disable(logging.WARNING)
        for number in chosen.cases or range(len(cases)):
            print(cases[number].name)
            profile(cases[number], chosen.profile, chosen.batches)
        return
    if chosen.one is not None:
        logging.disable(logging.WARNING)
        torch.set_num_threads(THREADS)
        print(json.dumps(run_case(cases[chosen.one], chosen.batches)))
        return
    for number in chosen.cases or range(len(cases)):
        command = [sys.executable, __file__, "--one", str(number), "--batches", str(chosen.batches)]
        command += ["--small"] if chosen.small else []
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout)
        if number == (chosen.cases or [0])[0]:
            print("| plate | " + " | ".join(found) + " |")
            print("|---|" + "---:|" * len(found))
        values = " | ".join(f"{value:.3g}" for value in found.values())
        print(f"| {cases[number].name} | {values} |", flush=True)


if __name__ == "__main__":
    main()
