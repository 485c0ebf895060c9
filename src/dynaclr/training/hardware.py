"""What a training computes on: GPUs that must be usable, and the type of the CPU."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Any

import torch

from dynaclr.config import UserError

# Set to anything, jobs may leave the GPUs idle that they were given: tests have pretend ones.
WITHOUT_GPUS = "DYNACLR_WITHOUT_GPUS"


def cpu_type(trainer: Mapping[str, Any]) -> str | None:
    """Type of CPU that a training's weights depend on to the last bit; None where it has a GPU.

    Parameters
    ----------
    trainer : mapping
        Arguments of the trainer.

    Returns
    -------
    str or None
        The instructions that torch's kernels use, ``AVX512`` for example.
    """
    on_cpu = trainer.get("accelerator") == "cpu" or not torch.cuda.is_available()
    return torch.backends.cpu.get_cpu_capability() if on_cpu else None


def torch_device(name: str) -> torch.device:
    """Torch device of a name; ``auto`` is a GPU where there is one, else the CPU.

    Raises
    ------
    UserError
        As `check_gpus`.
    """
    if name == "auto":
        check_gpus()
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def check_gpus() -> None:
    """Fail rather than work on CPUs for days, where SLURM gave this job GPUs that torch cannot use.

    Raises
    ------
    UserError
        When that is so, and `WITHOUT_GPUS` does not allow it.
    """
    number, given = (os.environ.get(name) for name in ("SLURM_JOB_ID", "CUDA_VISIBLE_DEVICES"))
    unusable = number and given not in (None, "", "NoDevFiles") and not torch.cuda.is_available()
    if unusable and WITHOUT_GPUS not in os.environ:
        host = socket.gethostname()
        raise UserError(
            f"SLURM job {number} on {host}: it was given GPU {given}, but torch "
            f"{torch.__version__} finds none, and would do the work on CPUs. If `nvidia-smi` fails "
            f"there too, the node is broken: leave it out by `slurm_extra: --exclude={host}` in "
            "config/site.yaml. If not, this torch was built for CPUs or for a newer driver: see "
            "`python -c 'import torch; print(torch.version.cuda)'`. To do without GPUs, set "
            "trainer.accelerator: cpu in the training configuration, or "
            f"{WITHOUT_GPUS}=1 in the environment."
        )
