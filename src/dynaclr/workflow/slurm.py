"""What is asked of SLURM by its own commands: settings that would hang a run, and live jobs."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from dynaclr.config import UserError

# Snakemake's plugin looks at the queue at least this often, in seconds; and some.
_LONGEST_PAUSE_S = 200
# Where Snakemake's SLURM plugin keeps its logs, unless a profile says otherwise.
SUBMITTED = Path(".snakemake/slurm_logs")
_PATIENCE_S = 300


def check_slurm(status_command: str, first_look_s: int, used: Iterable[str | None]) -> None:
    """Refuse a SLURM on which a run would hang; one that does not answer is not refused.

    Parameters
    ----------
    status_command, first_look_s
        The plugin's, see `refuse_forgetful`.
    used : iterable of str or None
        Partitions, see `refuse_cancelling`.

    Raises
    ------
    UserError
        When the run would wait for ever.
    """
    configuration = settings()
    sacct = shutil.which("sacct") is not None
    refuse_forgetful(configuration, status_command, first_look_s, sacct)
    if configuration.get("PreemptType") == "preempt/partition_prio":
        refuse_cancelling(partitions(), used)


def _ask(*arguments: str) -> str:
    return subprocess.run(["scontrol", *arguments], capture_output=True, text=True).stdout


def settings() -> dict[str, str]:
    """The controller's configuration; empty when it does not answer."""
    return _pairs(r"^(\w+)\s*= (.*)$", _ask("show", "config"))


def partitions() -> dict[str, dict[str, str]]:
    """Settings of each partition, by its name."""
    shown = _ask("show", "partition", "--oneliner").splitlines()
    each = [_pairs(r"(\w+)=(\S*)", line) for line in shown]
    return {one["PartitionName"]: one for one in each if "PartitionName" in one}


def _pairs(pattern: str, text: str) -> dict[str, str]:
    return dict(re.findall(pattern, text, flags=re.MULTILINE))


def _job_age(configuration: Mapping[str, str]) -> float | None:
    """Seconds for which the controller remembers ended jobs, or None if it does not say."""
    seconds = re.match(r"\d+", configuration.get("MinJobAge", ""))
    # With zero, no job is ever forgotten.
    return (int(seconds[0]) or math.inf) if seconds else None


def refuse_forgetful(
    configuration: Mapping[str, str], command: str, first_look_s: int, sacct: bool
) -> None:
    """Stop a run that would wait for ever for jobs whose end it cannot see.

    Parameters
    ----------
    configuration : mapping of str to str
        The controller's.
    command : {"squeue", "sacct"}
        What the plugin asks for the state of jobs (`slurm-status-command`).
    first_look_s : int
        Seconds to its first look (`slurm-init-seconds-before-status-checks`).
    sacct : bool
        Whether `sacct` is installed here.

    Raises
    ------
    UserError
        When the controller forgets jobs between two looks, or when there is no accounting to ask.
    """
    age = _job_age(configuration)
    if age is None:
        return
    # Without accounts it says "(null)", or "accounting_storage/none" in older versions.
    accounting = "slurmdbd" in configuration.get("AccountingStorageType", "")
    remembers = age >= _LONGEST_PAUSE_S
    # The plugin turns to sacct by itself where it thinks that squeue forgets too soon.
    asked = "sacct" if sacct and (command == "sacct" or age < 3 * first_look_s) else "squeue"
    if asked == "sacct" and not accounting:
        reason = "sacct would be asked how jobs end, but this SLURM keeps no accounts"
    elif asked == "squeue" and not remembers:
        reason = (
            f"squeue would be asked how jobs end, but this SLURM forgets them after {age} s "
            f"(MinJobAge), and in a long run Snakemake's looks are up to {_LONGEST_PAUSE_S} s apart"
        )
    else:
        return
    raise UserError(f"{reason}. Snakemake would wait for ever. {_remedy(accounting, remembers)}")


def _remedy(accounting: bool, remembers: bool) -> str:
    if accounting:
        return "Add `--slurm-status-command sacct` (on a machine where sacct is installed)."
    if remembers:
        return (
            "Add `--slurm-status-command squeue --slurm-init-seconds-before-status-checks 10`, as "
            "workflow/profiles/slurm/profile.yaml has it."
        )
    return (
        "Ask your cluster's administrators for `MinJobAge=300`, which is SLURM's default, or for "
        "accounting (then add `--slurm-status-command sacct`)."
    )


def refuse_cancelling(known: Mapping[str, Mapping[str, str]], used: Iterable[str | None]) -> None:
    """Stop a run on partitions whose preempted jobs are cancelled: it would wait for them for ever.

    Parameters
    ----------
    known : mapping of str to mapping
        Settings of the cluster's partitions, see `partitions`.
    used : iterable of str
        Partitions that jobs go to, several at once separated by commas; None is the default one.

    Raises
    ------
    UserError
        When a job there can be preempted and is cancelled then.
    """
    default = ",".join(name for name, own in known.items() if own.get("Default") == "YES")
    names = {name for several in used for name in (several or default).split(",")}
    lost = sorted(
        name
        for name in names & known.keys()
        if "CANCEL" in known[name].get("PreemptMode", "")
        and any(_makes_way(known[name], other) for other in known.values())
    )
    if lost:
        raise UserError(
            f"partition {', '.join(lost)} has PreemptMode=CANCEL: SLURM cancels jobs that make way "
            "for others, and Snakemake would wait for them for ever. Use a partition with "
            "PreemptMode=REQUEUE or OFF (`scontrol show partition` tells), or ask your cluster's "
            "administrators for REQUEUE. See config/README.md, 'Preemption, failures, time limits'."
        )


def _makes_way(partition: Mapping[str, str], other: Mapping[str, str]) -> bool:
    """Whether jobs of a partition can be preempted by those of another one, on nodes of both."""
    if _tier(partition) >= _tier(other):
        return False
    mine, theirs = _nodes(partition), _nodes(other)
    return not mine or not theirs or bool(mine & theirs)


def _nodes(partition: Mapping[str, str]) -> set[str]:
    """Names of a partition's nodes; none if they are not known."""
    names = partition.get("Nodes", "")
    return set(_ask("show", "hostnames", names).split()) if names else set()


def _tier(partition: Mapping[str, str]) -> int:
    return int(partition.get("PriorityTier", 0))


def live_jobs(on_slurm: bool) -> list[str]:
    """Numbers of the workflow's jobs that were submitted from this folder and are in the queue.

    Parameters
    ----------
    on_slurm : bool
        Whether jobs may have been submitted though nothing in this folder shows it.

    Raises
    ------
    UserError
        When SLURM does not answer, so that it is not known.
    """
    # A folder that was copied from a cluster to a machine without SLURM has no jobs.
    if not on_slurm and not (SUBMITTED.is_dir() and shutil.which("squeue")):
        return []
    # Number, working folder and comment; the plugin's comments say which rule it is.
    asked = ["squeue", "--me", "--noheader", "--format=%A|%Z|%k"]
    try:
        shown = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        raise UserError(
            f"{Path.cwd()}: SLURM does not tell whether jobs that were submitted from here "
            f"still run ({str(reason).strip()}). Try again when it does."
        ) from None
    found = (line.split("|", 2) for line in shown.splitlines())
    return sorted(
        {
            number
            for number, folder, comment in found
            if comment.startswith("rule_")
            and Path(folder).resolve() == Path.cwd()
            and number != os.environ.get("SLURM_JOB_ID")
        },
        key=int,
    )


def refuse_live_jobs(on_slurm: bool) -> None:
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
    deadline = time.monotonic() + _PATIENCE_S
    while left := live_jobs(on_slurm):
        if time.monotonic() > deadline:
            raise UserError(
                f"jobs {', '.join(left)} were asked to stop {_PATIENCE_S} s ago and have not. Ask "
                "your cluster's administrators to end them, then try again."
            )
        time.sleep(1)
    return len(jobs)
