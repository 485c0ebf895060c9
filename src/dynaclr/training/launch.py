"""How a training is started: as one process, or as one for each device through torchrun."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.fabric.plugins.environments import TorchElasticEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from dynaclr.experiments import UserError
from dynaclr.training.cli import lacking_hardware

log = logging.getLogger(__name__)

_RENDEZVOUS_PORT = 29400
# Torchrun passes these on to its processes; without SIGUSR1 among them it would die of it.
_FORWARDED = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"


def launch(training: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Replace this process by torchrun where the trainer asks for several processes.

    Parameters
    ----------
    training : mapping
        Training configuration; ``trainer`` says how many devices and nodes.
    arguments : sequence of str
        Of the `dynaclr` command that every process runs.

    Raises
    ------
    UserError
        When several nodes are asked for outside a SLURM job.
    """
    if TorchElasticEnvironment.detect():
        if int(os.environ["RANK"]) > 0:
            # All processes would say the same.
            logging.getLogger("dynaclr").setLevel(logging.WARNING)
        return
    devices, nodes = count_processes(training.get("trainer") or {})
    if devices * nodes == 1:
        log.info("one device: trained in this process")
        return
    log.info("%d device(s) on %d node(s): torchrun starts a process for each", devices, nodes)
    command = torchrun_command(devices, nodes, arguments)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.execvp(command[0], command)


def count_processes(trainer: Mapping[str, Any]) -> tuple[int, int]:
    """Devices on each node, and nodes, that trainer arguments amount to on this machine.

    Raises
    ------
    UserError
        When this machine has no such devices.
    """
    kept = {
        name: trainer[name] for name in ("accelerator", "devices", "num_nodes") if name in trainer
    }
    try:
        asked = Trainer(
            **kept, plugins=[LightningEnvironment()], logger=False, enable_checkpointing=False
        )
    except MisconfigurationException as error:
        raise lacking_hardware(error, "training configuration") from None
    return asked.num_devices, asked.num_nodes


def torchrun_command(devices: int, nodes: int, arguments: Sequence[str]) -> list[str]:
    """Command that starts `dynaclr` with `arguments` once for each device of each node."""
    start, meeting = [], ["--standalone"]
    if nodes > 1:
        start = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
        meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={_first_node()}:{_RENDEZVOUS_PORT}"]
    return [
        *start,
        *(sys.executable, "-m", "torch.distributed.run"),
        *meeting,
        f"--signals-to-handle={_FORWARDED}",
        *(f"--nnodes={nodes}", f"--nproc-per-node={devices}"),
        *("-m", "dynaclr", *arguments),
    ]


def _first_node() -> str:
    listed = os.environ.get("SLURM_JOB_NODELIST")
    if listed is None:
        raise UserError(
            "training configuration: trainer.num_nodes is more than 1, but this is no SLURM job. "
            "Run it with `snakemake --profile slurm`, or start torchrun on every node yourself."
        )
    shown = subprocess.run(
        ["scontrol", "show", "hostnames", listed], capture_output=True, text=True, check=True
    )
    return shown.stdout.split()[0]


def environment_plugins() -> list[LightningEnvironment]:
    """Plugin that keeps Lightning from guessing how it was started.

    In a SLURM job it would take the tasks of the job for its processes, train in one where several
    are asked for, and requeue jobs behind Snakemake's back.
    """
    return [] if TorchElasticEnvironment.detect() else [LightningEnvironment()]
