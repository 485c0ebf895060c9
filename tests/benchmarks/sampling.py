"""Time and memory of lineages, the merged index, composed batches and positives.

    python tests/benchmarks/sampling.py [--rows 1e5 1e6 1e7]

Prints one line a measurement for each size, and the ratio of the largest to the smallest. Every
size runs in a process of its own, on one core.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa

sys.path.insert(0, str(Path(__file__).parent))
from tables import INTERVALS, Rows, as_batch, make_rows

from dynaclr.index import MultiExperimentIndex
from dynaclr.index.lineage import build_forest, group_tracks, resolve_links
from dynaclr.sampling import FlexibleBatchSampler, PositiveSampler, offsets_in_frames

EXPERIMENTS = {5: 8, 6: 16, 7: 32}
BATCH, TAU_HOURS = 256, (0.5, 2.0)


def memory(line: str, file: str = "status") -> float:
    """Megabytes from a line of this process's entry in /proc."""
    text = Path("/proc/self", file).read_text()
    return sum(int(x.split()[1]) for x in text.splitlines() if x.startswith(line)) / 1024


def measure(work: Callable[[], Any]) -> tuple[Any, float, float]:
    """Result, seconds and megabytes at the peak above what was held before."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before, start = memory("VmRSS"), perf_counter()
    result = work()
    return result, perf_counter() - start, memory("VmHWM") - before


def repeat(work: Callable[[int], Any], times: int) -> float:
    """Median milliseconds of calls with 0, 1, 2, ..."""
    taken = []
    for number in range(times):
        start = perf_counter()
        work(number)
        taken.append(perf_counter() - start)
    return 1000 * float(np.median(taken))


def lineages(rows: Rows) -> dict[str, np.ndarray]:
    """Everything that the index knows of lineages, by row."""
    tracks = group_tracks(rows.fov, rows.track_id, rows.t, rows.parent_track_id)
    forest = build_forest(resolve_links(tracks).parent)
    names = ("lineage", "generation", "branch", "branch_end")
    given = {name: getattr(forest, name)[tracks.of_row] for name in names}
    return given | {"lineage_id": given.pop("lineage")}


def positives(t: Any, branch: Any, branch_end: Any, experiment: Any) -> PositiveSampler:
    """The sampler of positives of `TAU_HOURS`."""
    minutes = [INTERVALS[number % len(INTERVALS)] for number in range(int(experiment.max()) + 1)]
    offsets = [offsets_in_frames(TAU_HOURS, interval) for interval in minutes]
    return PositiveSampler(t, branch, branch_end, experiment, offsets)


def lineages_and_anchors(rows: Rows) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Columns of the lineages, and which rows have a positive."""
    columns = lineages(rows)
    sampler = positives(rows.t, columns["branch"], columns["branch_end"], rows.experiment)
    return columns, sampler.has_positive


def run_size(n: int, steps: int) -> dict[str, float]:
    """All measurements at one size."""
    found: dict[str, float] = {}
    rows = make_rows(n, EXPERIMENTS.get(round(np.log10(n)), 8))
    found["rows"] = len(rows)

    (columns, has_positive), seconds, peak = measure(lambda: lineages_and_anchors(rows))
    found |= {"lineages and anchors, s": seconds, "lineages and anchors, peak MB": peak}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.arrow"
        batch = as_batch(rows, columns)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)
        del batch, columns
        found |= second_process(path)
        index = MultiExperimentIndex.from_merged(path)
        found |= batches(index, has_positive, steps)
    return found


def second_process(path: Path) -> dict[str, float]:
    """Opening the merged index in a fresh process, and what it holds of its own."""
    command = [sys.executable, __file__, "--open", str(path)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def open_index(path: Path) -> dict[str, float]:
    """Open a merged index and touch every value of the columns that training reads."""
    # Pages of the file itself are shared by the processes of a node; anonymous ones are not.
    before, start = memory("Anonymous", "smaps_rollup"), perf_counter()
    index = MultiExperimentIndex.from_merged(path)
    seconds = perf_counter() - start
    for name in ("t", "hours", "branch", "branch_end", "y", "x", "lineage_id"):
        index.column(name).sum()
    index.codes("experiment")[0].sum()
    private = memory("Anonymous", "smaps_rollup") - before
    return {"open the index, s": seconds, "second process, private MB": private}


def batches(index: MultiExperimentIndex, has_positive: np.ndarray, steps: int) -> dict[str, float]:
    """Set-up, first and further composed batches, and their positives."""
    anchors = index.valid_anchors(has_positive=has_positive)
    table = anchors.frame(["experiment", "condition", "hours"])
    options = {"leaky": 0.2, "temporal_enrichment": True}
    sampler, seconds, peak = measure(lambda: FlexibleBatchSampler(table, BATCH, **options))
    found = {"sampler set-up, s": seconds, "sampler set-up, peak MB": peak}
    start = perf_counter()
    sampler.global_batch(0, 0)
    found["first batch, ms"] = 1000 * (perf_counter() - start)
    rng = np.random.default_rng(0)
    positions = rng.integers(0, len(sampler), steps)
    found["composed batch, ms"] = repeat(lambda i: sampler.global_batch(1, positions[i]), steps)
    drawer = positives(
        *(index.column(name) for name in ("t", "branch", "branch_end")),
        index.codes("experiment")[0],
    )
    drawn = [anchors.rows[sampler.global_batch(0, position)] for position in positions]
    found["positives of a batch, ms"] = repeat(lambda i: drawer.sample(drawn[i], 1), steps)
    return found


def main() -> None:
    """Run every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", type=float, default=[1e5, 1e6, 1e7])
    parser.add_argument("--steps", type=int, default=500, help="batches timed")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.open or chosen.one:
        result = open_index(chosen.open) if chosen.open else run_size(chosen.one, chosen.steps)
        print(json.dumps(result))
        return
    results = []
    for n in chosen.rows:
        command = [sys.executable, __file__, "--one", str(int(n)), "--steps", str(chosen.steps)]
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env)
        results.append(json.loads(done.stdout))
    for name in results[0]:
        values = [result[name] for result in results]
        line = "".join(f"{value:>14,.3g}" for value in values)
        print(f"{name:<32}{line}   ratio {values[-1] / values[0] if values[0] else np.nan:>8.3g}")


if __name__ == "__main__":
    main()
