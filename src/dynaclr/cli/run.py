"""`dynaclr run` and `dynaclr unlock`: the workflow in three invocations of Snakemake."""

from __future__ import annotations

import csv
import os
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

from dynaclr.workflow.slurm import SUBMITTED, stop_live_jobs

# Rules that read what the first invocations make: indexes and statistics, then patch stores.
# Snakemake plans a whole invocation before it starts: a product that is rebuilt with the same
# content spares the jobs behind it in the next invocation only.
LATER = (
    *("train", "freeze", "inspect_batches", "fit_pixels", "thumbnails"),
    *("draw_experiment", "draw_collection"),
)


def run_workflow(arguments: list[str]) -> int:
    """Run Snakemake up to indexes and statistics, then with patch stores, then to the end.

    Parameters
    ----------
    arguments : list of str
        Arguments of Snakemake, ``--profile slurm`` for example.

    Returns
    -------
    int
        Exit code of the first invocation that failed, or 0.
    """
    for left_out in (("patches", *LATER), LATER, ()):
        code = _snakemake([*arguments, *(["--omit-from", *left_out] if left_out else [])])
        if code:
            return code
    return 0


def _snakemake(arguments: list[str]) -> int:
    """Run Snakemake and return its exit code; signals reach it, and it stops its own jobs."""
    signals = []
    with subprocess.Popen(["snakemake", *arguments]) as running:

        def stop(number: int, _: object) -> None:
            signals.append(number)
            # Ctrl-C reaches Snakemake by itself, and a second signal would kill it while it cancels
            # its jobs.
            if number == signal.SIGTERM:
                running.terminate()

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        # A Snakemake that was done by then returns 0; the next invocation must not start.
        return running.wait() or (128 + signals[0] if signals else 0)


def unlock_workflow(arguments: list[str]) -> int:
    """Stop the jobs that a killed Snakemake left on a cluster, and clear up behind them.

    Parameters
    ----------
    arguments : list of str
        Arguments of the Snakemake that was killed.

    Returns
    -------
    int
        Exit code of Snakemake.

    Raises
    ------
    UserError
        When jobs cannot be stopped.
    """
    stopped = stop_live_jobs()
    if stopped:
        print(f"stopped {stopped} job(s) that the killed run had left in the queue")
    code = subprocess.run(["snakemake", *arguments, "--unlock"], check=False).returncode
    # Only jobs of a cluster outlive their Snakemake: a folder that was copied without Snakemake's
    # records, to be read elsewhere, keeps all it has.
    return code if code or not SUBMITTED.is_dir() else _remove_unrecorded(arguments)


def _remove_unrecorded(arguments: list[str]) -> int:
    """Remove products that jobs finished while Snakemake was dead; return its exit code.

    It has no record of what they were made with, and would never notice that this changes.
    Trainings are finished again at once, from what a resume needs.
    """
    asked = ["snakemake", *arguments, "--summary"]
    done = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=False)
    rows = csv.DictReader(done.stdout.splitlines(), delimiter="\t")
    # A product that is there has a date; only one that is on record has the log of its job.
    unrecorded = [
        Path(row["output_file"]) for row in rows if row["date"] != "-" and row["log-file(s)"] == "-"
    ]
    for product in unrecorded:
        if product.is_dir():
            shutil.rmtree(product)
        else:
            product.unlink(missing_ok=True)
    if unrecorded:
        print(f"removed {len(unrecorded)} product(s) that no record says how they were made")
    return done.returncode


def shell_prefix(*folders: Path) -> str:
    """Prefix of every shell command, with which it finds this package and modules of a user.

    Parameters
    ----------
    *folders : Path
        Folders of Python modules: the one in which the package lies, and that of the project file.

    Returns
    -------
    str
        Text with doubled braces, since Snakemake formats it once more.
    """
    path = shlex.quote(os.pathsep.join(str(folder.absolute()) for folder in folders))
    python = f"PYTHONPATH={path}${{PYTHONPATH:+:$PYTHONPATH}} python"
    prefix = f'set -euo pipefail; dynaclr() {{ {python} -m dynaclr "$@"; }}; '
    return prefix.replace("{", "{{").replace("}", "}}")


COMMANDS = {"run": run_workflow, "unlock": unlock_workflow}
