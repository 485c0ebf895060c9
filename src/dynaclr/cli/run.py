"""The workflow in two invocations of Snakemake."""

from __future__ import annotations

import subprocess

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
        code = subprocess.run(["snakemake", *arguments, *targets], check=False).returncode
        if code:
            return code
    return 0
