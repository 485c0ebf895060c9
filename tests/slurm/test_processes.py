"""Trainings in several processes on SLURM learn what one process learns with the whole batch."""

import re

import numpy as np
import pandas as pd
import pytest

from tests.slurm.conftest import SlurmWorkflow, write_training

pytestmark = pytest.mark.slow
LOSSES = ["loss/train", "loss/val"]


def trained(project: SlurmWorkflow, batch_size: int, **trainer: object) -> pd.DataFrame:
    """Train on SLURM and return the history."""
    settings = {"max_epochs": 2} | trainer
    write_training(project.folder, settings, batch_size)
    project.run("--until", "train", "--retries", "0")
    return pd.read_csv(project.folder / "results/models/m/seed0/metrics.csv")


@pytest.mark.parametrize(
    ("spread", "asked", "node", "seen"),
    [
        ({"devices": 2}, "gpu:2", r"pretend\d", "0,1"),
        ({"devices": 1, "num_nodes": 2}, "gpu:1", r"pretend\[1-2\]", "[01]"),
    ],
)
def test_two_processes_learn_what_one_learns(
    project: SlurmWorkflow, spread: dict, asked: str, node: str, seen: str
):
    # GPUs are asked for and given; torch does without, by gloo. No CPU is left for loaders.
    project.site = "{partition: cpu, gpu_partition: gpu, cpus_per_gpu: 1}"
    single = trained(project, 16, devices=1)
    double = trained(project, 8, **spread)
    np.testing.assert_allclose(double[LOSSES], single[LOSSES], rtol=1e-4)
    log = (project.folder / "logs/train/m.seed0.log").read_text()
    assert "torchrun starts a process for each" in log
    assert log.count("epoch 1 of 2") == 1, "one process speaks for all"
    assert re.search(rf"CUDA_VISIBLE_DEVICES={seen}, CPUs", log)
    job = max(project.jobs_of("train"), key=lambda job: int(job["id"]))
    assert job["gpus"].endswith(asked), job
    assert re.fullmatch(node, job["node"]), job
