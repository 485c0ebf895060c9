"""GPUs that a job was given and cannot use."""

import pytest
import torch

from dynaclr.config import UserError
from dynaclr.training.hardware import WITHOUT_GPUS, check_gpus


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
