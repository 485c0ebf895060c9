"""A real SLURM, and small projects that Snakemake runs on it, several at the same time."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from dynaclr.io.artifacts import digest_path
from dynaclr.training.hardware import WITHOUT_GPUS
from tests.lacking import lacks
from tests.slurm import cluster
from tests.workflow.conftest import REPOSITORY, Workflow, entry_of
from tests.workflow.finished_project import TRAINING
from tests.workflow.test_simulated import SIMULATION

MODULES = os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])
STARTED: list[subprocess.Popen] = []
NAMES = ("one", "two", "three")


class LocalWorkflow(Workflow):
    """A project folder whose trainings may use the tests' own callbacks."""

    def environment(self) -> dict[str, str]:
        """Environment in which jobs find `tests.slurm.disturbed`."""
        return super().environment() | {"PYTHONPATH": MODULES}


class SlurmWorkflow(LocalWorkflow):
    """A project folder whose jobs go to SLURM, by the profile that users have."""

    site = "{partition: cpu, gpu_partition: gpu, group_above: 0, cpus_per_gpu: 2}"
    # Folder of programs that replace others.
    programs = ""
    # Seconds to the plugin's first check of a job; before each further one it waits ten longer.
    first_check = 2

    def command(self, *arguments: str) -> list[str]:
        """`snakemake --profile slurm`, quicker to notice the end of a job."""
        fixed = ["--snakefile", str(REPOSITORY / "Snakefile"), "--configfile", "config.yaml"]
        options_of_checks = ["--slurm-init-seconds-before-status-checks", str(self.first_check)]
        quick = [*options_of_checks, "--max-status-checks-per-second", "1"]
        return ["snakemake", "--profile", "slurm", *fixed, *quick, *arguments]

    def environment(self) -> dict[str, str]:
        """Environment with the settings of this site, whose GPUs are pretend ones."""
        inherited = super().environment()
        path = os.pathsep.join(filter(None, [self.programs, inherited["PATH"]]))
        return inherited | {"PATH": path, "DYNACLR_SITE": self.site, WITHOUT_GPUS: "1"}

    def start(self, *arguments: str) -> subprocess.Popen:
        """Start Snakemake and return at once; what it says is in ``snakemake.log``."""
        with (self.folder / "snakemake.log").open("a") as log:
            running = subprocess.Popen(
                self.command(*arguments),
                cwd=self.folder,
                env=self.environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        STARTED.append(running)
        return running

    @property
    def said(self) -> str:
        """What Snakemake said since `start`."""
        return (self.folder / "snakemake.log").read_text()

    def wait_for(self, holds: Callable[[], object], what: str, seconds: float = 400) -> None:
        """Wait until something holds; show all logs if it does not."""
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, f"no {what}\n{self.said}\n{self.logs()}"
            time.sleep(0.1)

    def wait_until_training(self) -> dict[str, str]:
        """Wait until a training has been saved, and return its job."""
        saved = lambda: list(self.folder.glob("results/models/*/*/.work/*/last.ckpt"))  # noqa: E731
        self.wait_for(saved, "training with a first epoch")
        (job,) = self.jobs_of("train", "--states=running")
        return job

    def finish(self, running: subprocess.Popen, seconds: float = 600) -> int:
        """Exit code of a started Snakemake."""
        try:
            return running.wait(seconds)
        except subprocess.TimeoutExpired:
            running.kill()
            pytest.fail(f"Snakemake goes on for ever\n{self.said}\n{self.logs()}")

    def jobs_of(self, rule: str, *arguments: str) -> list[dict[str, str]]:
        """SLURM's jobs of a rule that were submitted from this folder."""
        return [
            job
            for job in cluster.queue(*(arguments or ("--states=all",)))
            if job["folder"] == str(self.folder) and job["comment"].startswith(f"rule_{rule}")
        ]


def write_project(folder: Path, seeds: list[int], trainer: dict, batch_size: int = 32) -> None:
    """Write a project of three simulated experiments and one model."""
    (folder / "slurm").symlink_to(REPOSITORY / "workflow/profiles/slurm")
    write_training(folder, trainer, batch_size)
    SlurmWorkflow(folder).config = {
        "experiments": [
            entry_of(name) | {"simulation": SIMULATION | {"seed": number}}
            for number, name in enumerate(NAMES)
        ],
        "collections": {"all": {"train": ["one", "two"], "validation": ["three"]}},
        "models": {
            "m": {"collection": "all", "training": "training.yaml", "threads": 1, "seeds": seeds}
        },
        "evaluation": {
            "tasks": [{"name": "r", "label": "responding", "source": "truth"}],
            "bootstrap": 10,
            "shuffles": 0,
        },
    }


def write_training(folder: Path, trainer: dict, batch_size: int = 32) -> None:
    """Write the training configuration of a project."""
    data = TRAINING["data"] | {"batch_size": batch_size}
    training = TRAINING | {"data": data, "trainer": trainer}
    (folder / "training.yaml").write_text(yaml.safe_dump(training))


@pytest.fixture(scope="session")
def slurm() -> None:
    """A running cluster; skipped with a reason where there can be none, never in CI.

    It stays up: other processes of this run may use it. `make test-slurm` brings it down.
    """
    why_not = cluster.obstacle()
    if why_not:
        lacks(why_not)
    cluster.up()


@pytest.fixture(autouse=True)
def nothing_left(slurm: None, tmp_path: Path) -> Iterator[None]:
    """No Snakemake and no job of a test outlives it."""
    yield
    for running in STARTED:
        running.kill()
        running.wait()
    STARTED.clear()
    left = lambda: [  # noqa: E731
        job["id"]
        for job in cluster.queue("--states=pending,running,completing,suspended")
        if Path(job["folder"]).is_relative_to(tmp_path)
    ]
    if left():
        cluster.command("scancel", *left())
        cluster.wait_for(lambda: not left(), 60, "the end of a test's jobs")


@pytest.fixture(scope="session")
def merged(slurm: None, made_once: Callable[[str, Callable[[Path], None]], Path]) -> Path:
    """A project run up to what its trainings need, without SLURM."""

    def make(folder: Path) -> None:
        write_project(folder, seeds=[0], trainer={"max_epochs": 1})
        LocalWorkflow(folder).run("--until", "merge", "statistics")

    return made_once("merged", make)


EPOCHS = 8


def slow(seconds: float, **options: object) -> dict:
    """Trainer of a few epochs that take long enough to be disturbed, to the same weights."""
    callback = {
        "class_path": "tests.slurm.disturbed.SlowEpochs",
        "init_args": {"seconds": seconds} | options,
    }
    return {"max_epochs": EPOCHS, "accelerator": "cpu", "callbacks": [callback]}


@pytest.fixture(scope="session")
def undisturbed(
    merged: Path, made_once: Callable[[str, Callable[[Path], None]], Path]
) -> dict[str, str]:
    """Digests of what the disturbed trainings must arrive at."""

    def make(folder: Path) -> None:
        shutil.copytree(merged, folder, symlinks=True, dirs_exist_ok=True)
        write_training(folder, slow(0))
        LocalWorkflow(folder).run("--until", "train")

    return products_of(made_once("undisturbed", make))


def products_of(folder: Path) -> dict[str, str]:
    """Digests of a training's weights and history."""
    names = ("best.ckpt", "last.ckpt", "metrics.csv")
    return {name: digest_path(folder / "results/models/m/seed0" / name) for name in names}


@pytest.fixture
def project(merged: Path, tmp_path: Path) -> SlurmWorkflow:
    """A copy of the merged project, whose training takes its time."""
    shutil.copytree(merged, tmp_path / "project", symlinks=True)
    write_training(tmp_path / "project", slow(1.0))
    return SlurmWorkflow(tmp_path / "project")
