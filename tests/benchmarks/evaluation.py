"""What each family of metrics costs, at two sizes: seconds for six variants and their corrections.

python tests/benchmarks/evaluation.py
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from dynaclr.config import EvaluationConfig, TaskConfig
from dynaclr.evaluation.classifiers.label_shuffling import null_rows
from dynaclr.evaluation.classifiers.learning_curve import learning_curve
from dynaclr.evaluation.classifiers.scoring import score_task
from dynaclr.evaluation.control_distance_scores import control_distance_rows
from dynaclr.evaluation.health_scores import health_rows
from dynaclr.evaluation.inputs import EvaluationInputs, prepare_inputs
from dynaclr.evaluation.mixing_scores import mixing_rows
from dynaclr.evaluation.onset_scores import onset_rows
from dynaclr.evaluation.response_scores import response_rows
from dynaclr.evaluation.temporal_scores import temporal_rows
from dynaclr.io.embeddings import Embeddings

EXPERIMENTS = "abcdef"
FRAMES = 24
VARIANTS = {"seed0": 64, "seed1": 64, "seed0-untrained": 64, "seed1-untrained": 64}
VARIANTS |= {"intensity": 18, "pixels": 32}
CONFIG = EvaluationConfig(
    tasks=[TaskConfig(name="response", label="state", source="truth", where="condition == 'drug'")],
    control="mock",
    progression="progress",
)


def observations(n_rows: int) -> pd.DataFrame:
    """Lineages of one track each, half of them treated, of whom half respond from some hour on."""
    rng = np.random.default_rng(0)
    n_tracks = max(16, n_rows // (FRAMES * len(EXPERIMENTS))) * len(EXPERIMENTS)
    track, t = np.repeat(np.arange(n_tracks), FRAMES), np.tile(np.arange(FRAMES), n_tracks)
    treated = np.arange(n_tracks) // len(EXPERIMENTS) % 2 == 1
    onset = np.where(treated & (rng.random(n_tracks) < 0.5), rng.uniform(3, 8, n_tracks), np.inf)
    hours = 2.0 + 0.5 * t
    progress = np.clip((hours - onset[track]) / 3.0, 0.0, 1.0)
    table = {
        "experiment": np.array(list(EXPERIMENTS))[track % len(EXPERIMENTS)],
        "fov": np.where(treated[track], "B/1/0", "A/1/0"),
        "condition": np.where(treated[track], "drug", "mock"),
        **{"track_id": track, "parent_track_id": -1, "lineage_id": track, "t": t, "hours": hours},
        **{"progress": progress, "state": (progress > 0.3).astype(int)},
    }
    key = ["experiment", "fov", "track_id", "t"]
    return pd.DataFrame(table).sort_values(key, ignore_index=True)


def make(n_rows: int, folder: Path) -> EvaluationInputs:
    """Inputs of six variants that know of the response, the lineage and the experiment."""
    obs, rng, labels, features = observations(n_rows), np.random.default_rng(1), {}, {}
    for name, part in obs.groupby("experiment"):
        labels[name] = {"truth": folder / f"{name}.csv"}
        columns = ["fov", "track_id", "t", "progress", "state"]
        part[columns].to_csv(labels[name]["truth"], index=False)
    batch = obs["experiment"].map(EXPERIMENTS.index).to_numpy()
    for variant, d in VARIANTS.items():
        values = (
            rng.normal(size=(len(obs), d))
            + rng.normal(size=(obs["track_id"].max() + 1, d))[obs["track_id"]]
        )
        values[:, 0] += 3.0 * obs["progress"]
        features[variant] = (values + rng.normal(size=(6, d))[batch]).astype(np.float32)
    names = {variant: [str(k) for k in range(d)] for variant, d in VARIANTS.items()}
    embeddings = Embeddings(obs.drop(columns=["progress", "state"]), features, names)
    return prepare_inputs(embeddings, labels, CONFIG, list("abcd"), ["f"], seed=0)


def measure(n_rows: int) -> dict[str, float]:
    """Seconds of processor time of each family."""
    seconds: dict[str, float] = {}

    def timed(name: str, call: Callable[[], object]) -> object:
        start = time.process_time()
        result = call()
        seconds[name] = seconds.get(name, 0.0) + time.process_time() - start
        return result

    with tempfile.TemporaryDirectory() as folder:
        inputs = timed("tables and corrections", lambda: make(n_rows, Path(folder)))
    task, rows = inputs.tasks[0]
    scores = timed(
        "classifiers",
        lambda: score_task(inputs.embeddings, task, rows, inputs.train, inputs.held_out, 1000, 0),
    )
    given = (inputs.embeddings, rows, scores, inputs.train, inputs.uncorrected)
    timed("shuffled labels", lambda: null_rows(*given, 30, 0))
    timed("learning curve", lambda: learning_curve(*given, 0))
    for variant in inputs.variants:
        timed("resolution", lambda v=variant: response_rows(inputs, v, rows, scores))
        timed("mixing", lambda v=variant: mixing_rows(inputs, v))
        timed("temporal", lambda v=variant: temporal_rows(inputs, v))
        timed(
            "kinetics", lambda v=variant: (control_distance_rows(inputs, v), onset_rows(inputs, v))
        )
        timed("health", lambda v=variant: health_rows(inputs, v))
    return {"rows": len(inputs.obs), **seconds, "all, without figures": sum(seconds.values())}


def main() -> None:
    """Print one line a family: seconds at each size, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[4000, 16000])
    sizes = [measure(n_rows) for n_rows in parser.parse_args().rows]
    for name in sizes[0]:
        values = [size[name] for size in sizes]
        ratio = values[-1] / max(values[0], 1e-9)
        print("  ".join([f"{name:<24}", *(f"{value:>10,.1f}" for value in values), f"{ratio:.1f}"]))


if __name__ == "__main__":
    main()
