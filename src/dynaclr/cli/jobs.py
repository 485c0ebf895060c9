"""Jobs that a Snakemake which was killed left in SLURM's queue."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

from dynaclr.experiments import UserError

# Where Snakemake's SLURM plugin keeps its logs, unless a profile says otherwise.
_SUBMITTED = Path(".snakemake/slurm_logs")
_PATIENCE_S = 300


def live_jobs(on_slurm: bool) -> list[str]:
    """Numbers of the workflow's jobs that were submitted from this folder and are in the queue.

    Parameters
    ----------
    on_slurm : bool
        Whether jobs may have been submitted though nothing in this folder tells of them.

    Raises
    ------
    UserError
        When SLURM does not answer, so that it is not known.
    """
    if not (on_slurm or _SUBMITTED.is_dir()):
        return []
    # Number, working folder and comment; the plugin's comments say which rule it is.
    asked = ["squeue", "--me", "--noheader", "--format=%A|%Z|%k"]
    try:
        shown = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", None) or error
        raise UserError(
            f"{Path.cwd()}: SLURM does not tell whether jobs that were submitted from here "
            f"still run ({str(told).strip()}). Try again when it does."
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
        if _SUBMITTED.is_dir():
            raise
        jobs = []
    if not jobs:
        return 0
    subprocess.run(["scancel", *jobs], check=True)
    deadline = time.monotonic() + _PATIENCE_S
    while left := live_jobs(on_slurm):
        if time.monotonic() > deadline:
            raise UserError(
                f"jobs {', '.join(left)} were told to stop {_PATIENCE_S} s ago and have not. Ask "
                "your cluster's administrators to end them, then try again."
            )
        time.sleep(1)
    return len(jobs)
