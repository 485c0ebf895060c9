"""Disturbing a training on SLURM, and comparing it with one that was left alone."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pandas as pd
import torch

from tests.slurm import cluster
from tests.slurm.conftest import SlurmWorkflow, products_of

TRAIN = ("--until", "train")
# A job is checked after 5, 20 and 45 seconds: one that starts again takes 40, and would else be
# seen to have ended after 68.
AFTER_45 = 5


def check(project: SlurmWorkflow, undisturbed: dict[str, str]) -> None:
    """The training went on from where it was, and arrived where it would have."""
    assert "resuming from" in log_of(project), log_of(project)
    assert products_of(project.folder) == undisturbed
    assert project.jobs(*TRAIN) == []


def log_of(project: SlurmWorkflow) -> str:
    """What the training has written."""
    return (project.folder / "logs/train/m.seed0.log").read_text()


def step_of(project: SlurmWorkflow) -> int:
    """Optimiser steps that a stopped training has saved."""
    (point,) = project.folder.glob("results/models/m/seed0/.work/*/last.ckpt")
    return torch.load(point, weights_only=True)["global_step"]


def check_within_epoch(project: SlurmWorkflow, step: int) -> None:
    """A training was saved after the first batch of an epoch, during which it was stopped."""
    epoch = pd.read_csv(project.folder / "results/models/m/seed0/metrics.csv")["step"][0]
    assert epoch > 1
    assert step % epoch == 1


def state_of(job: dict[str, str]) -> str:
    """State of a job, running or not."""
    (found,) = cluster.queue(f"--jobs={job['id']}", "--states=all")
    return found["state"]


def kill(running: subprocess.Popen) -> None:
    """Kill Snakemake and whatever it started here; its jobs in SLURM live on."""
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def unlock(project: SlurmWorkflow) -> str:
    """The one step that the documentation names."""
    return subprocess.run(
        ["dynaclr", "unlock", *project.command()[1:]],
        **{"cwd": project.folder, "env": project.environment()},
        **{"capture_output": True, "text": True, "check": True},
    ).stdout


def break_one_index(project: SlurmWorkflow) -> Path:
    """Make one experiment's index and another's statistics be made again, and the first fail."""
    broken = project.folder / "results/experiments/one/cells.parquet"
    sound = project.folder / "results/experiments/two/statistics.parquet"
    for product in (broken, sound):
        product.with_name(f"{product.name}.digest").unlink()
    # Whose log is there but whose product is not has failed before, and would run alone.
    for log in ("index/one.log", "statistics/two.log"):
        (project.folder / "logs" / log).unlink()
    table = project.folder / "data/one/tracks/A/1/0/tracks.csv"
    table.write_text(table.read_text().replace("track_id", "tract_id", 1))
    return broken
