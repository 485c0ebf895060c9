"""What else SLURM, its nodes and Snakemake may suffer: a training arrives at the same weights."""

import shutil
import time
from pathlib import Path

import pytest

from tests.slurm import cluster
from tests.slurm.conftest import LocalWorkflow, products_of, slow, write_training
from tests.slurm.disturbing import (
    AFTER_45,
    TRAIN,
    break_one_index,
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
    project.first_look = AFTER_45
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
    # As `slurm_extra: --signal=USR1@120` does, to every process of the job.
    cluster.command("scancel", "--signal=USR1", job["id"])
    project.wait_for(lambda: "stopped by SIGUSR1; started again" in log_of(project), "a save")
    step = step_of(project)
    assert project.finish(running) == 0, project.said + project.logs()
    assert len(project.jobs_of("train")) == 2
    check(project, undisturbed)
    check_within_epoch(project, step)


def test_failed_node_is_survived(project, undisturbed):
    project.first_look = AFTER_45
    project.site = "{partition: frail}"
    running = project.start(*TRAIN)
    job = project.wait_until_training()
    cluster.kill_node(job["node"])
    try:
        project.wait_for(lambda: state_of(job) != "RUNNING", "notice of the lost node")
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
    assert "stopped" not in unlock(project)
    # Nobody has recorded what its results were made with, so they count as unfinished.
    project.run(*TRAIN)
    check(project, undisturbed)
    assert "epoch 1 of" not in log_of(project)


def stop_controller_when_a_job_has_ended(folder: Path) -> str:
    """Folder of a `squeue` that stops the controller once, after it has told of a job's end."""
    real, done = shutil.which("squeue"), folder / "down"
    (folder / "bin").mkdir()
    script = folder / "bin/squeue"
    script.write_text(
        f'#!/bin/sh\nshown=$({real} "$@") || exit\n[ -z "$shown" ] || echo "$shown"\n'
        f'case "$shown" in *COMPLETED*) [ -e {done} ] || '
        f"{{ touch {done}; kill $(cat {cluster.STATE}/slurmctld.pid); }} ;; esac\n"
    )
    script.chmod(0o755)
    return str(script.parent)


def test_controller_that_is_down_for_a_minute_is_waited_for(project, undisturbed):
    write_training(project.folder, slow(3))
    project.programs = stop_controller_when_a_job_has_ended(project.folder)
    # Two of three jobs at a time: when one ends, one runs and one is to be submitted.
    three = ("--until", "train", "inspect_batches", "fit_pixels")
    running = project.start(*three, "--jobs", "2", "--retries", "0")
    project.wait_for((project.folder / "down").exists, "end of a job")
    time.sleep(60)
    assert "SLURM's controller does not answer; waiting for it" in project.said
    cluster.start_controller()
    assert project.finish(running) == 0, project.said + project.logs()
    assert len(project.jobs_of("")) == 3
    assert products_of(project.folder) == undisturbed


def test_run_without_a_destination_is_refused(project):
    project.site = ""
    assert "config/site.yaml: no such file, so it is not known where" in project.run(fails=True)


def test_failure_in_a_group_costs_the_others_nothing(project):
    break_one_index(project)
    config = project.config
    config["experiments"][1]["patches"] = True
    project.config = config
    # (Snakemake 9 starts nothing that waits for a job which is itself asked for by `--until`.)
    wanted = ("--until", "merge", "patches")
    said = project.run(*wanted, "--retries", "1", fails=True)
    assert "Error in rule index" in said
    assert "track_id" in said, "the last lines of its log"
    assert "Error in rule statistics" not in said
    first, again = sorted(project.jobs_of("experiments"), key=lambda job: int(job["id"]))
    assert "statistics" in first["comment"]
    assert "statistics" not in again["comment"], "what was made is not made again"
    assert len(project.jobs_of("patches")) == 1, "and what waits for it is made"
    table = project.folder / "data/one/tracks/A/1/0/tracks.csv"
    table.write_text(table.read_text().replace("tract_id", "track_id", 1))
    left = LocalWorkflow(project.folder).jobs(*wanted, "--dry-run")
    assert left == ["index experiment=one", "merge collection=all"]
