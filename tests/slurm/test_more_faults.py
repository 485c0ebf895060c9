"""What else SLURM, its nodes and Snakemake may suffer: a training arrives at the same weights."""

import pytest

from tests.slurm import cluster
from tests.slurm.conftest import slow, write_training
from tests.slurm.disturbing import (
    AFTER_45,
    TRAIN,
    check,
    check_within_epoch,
    kill,
    log_of,
    state_of,
    step_of,
    unlock,
)

pytestmark = pytest.mark.slow


def test_preempted_job_goes_on(project, undisturbed):
    project.first_check = AFTER_45
    project.site = "{partition: preempt}"
    running = project.start(*TRAIN)
    job = project.wait_until_training()
    cluster.command(
        *("sbatch", "--partition=urgent", "--exclusive", "--output=/dev/null"),
        *("--comment=important", "--wrap=sleep 3"),
    )
    project.wait_for(lambda: state_of(job) != "RUNNING", "preemption")
    assert project.finish(running) == 0, project.said + project.logs()
    assert len(project.jobs_of("train")) == 1, "it gave its node back and kept its number"
    check(project, undisturbed)


def test_warned_job_saves_itself_and_goes_on(project, undisturbed):
    running = project.start(*TRAIN)
    job = project.wait_until_training()
    # As `slurm_extra: --signal=TERM@120` does, to every process of the job.
    cluster.command("scancel", "--signal=TERM", job["id"])
    project.wait_for(lambda: "stopped by SIGTERM; started again" in log_of(project), "a save")
    step = step_of(project)
    assert project.finish(running) == 0, project.said + project.logs()
    assert len(project.jobs_of("train")) == 2
    check(project, undisturbed)
    check_within_epoch(project, step)


def test_failed_node_is_survived(project, undisturbed):
    project.first_check = AFTER_45
    project.site = "{partition: frail}"
    running = project.start(*TRAIN)
    job = project.wait_until_training()
    cluster.kill_node(job["node"])
    try:
        project.wait_for(lambda: state_of(job) != "RUNNING", "notice of the failed node")
    finally:
        cluster.start_node(job["node"])
    assert project.finish(running) == 0, project.said + project.logs()
    check(project, undisturbed)


def test_time_limit_is_survived(project, undisturbed):
    write_training(project.folder, slow(9))
    running = project.start(*TRAIN, "--set-resources", "train:runtime=1")
    assert project.finish(running) == 0, project.said + project.logs()
    states = [job["state"] for job in sorted(project.jobs_of("train"), key=lambda job: job["id"])]
    assert len(states) >= 2
    assert states[-1] == "COMPLETED"
    assert set(states[:-1]) <= {"TIMEOUT", "FAILED"}
    check(project, undisturbed)


def test_more_memory_is_given_after_too_little(project, undisturbed):
    # More than the 3.5 GB that are asked for first, and less than twice as much.
    write_training(project.folder, slow(0.5, hungry_epoch=4, megabytes=3600))
    running = project.start(*TRAIN)
    assert project.finish(running) == 0, project.said + project.logs()
    assert len(project.jobs_of("train")) == 2
    check(project, undisturbed)


def test_terminated_snakemake_lets_its_jobs_finish(project):
    running = project.start(*TRAIN)
    project.wait_until_training()
    running.terminate()
    assert project.finish(running) != 0
    assert "Will exit after finishing currently running jobs" in project.said
    assert project.jobs(*TRAIN) == [], "and what they made is on record"
    assert len(project.jobs_of("train")) == 1


def test_training_that_outlived_its_snakemake_is_not_done_again(project, undisturbed):
    running = project.start(*TRAIN)
    job = project.wait_until_training()
    kill(running)
    project.wait_for(lambda: state_of(job) == "COMPLETED", "end of the job")
    said = unlock(project)
    assert "stopped" not in said
    # Nothing has recorded what its products were made with, so that they cannot stay.
    assert "product(s) that were finished while nothing recorded how" in said
    assert not (project.folder / "results/models/m/seed0/best.ckpt").exists()
    project.run(*TRAIN)
    check(project, undisturbed)
    assert "epoch 1 of" not in log_of(project), "what a resume needs was kept"


def test_run_without_a_destination_is_refused(project):
    project.site = ""
    assert "config/site.yaml: no such file, so it is not known where" in project.run(fails=True)
