"""Two processes that train together draw what one process with twice the batch draws."""

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

BATCH = 8


def record(collection, folder: Path, devices: int, batch_size: int, workers: int) -> list[list]:
    """Train in a new process and return what each of its ranks wrote down."""
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
            "max_epochs": 2,
            "accelerator": "cpu",
            "devices": devices,
            "strategy": "ddp" if devices > 1 else "auto",
            "callbacks": [
                {
                    "class_path": "row_recorder.RowRecorder",
                    "init_args": {"folder": str(folder / "rows")},
                }
            ],
        },
    }
    command = [
        *(str(Path(sys.executable).with_name("dynaclr")), "train", "--seed", "0"),
        *("--training", json.dumps(training), "--threads", "1"),
        *("--collection", str(collection.folder), "--experiments", str(collection.experiments)),
        *("--out", str(folder / "model" / "seed0")),
    ]
    # Only this machine's own interface: a test must not need a network.
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parent), "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
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


@pytest.mark.slow
def test_two_processes_draw_what_one_draws_with_twice_the_batch(collection, tmp_path):
    alone = record(collection, tmp_path / "alone", 1, 2 * BATCH, workers=0)
    ranks = record(collection, tmp_path / "together", 2, BATCH, workers=1)
    assert [{line["backend"] for line in lines} for lines in alone + ranks] == [
        {False},
        {"gloo"},
        {"gloo"},
    ]
    assert len(ranks[0]) == len(ranks[1]) == len(alone[0])
    for lines in ranks:
        assert {len(rows) for line in lines for rows in line["rows"]} == {BATCH}
    together, expected = pairs_by_step(ranks), pairs_by_step(alone)
    assert together == expected
    steps = {(stage, epoch) for stage, epoch, _ in expected}
    assert steps == {(stage, epoch) for stage in ("train", "validation") for epoch in (0, 1)}
    by_epoch = [
        {stage: {key[2]: pairs for key, pairs in expected.items() if key[:2] == (stage, epoch)}
         for stage in ("train", "validation")}
        for epoch in (0, 1)
    ]  # fmt: skip
    assert by_epoch[0]["train"] != by_epoch[1]["train"]
    assert by_epoch[0]["validation"] == by_epoch[1]["validation"]
