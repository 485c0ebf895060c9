"""Writes the conda environment from the lock file.

Snakemake copies an environment's file elsewhere before it is used, so that the file cannot name
lock.txt beside it; the pinned versions must be in it.
"""

from pathlib import Path

FOLDER = Path(__file__).parent
HEAD = """# Written by envs/write_environment.py from lock.txt; edit neither by hand.
# The pinned environment for `snakemake --sdm conda`; outside of conda, envs/setup.sh makes it.
channels:
  - conda-forge
  - nodefaults
dependencies:
  - python=3.12
  - pip
  - pip:
"""


def environment() -> str:
    """Text of environment.yaml."""
    pinned = [line for line in (FOLDER / "lock.txt").read_text().splitlines() if "==" in line]
    return HEAD + "".join(f'      - "{line}"\n' for line in pinned)


if __name__ == "__main__":
    (FOLDER / "environment.yaml").write_text(environment())
