"""What happens to every user of a cluster; the rest stands in `test_more_faults.py`."""

import pytest

from dynaclr.io.artifacts import digest_path
from tests.slurm import cluster
from tests.slurm.conftest import slow, write_training
from tests.slurm.disturbing import (
    AFTER_45,
    TRAIN,
    break_one_index,
    check,
    check_within_epoch,
    kill,
    log_of,
    step_of,
    unlock,
)

pytestmark = pytest.mark.slow


def test_requeued_job_goes_on(project, undisturbed):
    project.first_check = AFTER_45
    running = project.start(*TRAIN)
    job = project.wait_until_training()
    cluster.command("scontrol", "requeue", job["id"])
    assert project.finish(running) == 0, project.said + project.logs()
    assert len(project.jobs_of("train")) == 1, "SLURM starts the job again, Snakemake does not"
    check(project, undisturbed)


def test_killed_snakemake_does_nothing_twice(project, undisturbed):
    write_training(project.folder, slow(6))
    running = project.start(*TRAIN)
    project.wait_until_training()
    kill(running)
    project.run("--unlock")
    assert "1 job(s) of another run are in the queue" in project.run(*TRAIN, fails=True)
    assert "stopped 1 job(s)" in unlock(project)
    assert project.jobs_of("train", "--states=running,pending,completing") == []
    assert "stopped by SIGTERM; started again" in log_of(project)
    step = step_of(project)
    project.run(*TRAIN)
    check(project, undisturbed)
    check_within_epoch(project, step)


def test_failed_job_is_reported_and_the_others_finish(project):
    project.site = "{partition: cpu}"
    sound = project.folder / "results/experiments/two/statistics.parquet"
    before = digest_path(sound)
    broken = break_one_index(project)
    running = project.start(
        *("--until", "merge", "statistics", "--retries", "0"),
        # One at a time, the one that fails first.
        *("--jobs", "1", "--prioritize", str(broken.relative_to(project.folder))),
    )
    # The other is disturbed, and starts again.
    started = lambda: project.jobs_of("statistics", "--states=running")  # noqa: E731
    project.wait_for(started, "a job after the one that failed")
    cluster.command("scontrol", "requeue", started()[0]["id"])
    assert project.finish(running) == 1
    assert "Error in rule index" in project.said
    assert "logs/index/one.log" in project.said
    assert "track_id" in project.said, "the last lines of its log"
    assert not broken.exists()
    assert len(project.jobs_of("statistics")) == 1
    assert digest_path(sound) == before
    assert sound.with_name("statistics.parquet.digest").exists()
