"""The workflow in two invocations of Snakemake, and the way back after one was killed."""

from __future__ import annotations

import shlex
import signal
import subprocess
from pathlib import Path

from dynaclr.cli.jobs import stop_live_jobs

# What models depend on. Snakemake plans a whole invocation before it starts, so a rebuilt but
# identical index can only stop the wave between two invocations.
FIRST = ("merge", "statistics")


def run_workflow(arguments: list[str]) -> int:
    """Run Snakemake up to the indexes, then to the end.

    Parameters
    ----------
    arguments : list of str
        Arguments of Snakemake, ``--profile slurm`` for example.

    Returns
    -------
    int
        Exit code of the first invocation that failed, or 0.
    """
    for targets in (["--until", *FIRST], []):
        code = _snakemake([*arguments, *targets])
        if code:
            return code
    return 0


def _snakemake(arguments: list[str]) -> int:
    """Run Snakemake and return its exit code; what signals do to its jobs is its own affair."""
    told = []
    with subprocess.Popen(["snakemake", *arguments]) as running:

        def stop(number: int, _: object) -> None:
            told.append(number)
            # Ctrl-C reaches Snakemake too, which cancels its jobs; it must not be killed meanwhile.
            if number == signal.SIGTERM:
                running.terminate()

        signal.signal(signal.SIGINT, stop)
        signal.signal(signal.SIGTERM, stop)
        # A Snakemake that was done by then ends well: what comes after it is not to be begun.
        return running.wait() or (128 + told[0] if told else 0)


def unlock_workflow(arguments: list[str]) -> int:
    """Stop the jobs that a killed Snakemake left on a cluster, and unlock the folder.

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
    return subprocess.run(["snakemake", *arguments, "--unlock"], check=False).returncode


def shell_prefix(source: Path) -> str:
    """What to put before every shell command in an environment that lacks this package alone.

    Parameters
    ----------
    source : Path
        Folder in which the package lies.

    Returns
    -------
    str
        Text with doubled braces, since Snakemake formats it once more.
    """
    python = f"PYTHONPATH={shlex.quote(str(source))} python"
    prefix = f'set -euo pipefail; dynaclr() {{ {python} -m dynaclr "$@"; }}; '
    return prefix.replace("{", "{{").replace("}", "}}")


COMMANDS = {"run": run_workflow, "unlock": unlock_workflow}
