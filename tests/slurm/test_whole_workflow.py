"""The whole workflow on SLURM, as a user starts it: `snakemake --profile slurm`."""

import re
from pathlib import Path

import pytest

from tests.slurm.conftest import SlurmWorkflow, write_project

pytestmark = pytest.mark.slow


def test_whole_workflow_with_two_trainings_at_a_time(tmp_path: Path):
    write_project(tmp_path, seeds=[0, 1], trainer={"max_epochs": 1})
    project = SlurmWorkflow(tmp_path)
    running = project.start()
    both = []

    def two_train_at_once() -> bool:
        both.append(len(project.jobs_of("train", "--states=running")))
        return both[-1] == 2 or running.poll() is not None

    project.wait_for(two_train_at_once, "two trainings at the same time")
    assert project.finish(running) == 0, project.said + project.logs()
    assert both[-1] == 2
    assert (tmp_path / "results/report.html").stat().st_size > 0
    assert not list(tmp_path.glob("results/models/*/*/.work")), "nothing is kept that is on record"
    nodes = {job["id"]: job["node"] for job in project.jobs_of("train")}
    given = [
        re.search(r"SLURM job (\d+), CUDA_VISIBLE_DEVICES=(\d)", log.read_text()).groups()
        for log in tmp_path.glob("logs/train/*.log")
    ]
    assert len({(nodes[job], device) for job, device in given}) == 2, "each sees a GPU of its own"
    submitted = len(project.jobs_of(""))
    assert submitted == 17, "experiments, pictures, baselines and scores are grouped"
    assert "Nothing to be done" in project.run()
    assert len(project.jobs_of("")) == submitted, "a rerun submits nothing"
