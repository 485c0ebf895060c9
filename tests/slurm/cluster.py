"""A real SLURM on one machine, for tests: pretend nodes with two pretend GPUs each.

The daemons are Debian's packages, run without systemd, cgroups, an accounting database or GPUs. One
slurmd runs for each node, all on this host. What was started is stopped by its process id.

    python -m tests.slurm.cluster up             install what is missing, configure, start
    python -m tests.slurm.cluster down           cancel jobs, stop daemons, remove the configuration
    python -m tests.slurm.cluster with COMMAND   run a command while the cluster is up; one that
                                                 was up before stays up

Tests run side by side on it. What would disturb the jobs of others, a node that fails or is given
to more important jobs, happens to nodes that have partitions of their own. A SLURM that this module
did not configure is somebody's real cluster and is left alone.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# Nodes of the partitions cpu and gpu; that of preempt and urgent; that of frail.
SHARED, LENT, FRAIL = ("pretend1", "pretend2"), "pretend3", "pretend4"
NODES = (*SHARED, LENT, FRAIL)
CPUS, MEMORY_MB, GPUS = 8, 20_000, 2
# Job steps lose SLURM_CONF, so the configuration must lie where SLURM expects it.
CONFIGURATION = Path("/etc/slurm")
STATE = Path("/var/lib/dynaclr-slurm")
LOCK = Path("/run/lock/dynaclr-slurm")
MARK = "# Written by dynaclr's tests/slurm/cluster.py."
PACKAGES = {
    "munged": "munge",
    "slurmctld": "slurmctld",
    "slurmd": "slurmd",
    "sbatch": "slurm-client",
}

SLURM_CONF = """{mark}
ClusterName=pretend
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=6817
SlurmUser=root
StateSaveLocation={state}/slurmctld
SlurmdSpoolDir={state}/%n
SlurmctldPidFile={state}/slurmctld.pid
SlurmdPidFile={state}/slurmd-%n.pid
SlurmctldLogFile={state}/slurmctld.log
SlurmdLogFile={state}/slurmd-%n.log
# A job that is started again waits for its old credential to expire, two minutes by default.
AuthInfo=cred_expire=10
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
# Decide at once: a test has no time.
SchedulerParameters=sched_interval=2,sched_min_interval=0,bf_interval=2,batch_sched_delay=0,requeue_delay=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
# No accounting; finished jobs stay visible to squeue instead.
AccountingStorageType=accounting_storage/none
MinJobAge=86400
# Memory is checked every other second, and a step above its share is killed.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill,NoShared
# The time that a job has to save itself after SIGTERM.
KillWait=10
SlurmdTimeout=20
# A node that was down is used again as soon as it answers.
ReturnToService=2
# The nodes claim more than this machine has.
SlurmdParameters=config_overrides
GresTypes=gpu
{nodes}
PartitionName=DEFAULT MaxTime=INFINITE DefaultTime=10 DefMemPerCPU=500 GraceTime=5
PartitionName=cpu Nodes={shared} Default=YES PriorityTier=10 PreemptMode=OFF
PartitionName=gpu Nodes={shared} PriorityTier=10 PreemptMode=OFF
PartitionName=preempt Nodes={lent} PriorityTier=1 PreemptMode=REQUEUE
PartitionName=urgent Nodes={lent} PriorityTier=10 PreemptMode=OFF
PartitionName=frail Nodes={frail} PriorityTier=10 PreemptMode=OFF
"""

NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Boards=1"
    " SocketsPerBoard=1 CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory={memory} Gres=gpu:{gpus}"
)


class SlurmError(Exception):
    """The cluster cannot be started here; the text says why."""


def up() -> None:
    """Start the cluster, or whatever of it does not run, and wait until its nodes take jobs.

    Raises
    ------
    SlurmError
        Without root, where a real cluster or that of another checkout is configured, or when a
        daemon does not start.
    """
    why_not = obstacle()
    if why_not:
        raise SlurmError(why_not)
    with _one_at_a_time():
        _install()
        _configure()
        start_munge()
        start_controller()
        for name in NODES:
            start_node(name)
        usable = {"idle", "mixed", "allocated"}
        wait_for(lambda: len(node_states()) == len(NODES), 30, "an answer about nodes")
        wait_for(lambda: set(node_states()) <= usable, 60, "nodes")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Several processes may want the cluster up."""
    with LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(*arguments: str) -> int:
    """Run a command while the cluster is up, and return its exit code."""
    was_up = process_of("slurmctld.pid") is not None
    try:
        up()
        return subprocess.run(arguments).returncode
    finally:
        if not was_up:
            down()


def down() -> None:
    """Cancel all jobs, stop the daemons and remove everything but the packages."""
    if not _is_ours():
        return
    if process_of("slurmctld.pid"):
        command("scancel", "--user=root", "--full")
        wait_for(lambda: not queue("--states=running,completing"), 30, "the end of all jobs")
    for name in NODES:
        stop(f"slurmd-{name}.pid")
    stop("slurmctld.pid")
    stop("munged.pid")
    for file in ("slurm.conf", "gres.conf"):
        (CONFIGURATION / file).unlink(missing_ok=True)
    shutil.rmtree(STATE, ignore_errors=True)
    hosts = Path("/etc/hosts").read_text().splitlines()
    Path("/etc/hosts").write_text("".join(f"{line}\n" for line in hosts if MARK not in line))


def obstacle() -> str | None:
    """Why no cluster can be started here, or None."""
    if os.geteuid() != 0:
        return "a SLURM for tests needs root"
    if not shutil.which("apt-get") and not all(map(shutil.which, PACKAGES)):
        return "a SLURM for tests needs Debian's packages, or SLURM and munge installed"
    if (CONFIGURATION / "slurm.conf").exists() and not _is_ours():
        return f"{CONFIGURATION}/slurm.conf belongs to a real cluster"
    return None


def _is_ours() -> bool:
    file = CONFIGURATION / "slurm.conf"
    return file.exists() and MARK in file.read_text()


def _install() -> None:
    missing = [package for program, package in PACKAGES.items() if not shutil.which(program)]
    if not missing:
        return
    # Packages must not start their own daemons; this is Debian's way to prevent it.
    policy = Path("/usr/sbin/policy-rc.d")
    own_policy = not policy.exists()
    if own_policy:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    try:
        for arguments in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
            command("apt-get", *arguments, env=environment)
    finally:
        if own_policy:
            policy.unlink()


def _configure() -> None:
    """Write the configuration; names of the nodes must resolve, since processes meet by them."""
    host = socket.gethostname().split(".")[0]
    facts = {"host": host, "cpus": CPUS, "memory": MEMORY_MB, "gpus": GPUS}
    nodes = [
        NODE.format(name=name, port=6818 + number, **facts) for number, name in enumerate(NODES)
    ]
    text = SLURM_CONF.format(
        **{"mark": MARK, "host": host, "state": STATE, "nodes": "\n".join(nodes)},
        **{"shared": ",".join(SHARED), "lent": LENT, "frail": FRAIL},
    )
    file = CONFIGURATION / "slurm.conf"
    if process_of("slurmctld.pid"):
        if file.read_text() != text:
            raise SlurmError("another checkout's cluster runs: python -m tests.slurm.cluster down")
        return
    (STATE / "slurmctld").mkdir(parents=True, exist_ok=True)
    CONFIGURATION.mkdir(exist_ok=True)
    file.write_text(text)
    # SLURM wants character devices for GPUs, and takes links to one.
    for number in range(GPUS):
        link = STATE / f"gpu{number}"
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")
    devices = f"NodeName={','.join(NODES)} Name=gpu File={STATE}/gpu[0-{GPUS - 1}]"
    (CONFIGURATION / "gres.conf").write_text(f"{MARK}\n{devices}\n")
    hosts = Path("/etc/hosts").read_text()
    missing = [f"127.0.0.1 {name} {MARK}\n" for name in NODES if f" {name} " not in hosts]
    Path("/etc/hosts").write_text(hosts + "".join(missing))
    for name in NODES:
        (STATE / name).mkdir(exist_ok=True)


def start_munge() -> None:
    """Start the daemon by which SLURM's programs trust each other, unless one answers."""
    if _munge_answers():
        return
    key = Path("/etc/munge/munge.key")
    if not key.exists():
        command("mungekey", "--create")
    for folder in ("/run/munge", "/var/lib/munge", "/var/log/munge", "/etc/munge"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        shutil.chown(folder, "munge", "munge")
        Path(folder).chmod(0o755 if folder == "/run/munge" else 0o700)
    shutil.chown(key, "munge", "munge")
    pid_file = "/run/munge/munged.pid"
    command(
        *("setpriv", "--reuid=munge", "--regid=munge", "--init-groups"),
        *("munged", f"--pid-file={pid_file}"),
    )
    wait_for(_munge_answers, 10, "munge")
    shutil.copy(pid_file, STATE / "munged.pid")


def _munge_answers() -> bool:
    return subprocess.run("munge -n | unmunge", shell=True, capture_output=True).returncode == 0


def start_controller() -> None:
    """Start slurmctld unless it runs."""
    if not process_of("slurmctld.pid"):
        command("slurmctld")
    wait_for(lambda: "UP" in command("scontrol", "ping", check=False), 30, "slurmctld")


def start_node(name: str) -> None:
    """Start a node's slurmd unless it runs."""
    if not process_of(f"slurmd-{name}.pid"):
        command("slurmd", "-N", name)


def kill_node(name: str) -> None:
    """Fail a node as in a power failure: its slurmd and every process of its jobs are killed."""
    stop(f"slurmd-{name}.pid", signal.SIGKILL)
    for pid in _processes_with(f"SLURMD_NODENAME={name}"):
        _send(pid, signal.SIGKILL)


def _processes_with(variable: str) -> list[int]:
    """Processes of jobs that have this setting in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{variable}\0".encode() in (folder / "environ").read_bytes() + b"\0":
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
    return found


def process_of(pid_file: str) -> int | None:
    """Process that wrote this file of `STATE`, if it still runs."""
    try:
        pid = int((STATE / pid_file).read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ValueError):
        return None
    return pid if name in PACKAGES and state != "Z" else None


def stop(pid_file: str, number: signal.Signals = signal.SIGTERM) -> None:
    """Stop the process that wrote this file, and wait until it is gone."""
    pid = process_of(pid_file)
    if pid is not None:
        _send(pid, number)
        wait_for(lambda: process_of(pid_file) is None, 30, f"the end of {pid_file}")
    (STATE / pid_file).unlink(missing_ok=True)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def node_states() -> list[str]:
    """State of every node, in the order of their names."""
    shown = command("sinfo", "--noheader", "--Node", "--format=%N %T", check=False)
    # A node has a line for each of its partitions.
    return [line.split()[1].rstrip("*") for line in sorted(set(shown.splitlines()))]


def queue(*arguments: str) -> list[dict[str, str]]:
    """Jobs that squeue shows: id, state, partition, GPUs of a node, node, folder and comment."""
    columns = {
        **{"id": "%i", "state": "%T", "partition": "%P", "gpus": "%b"},
        **{"node": "%N", "folder": "%Z", "comment": "%k"},
    }
    shown = command("squeue", "--noheader", f"--format={'|'.join(columns.values())}", *arguments)
    return [dict(zip(columns, line.split("|", 6), strict=True)) for line in shown.splitlines()]


def wait_for(holds: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until something holds.

    Raises
    ------
    SlurmError
        When it does not in time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise SlurmError(f"waited {seconds} s in vain for {what}\n{_last_words()}")
        time.sleep(0.1)


def _last_words() -> str:
    logs = sorted(STATE.glob("*.log"))
    return "".join(f"--- {log}\n{log.read_text(errors='replace')[-1500:]}" for log in logs)


def command(*arguments: str, check: bool = True, **options: object) -> str:
    """Output of a command.

    Raises
    ------
    SlurmError
        When it fails, with what it said, unless `check` is off.
    """
    done = subprocess.run(arguments, capture_output=True, text=True, **options)
    if check and done.returncode:
        raise SlurmError(f"{' '.join(arguments)}: {done.stderr or done.stdout}")
    return done.stdout


if __name__ == "__main__":
    try:
        sys.exit({"up": up, "down": down, "with": run}[sys.argv[1]](*sys.argv[2:]))
    except SlurmError as error:
        sys.exit(f"tests.slurm.cluster: {error}")
