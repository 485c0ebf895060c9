"""Two processes that train together do what one process with twice the batch does."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

BATCH, EPOCHS = 8, 6


def command_of(collection, folder: Path, devices: int, batch_size: int, workers: int) -> list[str]:
    """Train, and write down every row, as one process or as several."""
    training = {
        "model": {
            "encoder": {
                "class_path": "dynaclr.models.SmallEncoder",
                "init_args": {"in_channels": 1, "width": 8},
            }
        },
        "data": {
            "patches": {"markers": ["phase"], "size": [16, 16]},
            "tau_range": [0.5, 1.0],
            "sampling": {"leaky": 0.25, "temporal_enrichment": True},
            "batch_size": batch_size,
            "num_workers": workers,
        },
        "trainer": {
            "max_epochs": EPOCHS,
            "accelerator": "cpu",
            "devices": devices,
            "callbacks": [
                {
                    "class_path": "row_recorder.RowRecorder",
                    "init_args": {"folder": str(folder / "rows")},
                }
            ],
        },
    }
    return [
        *(str(Path(sys.executable).with_name("dynaclr")), "train", "--seed", "0"),
        *("--training", json.dumps(training), "--threads", "1", "--save-minutes", "0"),
        *("--collection", str(collection.folder), "--experiments", str(collection.experiments)),
        *("--out", str(folder / "model" / "seed0")),
    ]


# Only this machine's own interface: a test must not need a network.
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
    "GLOO_SOCKET_IFNAME": "lo",
}


def record(collection, folder: Path, devices: int, batch_size: int, workers: int) -> list[list]:
    """Train in new processes and return what each of them wrote down."""
    command = command_of(collection, folder, devices, batch_size, workers)
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reported = "torchrun starts a process for each" if devices > 1 else "trained in this process"
    assert reported in done.stderr
    assert done.stderr.count("epoch 1 of") == 1, "one process speaks for all"
    files = [folder / "rows" / f"{rank}.jsonl" for rank in range(devices)]
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in files]


def pairs_by_step(ranks: list[list]) -> dict[tuple, list]:
    """Sorted (anchor, positive) pairs of all ranks, by stage, epoch and step."""
    found = defaultdict(list)
    for lines in ranks:
        for line in lines:
            key = line["stage"], line["epoch"], line["step"]
            found[key] += list(zip(*line["rows"], strict=True))
    return {key: sorted(pairs) for key, pairs in found.items()}


@pytest.fixture(scope="module")
def alone(collection, tmp_path_factory) -> tuple[Path, list[list]]:
    folder = tmp_path_factory.mktemp("alone")
    return folder, record(collection, folder, 1, 2 * BATCH, workers=0)


@pytest.fixture(scope="module")
def together(collection, tmp_path_factory) -> tuple[Path, list[list]]:
    folder = tmp_path_factory.mktemp("together")
    return folder, record(collection, folder, 2, BATCH, workers=1)


@pytest.mark.slow
def test_two_processes_draw_what_one_draws_with_twice_the_batch(alone, together):
    (_, single), (_, ranks) = alone, together
    backends = [{line["backend"] for line in lines} for lines in single + ranks]
    assert backends == [{False}, {"gloo"}, {"gloo"}]
    assert len(ranks[0]) == len(ranks[1]) == len(single[0])
    for lines in ranks:
        assert {len(rows) for line in lines for rows in line["rows"]} == {BATCH}
    drawn = pairs_by_step(single)
    assert pairs_by_step(ranks) == drawn
    by_epoch = {
        stage: [
            [pairs for key, pairs in drawn.items() if key[:2] == (stage, epoch)]
            for epoch in range(EPOCHS)
        ]
        for stage in ("train", "validation")
    }
    assert by_epoch["train"][0] != by_epoch["train"][1]
    assert len(by_epoch["validation"][0]) > 0
    assert all(epoch == by_epoch["validation"][0] for epoch in by_epoch["validation"])


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_with_twice_the_batch(alone, together):
    (one, single), (two, ranks) = alone, together
    expected = [line["loss"] for line in single[0] if line["stage"] == "train"]
    assert len(expected) >= 50
    for lines in ranks:
        losses = [line["loss"] for line in lines if line["stage"] == "train"]
        np.testing.assert_allclose(losses, expected, rtol=1e-4)
    history = [pd.read_csv(folder / "model/seed0/metrics.csv") for folder in (one, two)]
    for stage in ("train", "val"):
        np.testing.assert_allclose(history[1][f"loss/{stage}"], history[0][f"loss/{stage}"], 1e-4)
    weights = [
        torch.load(folder / "model/seed0/last.ckpt", weights_only=True)["state_dict"]
        for folder in (one, two)
    ]
    for name, expected_weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], expected_weight, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_processes_stop_together_and_go_on_to_the_same_weights(collection, together, tmp_path):
    command = command_of(collection, tmp_path, 2, BATCH, workers=0)
    for stop in (signal.SIGTERM, signal.SIGUSR1):
        running = subprocess.Popen(
            command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        saved = {point: point.stat().st_mtime_ns for point in points(tmp_path)}
        deadline = time.monotonic() + 120
        while all(saved.get(point) == point.stat().st_mtime_ns for point in points(tmp_path)):
            assert running.poll() is None, running.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        # To torchrun alone, which hands it on.
        os.kill(running.pid, stop)
        _, said = running.communicate(timeout=60)
        assert running.returncode != 0
        assert f"stopped by {stop.name}; started again" in said
        assert ("resuming from" in said) == bool(saved)
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stderr
    expected = together[0] / "model/seed0"
    assert (tmp_path / "model/seed0/metrics.csv").read_text() == (
        expected / "metrics.csv"
    ).read_text()


def points(folder: Path) -> list[Path]:
    """What a training has saved to go on from."""
    return list(folder.glob("model/seed0/.work/*/last.ckpt"))
