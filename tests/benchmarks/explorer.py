"""Frames of the report's embedding explorer while the map is dragged.

    python tests/benchmarks/explorer.py [--cells 5000 50000]

Needs chromium and chromium-driver. Prints one line a size: time to draw a frame, from one frame to
the next (which a browser bounds at 16.7 ms), to find the cell under the pointer, and to open the
page; and the ratio of the largest to the smallest.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import anndata
import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.browser import open_page

from dynaclr.io.artifacts import write_digest, write_json
from dynaclr.report import ReportPlan, write_report

DRAG = """
const done = arguments[0];
explorerReady.then((explorer) => {
  const times = [];
  explorer.frames.length = 0;
  const step = (now) => {
    times.push(now);
    if (times.length > 120) {
      const between = times.slice(1).map((time, n) => time - times[n]);
      const { width, height } = explorer.size();
      const started = performance.now();
      for (let n = 0; n < 1000; n++) explorer.rowAt((n * 37) % width, (n * 61) % height);
      done({ draw: explorer.frames, between, pick: (performance.now() - started) / 1000 });
      return;
    }
    explorer.pan(3 * Math.cos(times.length / 9), 3 * Math.sin(times.length / 9));
    requestAnimationFrame(step);
  };
  requestAnimationFrame(step);
});
"""


def make_page(n_cells: int, folder: Path) -> Path:
    """A report of one model whose map holds this many cells in clouds, in tracks of 40 frames."""
    rng = np.random.default_rng(0)
    track = np.arange(n_cells) // 40
    obs = pd.DataFrame(
        {
            "experiment": np.char.add("experiment_", (track % 6).astype(str)).astype(object),
            "fov": "A/1/0",
            "track_id": track,
            "t": np.arange(n_cells) % 40,
            "lineage_id": track,
            "condition": np.where(track % 2, "infected", "mock").astype(object),
            "hours": 3 + (np.arange(n_cells) % 40) / 2,
        }
    )
    features = rng.normal(size=(n_cells, 2)) + 4 * rng.normal(size=(12, 2))[track % 12]
    results = folder / "results/evaluation/m"
    store = anndata.AnnData(features.astype(np.float32), obs=obs.set_index(obs.index.astype(str)))
    store.obsm["X_umap"] = features.astype(np.float32)
    one = {"key": "X_umap", "variant": "seed0", "method": "umap", "axes": ["UMAP 1", "UMAP 2"]}
    store.uns["dynaclr"] = json.dumps({"maps": [one], "n_cells": {"all": n_cells}})
    results.mkdir(parents=True)
    store.write_h5ad(results / "maps.h5ad")
    write_digest(results / "maps.h5ad")
    write_json(results / "headline.json", {"text": f"{n_cells} cells"})
    plan = ReportPlan(experiments=[], collections=[], models={"m": []})
    write_report(plan, folder / "results", folder / "report.html")
    return folder / "report.html"


def measure(n_cells: int) -> dict[str, float]:
    """Milliseconds of each step with this many cells."""
    with tempfile.TemporaryDirectory() as name:
        page = make_page(n_cells, Path(name))
        started = perf_counter()
        with open_page(page, Path(name) / "profile") as opened:
            opened_ms = 1000 * (perf_counter() - started)
            found = opened.execute_async_script(DRAG)
    return {
        "draw a frame, median ms": float(np.median(found["draw"])),
        "draw a frame, 95th percentile ms": float(np.quantile(found["draw"], 0.95)),
        "frame to frame, median ms": float(np.median(found["between"])),
        "find a cell, ms": found["pick"],
        "start the browser and open, ms": opened_ms,
    }


def main() -> None:
    """Measure every size and print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, nargs="+", default=[5000, 50_000])
    sizes = parser.parse_args().cells
    measured = [measure(n_cells) for n_cells in sizes]
    print(f"{'cells':34}" + "".join(f"{n:>12,}" for n in sizes) + f"{'ratio':>12}")
    for name in measured[0]:
        values = [one[name] for one in measured]
        ratio = values[-1] / max(values[0], 1e-9)
        print(f"{name:34}" + "".join(f"{value:12.3f}" for value in values) + f"{ratio:12.1f}")


if __name__ == "__main__":
    main()
