"""How a training is started, and what of its node it uses.

It runs as one process, or as one for each device through torchrun. The number of loader workers is
chosen here and nowhere else, and written to the log.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lightning.fabric.plugins.environments import TorchElasticEnvironment
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import distributed

from dynaclr.config import UserError
from dynaclr.config.training import loader_workers
from dynaclr.data import MultiExperimentDataModule
from dynaclr.training.builder import hardware_error

log = logging.getLogger(__name__)

# Ports at which the processes of a training on several nodes meet.
_FIRST_PORT, _PORTS = 20000, 10000
# Torchrun passes these on to its processes; without SIGUSR1 among them it would die of it.
_FORWARDED = "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1"


def launch(trainer: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Replace this process by torchrun where the trainer asks for several processes.

    Parameters
    ----------
    trainer : mapping
        Trainer arguments, which say how many devices and nodes.
    arguments : sequence of str
        Of the `dynaclr` command that every process runs.

    Raises
    ------
    UserError
        When several nodes are asked for outside a SLURM job, or when srun started this command
        several times.
    """
    if TorchElasticEnvironment.detect():
        if not is_first_process():
            # All processes would write the same lines.
            logging.getLogger("dynaclr").setLevel(logging.WARNING)
        return
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", 1))
    if tasks > 1:
        raise UserError(
            f"srun starts `dynaclr train` {tasks} times, and each would train by itself. Start it "
            "once, with `srun --ntasks=1`: it starts a process for each device by itself, as many "
            "as trainer.devices and trainer.num_nodes say."
        )
    devices, nodes = count_processes(trainer)
    if devices * nodes == 1:
        log.info("one device: trained in this process")
        return
    log.info("%d device(s) on %d node(s): torchrun starts a process for each", devices, nodes)
    job = slurm_job() if nodes > 1 else None
    # Torchrun would set it as well, with a warning.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    command = torchrun_command(devices, nodes, arguments, job)
    os.execvp(command[0], command)


def is_first_process() -> bool:
    """Whether this process is the only one of its training, or the first one."""
    return int(os.environ.get("RANK", 0)) == 0


def check_single_process(trainer: Mapping[str, Any]) -> None:
    """Let `dynaclr predict` run once: each of several processes would write all of its stores.

    Parameters
    ----------
    trainer : mapping
        Arguments of the trainer. Devices that it may choose itself are one device.

    Raises
    ------
    UserError
        When several devices or nodes are asked for, or when srun or torchrun started this command
        several times.
    """
    chosen = {"devices": 1} if trainer.get("devices", "auto") == "auto" else {}
    devices, nodes = count_processes({**trainer, **chosen})
    started = max(int(os.environ.get(name, 1)) for name in ("SLURM_STEP_NUM_TASKS", "WORLD_SIZE"))
    if devices * nodes > 1 or started > 1:
        raise UserError(
            f"dynaclr predict: {devices} device(s) on {nodes} node(s) are asked for, and it was "
            f"started {started} time(s), but it embeds in one process. Start it once, with "
            "trainer.devices and trainer.num_nodes 1; for several GPUs, start `dynaclr embed` once "
            "for each experiment, as the workflow does."
        )


def count_processes(trainer: Mapping[str, Any]) -> tuple[int, int]:
    """Devices on each node, and nodes, that trainer arguments amount to on this machine.

    Raises
    ------
    UserError
        When this machine has no such devices.
    """
    names = ("accelerator", "devices", "num_nodes")
    try:
        built = Trainer(
            **{name: trainer[name] for name in names if name in trainer},
            plugins=[LightningEnvironment()],
            logger=False,
            enable_checkpointing=False,
        )
    except MisconfigurationException as error:
        raise hardware_error(error, "training configuration") from None
    return built.num_devices, built.num_nodes


@dataclass(frozen=True)
class SlurmJob:
    """What SLURM gave to this job.

    Attributes
    ----------
    number : int
        Its id.
    nodes : tuple of str
        Names of its nodes, the first of them first.
    cpus : int
        CPUs on each node.
    """

    number: int
    nodes: tuple[str, ...]
    cpus: int


def slurm_job() -> SlurmJob:
    """The SLURM job that this process runs in.

    SLURM is asked, since of its variables Snakemake's plugin leaves little but the job's number.

    Raises
    ------
    UserError
        Outside a SLURM job.
    """
    number = os.environ.get("SLURM_JOB_ID")
    if number is None:
        raise UserError(
            "training configuration: trainer.num_nodes is more than 1, but this is no SLURM job. "
            "Run it with `snakemake --profile slurm`, or start torchrun on every node yourself."
        )
    listed, cpus = _output("squeue", f"--jobs={number}", "--noheader", "--format=%N|%C").split("|")
    nodes = tuple(_output("scontrol", "show", "hostnames", listed).split())
    return SlurmJob(int(number), nodes, int(cpus) // len(nodes))


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def torchrun_command(
    devices: int, nodes: int, arguments: Sequence[str], job: SlurmJob | None = None
) -> list[str]:
    """Command that starts `dynaclr` with `arguments` once for each device of each node."""
    start, meeting = [], ["--standalone"]
    if job is not None:
        start = ["srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1"]
        start += [f"--cpus-per-task={job.cpus}"]
        # Two jobs that begin on the same node must not meet.
        port = _FIRST_PORT + job.number % _PORTS
        meeting = ["--rdzv-backend=c10d", f"--rdzv-endpoint={job.nodes[0]}:{port}"]
        meeting += [f"--rdzv-id={job.number}"]
    return [
        *start,
        *(sys.executable, "-m", "torch.distributed.run"),
        *meeting,
        f"--signals-to-handle={_FORWARDED}",
        *(f"--nnodes={nodes}", f"--nproc-per-node={devices}"),
        *("-m", "dynaclr", *arguments),
    ]


def set_loader_workers(
    datamodule: MultiExperimentDataModule, processes: int, threads: int, configured: bool
) -> None:
    """Give the loaders the CPUs of this job that torch does not use, and log what the job has.

    Parameters
    ----------
    datamodule : MultiExperimentDataModule
        Gets its `num_workers`, in a SLURM job and unless the configuration says how many.
    processes : int
        Training processes on this node.
    threads : int
        CPU threads of each.
    configured : bool
        Whether the configuration gives `num_workers`.
    """
    given = int(os.environ.get("SLURM_CPUS_PER_TASK", 0))
    if given and not configured:
        datamodule.num_workers = loader_workers(given, processes, threads)
    log.info(
        "on %s, SLURM job %s, CUDA_VISIBLE_DEVICES=%s, CPUs %s, %d threads, %d loader workers, "
        "scratch %s",
        socket.gethostname(),
        os.environ.get("SLURM_JOB_ID", "none"),
        os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        ",".join(map(str, sorted(os.sched_getaffinity(0)))),
        threads,
        datamodule.num_workers,
        tempfile.gettempdir(),
    )


class CheckWorldSize(Callback):
    """Fails a training that runs in more or fewer processes than its configuration asks for.

    Parameters
    ----------
    expected : int
        Devices times nodes.
    """

    def __init__(self, expected: int) -> None:
        self.expected = expected

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Compare, once the processes have met.

        Raises
        ------
        UserError
            When they are not as many as were asked for.
        """
        met = distributed.get_world_size() if distributed.is_initialized() else 1
        if not met == trainer.world_size == self.expected:
            raise UserError(
                f"{met} process(es) have met and the trainer counts {trainer.world_size}, but "
                f"trainer.devices and trainer.num_nodes ask for {self.expected}. Start the "
                "training with `dynaclr train` or Snakemake alone, not with srun, mpirun or "
                "torchrun."
            )


def requeue_preempted_job() -> None:
    """Put the SLURM job that this process runs in back into the queue, if it is being preempted.

    It has saved itself. Were it to end by itself, SLURM would call it failed; were it to wait to be
    killed, it would hold its node for as long as the site's grace lasts.
    """
    number = os.environ.get("SLURM_JOB_ID")
    if number is None:
        return
    preempted = re.search(r"\bPreemptTime=(\S+)", _output("scontrol", "show", "job", number))
    if preempted and preempted.group(1) not in ("None", "Unknown"):
        log.info("preempted: SLURM job %s goes back into the queue", number)
        subprocess.run(["scontrol", "requeue", number], check=False)


def environment_plugins() -> list[LightningEnvironment]:
    """Plugin that keeps Lightning from guessing how it was started.

    In a SLURM job it would take the tasks of the job for its processes, train in one where several
    are asked for, and requeue jobs without Snakemake's knowledge.
    """
    return [] if TorchElasticEnvironment.detect() else [LightningEnvironment()]
