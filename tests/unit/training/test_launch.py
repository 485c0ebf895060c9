"""Which processes a trainer configuration starts, and how."""

import os
import sys
from types import SimpleNamespace

import pytest
from lightning.pytorch import Trainer

from dynaclr.config import UserError
from dynaclr.training.launch import (
    CheckWorldSize,
    SlurmJob,
    check_single_process,
    count_processes,
    launch,
    set_loader_workers,
    slurm_job,
    torchrun_command,
)


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({}, (1, 1)),
        ({"accelerator": "cpu", "devices": 1}, (1, 1)),
        ({"accelerator": "cpu", "devices": 3}, (3, 1)),
        ({"accelerator": "cpu", "devices": "2", "max_epochs": 9}, (2, 1)),
        ({"accelerator": "cpu", "devices": 2, "num_nodes": 4}, (2, 4)),
    ],
)
def test_processes_are_counted_from_the_trainer(trainer, expected):
    assert count_processes(trainer) == expected


def test_devices_that_the_machine_lacks_are_reported():
    with pytest.raises(UserError, match=r"trainer: .*Correct `accelerator`"):
        count_processes({"accelerator": "cpu", "devices": 0})


def test_one_node_needs_no_scheduler():
    command = torchrun_command(2, 1, ["train", "--seed", "0"])
    assert command[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert "--standalone" in command
    assert command[-6:] == ["--nproc-per-node=2", "-m", "dynaclr", "train", "--seed", "0"]


def test_several_nodes_need_a_scheduler(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(UserError, match=r"num_nodes is more than 1, but this is no SLURM job"):
        slurm_job()


def test_several_nodes_meet_at_the_first_of_the_job():
    command = torchrun_command(2, 2, ["train"], SlurmJob(7, ("gpu3", "gpu4"), 16))
    assert command[:4] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"]
    assert command[4] == "--cpus-per-task=16"
    assert "--rdzv-endpoint=gpu3:20007" in command


def test_tasks_that_would_train_alone_are_refused(monkeypatch):
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "2")
    with pytest.raises(UserError, match=r"srun starts `dynaclr train` 2 times"):
        launch({}, ["train"])


@pytest.mark.parametrize("variable", [None, "SLURM_STEP_NUM_TASKS", "WORLD_SIZE"])
def test_predictions_that_would_write_the_same_stores_are_refused(monkeypatch, variable):
    check_single_process({"accelerator": "cpu", "devices": "auto"})
    if variable:
        monkeypatch.setenv(variable, "2")
    asked = {} if variable else {"devices": 2}
    with pytest.raises(UserError, match=r"dynaclr predict: .*it embeds in one process. Start it"):
        check_single_process({"accelerator": "cpu", **asked})


@pytest.mark.parametrize(("configured", "workers"), [(False, 2), (True, 5)])
def test_loaders_get_the_cpus_that_torch_leaves(monkeypatch, caplog, configured, workers):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "8")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8, 16)))
    data = SimpleNamespace(num_workers=5)
    with caplog.at_level("INFO"):
        set_loader_workers(data, processes=2, threads=2, configured=configured)
    assert data.num_workers == workers
    assert "CUDA_VISIBLE_DEVICES=0,1, CPUs 8,9,10,11,12,13,14,15, 2 threads" in caplog.text
    assert f"{workers} loader workers" in caplog.text


def test_other_world_size_than_asked_for_fails():
    trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    CheckWorldSize(1).setup(trainer, None, "fit")
    with pytest.raises(UserError, match=r"1 process\(es\) have met .* ask for 2\. Start"):
        CheckWorldSize(2).setup(trainer, None, "fit")
