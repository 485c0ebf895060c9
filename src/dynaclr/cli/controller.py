"""SLURM's controller: waited for where it is down, and asked for settings that would hang a run."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping

from dynaclr.experiments import UserError

# How long a controller that is down is waited for, and between two looks.
_PATIENCE_S, _LOOK_EVERY_S = 3600, 5
# Snakemake's plugin looks at the queue at least this often, in seconds; and some.
_LONGEST_PAUSE_S = 200


def wait_for_controller(given_up: Callable[[], bool] = lambda: False) -> None:
    """Return as soon as SLURM's controller answers, or after an hour.

    Parameters
    ----------
    given_up : callable
        Says whether nobody waits any longer.
    """
    deadline = time.monotonic() + _PATIENCE_S
    told = False
    while not _answers() and time.monotonic() < deadline and not given_up():
        if not told:
            print("dynaclr: SLURM's controller does not answer; waiting for it", file=sys.stderr)
            told = True
        time.sleep(_LOOK_EVERY_S)


def _answers() -> bool:
    return "is UP" in _ask("ping")


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


def job_age(configuration: Mapping[str, str]) -> float | None:
    """Seconds for which the controller remembers ended jobs, or None if it did not say."""
    seconds = re.match(r"\d+", configuration.get("MinJobAge", ""))
    # With zero, no job is ever forgotten.
    return (int(seconds[0]) or math.inf) if seconds else None


def refuse_forgetful(
    configuration: Mapping[str, str], command: str, first_look_s: int, sacct: bool
) -> None:
    """Stop a run that would wait for ever for jobs that nobody told it the end of.

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
    age = job_age(configuration)
    if age is None:
        return
    # Without accounts it says "(null)", or "accounting_storage/none" in older versions.
    accounting = "slurmdbd" in configuration.get("AccountingStorageType", "")
    remembers = age >= _LONGEST_PAUSE_S
    # The plugin turns to sacct by itself where it thinks that squeue forgets too soon.
    asked = "sacct" if sacct and (command == "sacct" or age < 3 * first_look_s) else "squeue"
    if asked == "sacct" and not accounting:
        fault = "sacct would be asked how jobs end, but this SLURM keeps no accounts"
    elif asked == "squeue" and not remembers:
        fault = (
            f"squeue would be asked how jobs end, but this SLURM forgets them after {age} s "
            f"(MinJobAge), and in a long run Snakemake's looks are up to {_LONGEST_PAUSE_S} s apart"
        )
    else:
        return
    raise UserError(f"{fault}. Snakemake would wait for ever. {_remedy(accounting, remembers)}")


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
    """Names of a partition's nodes; none if they are not told."""
    told = partition.get("Nodes", "")
    return set(_ask("show", "hostnames", told).split()) if told else set()


def _tier(partition: Mapping[str, str]) -> int:
    return int(partition.get("PriorityTier", 0))
