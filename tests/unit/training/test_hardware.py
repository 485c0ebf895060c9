"""What a training computes on: GPUs that it cannot use, and CPUs of several types."""

import os
import subprocess
import sys

import pytest
import torch

from dynaclr.config import UserError
from dynaclr.training.hardware import WITHOUT_GPUS, check_gpus, cpu_type


@pytest.fixture
def job(monkeypatch):
    """A SLURM job with two GPUs, of which torch sees none."""
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    monkeypatch.delenv(WITHOUT_GPUS, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return monkeypatch


def test_gpus_that_torch_does_not_find_are_refused(job):
    with pytest.raises(UserError, match=r"SLURM job 7 on .* given GPU 0,1, but torch"):
        check_gpus()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CUDA_VISIBLE_DEVICES", ""),
        ("CUDA_VISIBLE_DEVICES", "NoDevFiles"),
        ("CUDA_VISIBLE_DEVICES", None),
        ("SLURM_JOB_ID", None),
        (WITHOUT_GPUS, "1"),
    ],
)
def test_jobs_without_gpus_or_that_do_not_mind_go_on(job, name, value):
    job.delenv(name, raising=False)
    if value is not None:
        job.setenv(name, value)
    check_gpus()


def test_gpus_that_torch_finds_are_used(job):
    job.setattr(torch.cuda, "is_available", lambda: True)
    check_gpus()


def test_a_training_depends_on_the_type_of_cpu_where_it_has_no_gpu(monkeypatch):
    code = "from dynaclr.training.hardware import cpu_type; print(cpu_type({}))"
    environment = os.environ | {"ATEN_CPU_CAPABILITY": "default", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "DEFAULT"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert cpu_type({"accelerator": "auto"}) is None
    assert cpu_type({"accelerator": "cpu"}) == torch.backends.cpu.get_cpu_capability()
