"""Checks of a SLURM cluster before a run: settings that would hang it, and live jobs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from dynaclr.config import UserError

# In a long run, Snakemake's plugin asks for the state of jobs up to this rarely (and some), in s.
_LONGEST_PAUSE_S = 200
# Where Snakemake's SLURM plugin keeps its logs, unless a profile says otherwise.
SUBMITTED = Path(".snakemake/slurm_logs")
_STOP_TIMEOUT_S = 300
# Settings of a partition by their names.
Partition = Mapping[str, str]


def check_slurm(status_command: str, used: Iterable[str | None]) -> None:
    """Refuse a SLURM on which a run would hang; one that does not answer is not refused.

    Parameters
    ----------
    status_command : {"squeue", "sacct"}
        What the plugin asks for the state of jobs (`slurm-status-command`).
    used : iterable of str or None
        Partitions that jobs go to, several at once separated by commas; None is the default one.

    Raises
    ------
    UserError
        When the run would wait for ever.
    """
    settings = controller_settings()
    check_job_records(settings, status_command)
    if settings.get("PreemptType") == "preempt/partition_prio":
        check_preemption(partitions(), used)


def _scontrol(*arguments: str) -> str:
    return subprocess.run(["scontrol", *arguments], capture_output=True, text=True).stdout


def controller_settings() -> dict[str, str]:
    """The controller's configuration; empty when it does not answer."""
    return dict(re.findall(r"^(\w+)\s*= (.*)$", _scontrol("show", "config"), flags=re.MULTILINE))


def partitions() -> dict[str, Partition]:
    """Settings of each partition, by its name."""
    lines = _scontrol("show", "partition", "--oneliner").splitlines()
    settings = [dict(re.findall(r"(\w+)=(\S*)", line)) for line in lines]
    return {one["PartitionName"]: one for one in settings if "PartitionName" in one}


def check_job_records(settings: Mapping[str, str], status_command: str) -> None:
    """Refuse a controller that does not keep the end of a job until Snakemake asks for it.

    Parameters
    ----------
    settings : mapping of str to str
        From `controller_settings`.
    status_command : {"squeue", "sacct"}

    Raises
    ------
    UserError
        When ended jobs are forgotten too soon, or accounting is asked where there is none.
    """
    # For squeue, seconds that ended jobs stay known; 0 is for ever.
    age = re.match(r"\d+", settings.get("MinJobAge", ""))
    if age is None:
        return
    stays_known = int(age[0]) == 0 or int(age[0]) >= _LONGEST_PAUSE_S
    # Without accounts it says "(null)", or "accounting_storage/none" in older versions.
    has_accounts = "slurmdbd" in settings.get("AccountingStorageType", "")
    if status_command == "sacct" and not has_accounts:
        reason = "sacct would be asked how jobs end, but this SLURM keeps no accounts"
    elif status_command != "sacct" and not stays_known:
        reason = (
            f"squeue would be asked how jobs end, but this SLURM forgets them after {age[0]} s "
            f"(MinJobAge), and in a long run Snakemake asks only every {_LONGEST_PAUSE_S} s"
        )
    else:
        return
    if has_accounts:
        fix = "Add `--slurm-status-command sacct` (on a machine where sacct is installed)."
    elif stays_known:
        fix = "Add `--slurm-status-command squeue`, as workflow/profiles/slurm has it."
    else:
        fix = (
            "Ask your cluster's administrators for `MinJobAge=300`, which is SLURM's default, or "
            "for accounting (then add `--slurm-status-command sacct`)."
        )
    raise UserError(f"{reason}. Snakemake would wait for ever. {fix}")


def check_preemption(known: Mapping[str, Partition], used: Iterable[str | None]) -> None:
    """Refuse partitions whose preempted jobs are cancelled: Snakemake would wait for them for ever.

    Parameters
    ----------
    known : mapping of str to mapping
        From `partitions`.
    used : iterable of str or None
        As in `check_slurm`.

    Raises
    ------
    UserError
        When a job there can be preempted and is cancelled then.
    """
    default = ",".join(name for name, own in known.items() if own.get("Default") == "YES")
    names = {name for several in used for name in (several or default).split(",")}
    cancelling = sorted(
        name
        for name in names & known.keys()
        if "CANCEL" in known[name].get("PreemptMode", "")
        and any(_can_preempt(other, known[name]) for other in known.values())
    )
    if cancelling:
        raise UserError(
            f"partition {', '.join(cancelling)} has PreemptMode=CANCEL: SLURM cancels jobs there "
            "for more urgent ones, and Snakemake would wait for them for ever. Use a partition "
            "with PreemptMode=REQUEUE or OFF (see `scontrol show partition`), or ask your "
            "cluster's administrators for REQUEUE. See config/README.md, 'Preemption, failures, "
            "time limits'."
        )


def _can_preempt(other: Partition, partition: Partition) -> bool:
    """Whether jobs of another partition preempt those of this one, on nodes that both have."""
    if int(other.get("PriorityTier", 0)) <= int(partition.get("PriorityTier", 0)):
        return False
    theirs, ours = (
        set(_scontrol("show", "hostnames", names).split()) if names else set()
        for names in (other.get("Nodes"), partition.get("Nodes"))
    )
    # Where nodes are not known, they may be the same.
    return not theirs or not ours or bool(theirs & ours)


def live_jobs(on_slurm: bool) -> list[str]:
    """Numbers of the workflow's jobs that were submitted from this folder and are in the queue.

    Parameters
    ----------
    on_slurm : bool
        Whether jobs may have been submitted though nothing in this folder shows it.

    Raises
    ------
    UserError
        When SLURM does not answer.
    """
    # A folder that was copied from a cluster to a machine without SLURM has no jobs.
    if not on_slurm and not (SUBMITTED.is_dir() and shutil.which("squeue")):
        return []
    # Number, working folder and comment; the plugin's comments say which rule it is.
    command = ["squeue", "--me", "--noheader", "--format=%A|%Z|%k"]
    try:
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        raise UserError(
            f"{Path.cwd()}: SLURM does not answer whether jobs that were submitted from here "
            f"still run ({str(reason).strip()}). Try again when it does."
        ) from None
    jobs = [line.split("|", 2) for line in shown.splitlines()]
    numbers = {
        number
        for number, folder, comment in jobs
        if comment.startswith("rule_")
        and Path(folder).resolve() == Path.cwd()
        and number != os.environ.get("SLURM_JOB_ID")
    }
    return sorted(numbers, key=int)


def check_no_live_jobs(on_slurm: bool) -> None:
    """Stop a run that would do what jobs of an earlier one are still doing.

    Parameters
    ----------
    on_slurm : bool
        Whether the run itself submits jobs to SLURM.

    Raises
    ------
    UserError
        When there are such jobs.
    """
    jobs = live_jobs(on_slurm)
    if jobs:
        raise UserError(
            f"{Path.cwd()}: {len(jobs)} job(s) of another run are in the queue: "
            f"{', '.join(jobs[:10])}{' ...' if len(jobs) > 10 else ''}. If its Snakemake is alive, "
            "wait for it. If it was killed, `dynaclr unlock` stops them (trainings are saved "
            "first); then the same command goes on."
        )


def stop_live_jobs() -> int:
    """Stop the jobs that a killed run left, wait until they are gone, and return how many.

    Raises
    ------
    UserError
        When some do not end.
    """
    on_slurm = shutil.which("squeue") is not None
    try:
        jobs = live_jobs(on_slurm)
    except UserError:
        # A machine with SLURM's commands and without a SLURM, whose runs are all its own.
        if SUBMITTED.is_dir():
            raise
        jobs = []
    if not jobs:
        return 0
    subprocess.run(["scancel", *jobs], check=True)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while left := live_jobs(on_slurm):
        if time.monotonic() > deadline:
            raise UserError(
                f"jobs {', '.join(left)} were asked to stop {_STOP_TIMEOUT_S} s ago and still run. "
                "Ask your cluster's administrators to end them, then try again."
            )
        time.sleep(1)
    return len(jobs)
