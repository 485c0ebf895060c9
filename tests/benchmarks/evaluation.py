"""What an evaluation costs at several sizes: memory and seconds of each stage.

python tests/benchmarks/evaluation.py --rows 10000 100000 1000000

Ten experiments, eight of them trained on, are judged by two seeds of 768 features, their untrained
encoders, intensity and pixels. Every stage runs in a process of its own, as in the workflow.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

N_EXPERIMENTS, N_TRAIN, FRAMES = 10, 8, 24
NAMES = [f"e{number}" for number in range(N_EXPERIMENTS)]
EVALUATION = {
    "tasks": [
        {"name": "r", "label": "state", "source": "truth", "where": "condition == 'drug'"},
    ],
    "control": "mock",
    "progression": "progress",
}


def observations(experiment: str, n_rows: int, seed: int) -> pd.DataFrame:
    """Lineages of one track each, half of them treated, of whom half respond from some hour on."""
    rng = np.random.default_rng(seed)
    n_tracks = max(16, n_rows // FRAMES)
    track, t = np.repeat(np.arange(n_tracks), FRAMES), np.tile(np.arange(FRAMES), n_tracks)
    treated = np.arange(n_tracks) % 2 == 1
    onset = np.where(treated & (rng.random(n_tracks) < 0.5), rng.uniform(3, 8, n_tracks), np.inf)
    hours = 2.0 + 0.5 * t
    progress = np.clip((hours - onset[track]) / 3.0, 0.0, 1.0)
    table = {
        "experiment": experiment,
        "fov": np.where(treated[track], "B/1/0", "A/1/0"),
        "condition": np.where(treated[track], "drug", "mock"),
        **{"track_id": track, "parent_track_id": -1, "lineage_id": track, "t": t, "hours": hours},
        **{"progress": progress, "state": (progress > 0.3).astype(int)},
    }
    return pd.DataFrame(table)


def write_stores(folder: Path, n_rows: int, width: int) -> dict[str, dict[str, str]]:
    """Stores of all variants that know of the response and the experiment; paths of the truth."""
    widths = {f"seed{seed}{end}": width for end in ("", "-untrained") for seed in (0, 1)}
    widths |= {"intensity": 18, "texture": 178, "pixels": 32}
    labels = {}
    for number, name in enumerate(NAMES):
        obs = observations(name, n_rows // N_EXPERIMENTS, number)
        truth = folder / f"{name}.csv"
        obs[["fov", "track_id", "t", "progress", "state"]].to_csv(truth, index=False)
        labels[name] = {"truth": str(truth)}
        progress = obs["progress"].to_numpy()
        obs = obs.drop(columns=["progress", "state"]).set_axis(obs.index.astype(str), axis=0)
        for variant, d in widths.items():
            rng = np.random.default_rng([number, d, len(variant)])
            features = rng.standard_normal((len(obs), d), dtype=np.float32)
            features[:, 0] += 3.0 * progress
            features += rng.standard_normal(d, dtype=np.float32)
            store = anndata.AnnData(features, obs=obs)
            store.write_zarr(folder / variant / f"{name}.zarr")
    return labels


def measured(*arguments: str) -> tuple[float, float]:
    """Seconds and the most gigabytes of a command of this package."""
    began = time.perf_counter()
    # A process of its own, so that the most memory of its children is that of this command.
    script = (
        "import resource, subprocess, sys; "
        "code = subprocess.call([sys.executable, '-m', 'dynaclr', *sys.argv[1:]]); "
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
    )
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - began, int(done.stdout.split()[-1]) / 2**20


def measure(n_rows: int, width: int) -> dict[str, tuple[float, float]]:
    """Seconds and gigabytes of each stage."""
    train, held_out = NAMES[:N_TRAIN], NAMES[N_TRAIN:]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        labels = write_stores(folder, n_rows, width)
        shared = {"evaluation": EVALUATION}
        variants = {p.name: p.name for p in sorted(folder.iterdir()) if p.is_dir()}
        of_stores = ["--results", str(folder)]
        out, reference = folder / "out", folder / "out/reference"
        trained = {name: labels[name] for name in train}
        plan = {"model": "m", "variants": variants, "train": train, "labels": trained}
        plan = json.dumps(shared | plan | {"scores_training": False})
        found = {
            "fit": measured(
                "evaluation", "fit", "--plan", plan, *of_stores, "--out", str(reference)
            )
        }
        for name in held_out:
            one = {"experiment": name, "variants": variants, "labels": {name: labels[name]}}
            one = json.dumps(shared | one | {"trained_on": False})
            found[f"score {name}"] = measured(
                *("evaluation", "score", "--plan", one),
                *(*of_stores, "--reference", str(reference)),
                *("--out", str(out / "experiments" / name)),
            )
        plan = json.dumps(shared | {"scored": held_out, "held_out": held_out})
        found["join"] = measured("evaluation", "join", "--plan", plan, "--evaluation", str(out))
        plan = json.dumps({"held_out": held_out, "cells": 50_000})
        found["maps"] = measured("evaluation", "maps", "--plan", plan, "--evaluation", str(out))
    return found


def main() -> None:
    """Print one line a stage: seconds and gigabytes at each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--features", type=int, default=768)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning, module="anndata")
    sizes = [measure(n_rows, given.features) for n_rows in given.rows]
    titles = "  ".join(f"{n:>12,} cells" for n in given.rows)
    print(f"{'stage':<10}  {titles}")
    for stage in sizes[0]:
        values = [f"{of[stage][0]:>8.0f} s {of[stage][1]:>5.1f} GB" for of in sizes]
        print(f"{stage:<10}  {'  '.join(values)}")


if __name__ == "__main__":
    main()
