"""Which processes a trainer configuration starts, and how."""

import sys

import pytest

from dynaclr.experiments import UserError
from dynaclr.training.launch import count_processes, torchrun_command


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


def test_devices_that_the_machine_lacks_are_told():
    with pytest.raises(UserError, match=r"trainer: .*Correct `accelerator`"):
        count_processes({"accelerator": "cpu", "devices": 0})


def test_one_node_needs_no_scheduler():
    command = torchrun_command(2, 1, ["train", "--seed", "0"])
    assert command[:3] == [sys.executable, "-m", "torch.distributed.run"]
    assert "--standalone" in command
    assert command[-6:] == ["--nproc-per-node=2", "-m", "dynaclr", "train", "--seed", "0"]


def test_several_nodes_meet_at_the_first_of_the_job(monkeypatch, tmp_path):
    monkeypatch.delenv("SLURM_JOB_NODELIST", raising=False)
    with pytest.raises(UserError, match=r"num_nodes is more than 1, but this is no SLURM job"):
        torchrun_command(2, 2, [])
    # SLURM's own command, as it answers for this list.
    scontrol = tmp_path / "scontrol"
    scontrol.write_text('#!/bin/sh\n[ "$3" = "gpu[3-4]" ] && printf "gpu3\\ngpu4\\n"\n')
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu[3-4]")
    command = torchrun_command(2, 2, ["train"])
    assert command[:4] == ["srun", "--nodes=2", "--ntasks=2", "--ntasks-per-node=1"]
    assert "--rdzv-endpoint=gpu3:29400" in command
