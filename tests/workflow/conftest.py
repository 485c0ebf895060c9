"""Runs the real Snakemake on small projects in folders of their own."""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
# The interpreter's own folder first: `dynaclr` and `snakemake` of this environment.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def entry_of(name: str) -> dict:
    """Entry of a small experiment, as its user would describe it."""
    return {
        "name": name,
        "data_path": f"data/{name}/plate.zarr",
        "tracks_path": f"data/{name}/tracks",
        "truth": f"data/{name}/truth.csv",
        "channels": [{"name": "Phase2D", "marker": "phase"}],
        "condition_wells": {"mock": ["A/1"], "infected": ["B/1"]},
        "interval_minutes": 30,
        "start_hpi": 4,
        "pixel_size_um": 0.6,
    }


@dataclass
class Workflow:
    """A project folder on which Snakemake runs.

    Attributes
    ----------
    folder : Path
        Working folder; ``config.yaml`` and ``results`` lie in it.
    """

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        """Command line of this project, with `arguments` added."""
        fixed = ["--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "config.yaml"]
        return ["snakemake", *fixed, "--cores", "2", *arguments]

    def environment(self) -> dict[str, str]:
        """Environment in which this interpreter's commands are found."""
        return os.environ | {"PATH": PATH, "OMP_NUM_THREADS": "1"}

    def run(self, *arguments: str, fails: bool = False) -> str:
        """Run Snakemake and return what it said; it must succeed unless `fails`."""
        return self._execute(self.command(*arguments), fails)

    def _execute(self, command: list[str], fails: bool = False) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        said = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, said + self.logs()
        return said

    def jobs(self, *arguments: str) -> list[str]:
        """Run and return the jobs that ran, each as ``rule wildcard=value ...``, sorted."""
        return jobs_in(self.run(*arguments))

    def jobs_of_all_phases(self, *arguments: str) -> list[str]:
        """Jobs that ``dynaclr run`` runs in all of its invocations, sorted."""
        return jobs_in(self._execute(["dynaclr", "run", *self.command(*arguments)[1:]]))

    def logs(self) -> str:
        """All log files, for the message of a failed test."""
        files = sorted((self.folder / "logs").rglob("*.log"))
        return "".join(f"\n--- {file}\n{file.read_text()[-3000:]}" for file in files)

    @property
    def config(self) -> dict:
        """Content of the project's configuration."""
        return yaml.safe_load((self.folder / "config.yaml").read_text())

    @config.setter
    def config(self, content: dict) -> None:
        (self.folder / "config.yaml").write_text(yaml.safe_dump(content, sort_keys=False))

    def json(self, path: str) -> dict:
        """Content of a JSON product."""
        return json.loads((self.folder / path).read_text())


def jobs_in(said: str) -> list[str]:
    """Jobs that Snakemake says it started, as ``rule wildcard=value ...``, sorted.

    The digest of the patch spec is left out.
    """
    blocks = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", said, flags=re.MULTILINE)
    jobs = []
    for rule, details in blocks:
        wildcards = re.search(r"^    wildcards: (.*)$", details, flags=re.MULTILINE)
        values = re.findall(r"\w+=[^,\s]+", wildcards.group(1)) if wildcards else []
        kept = [value for value in values if not value.startswith("patches=")]
        jobs.append(" ".join([rule, *kept]))
    return sorted(jobs)


@pytest.fixture
def workflow(tmp_path: Path) -> Workflow:
    """A project folder without a configuration yet."""
    return Workflow(tmp_path)
