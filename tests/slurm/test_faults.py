"""What SLURM, its nodes and Snakemake may suffer: a training arrives at the same weights anyway."""

import os
import signal
import subprocess
import time

import pytest

from tests.slurm import cluster
from tests.slurm.conftest import SlurmWorkflow, products_of, slow, write_training

pytestmark = pytest.mark.slow
TRAIN = ("--until", "train")


def check(project: SlurmWorkflow, undisturbed: dict[str, str]) -> None:
    """The training went on from where it was, and arrived where it would have."""
    log = (project.folder / "logs/train/m.seed0.log").read_text()
    assert "resuming from" in log, log
    assert products_of(project.folder) == undisturbed
    assert project.jobs(*TRAIN) == []


def state_of(job: dict[str, str]) -> str:
    (found,) = cluster.queue(f"--jobs={job['id']}", "--states=all")
    return found["state"]


def test_requeued_job_goes_on(project, undisturbed):
    running = project.start(*TRAIN)
    job = project.wait_until_training()
    cluster.command("scontrol", "requeue", job["id"])
    assert project.finish(running) == 0, project.said + project.logs()
    assert len(project.jobs_of("train")) == 1, "SLURM starts the job again, Snakemake does not"
    check(project, undisturbed)


def test_preempted_job_goes_on(project, undisturbed):
    project.site = "{partition: preempt}"
    running = project.start(*TRAIN)
    job = project.wait_until_training()
    cluster.command(
        *("sbatch", "--partition=cpu", "--nodes=2", "--exclusive", "--output=/dev/null"),
        *("--comment=important", "--wrap=sleep 3"),
    )
    project.wait_for(lambda: state_of(job) != "RUNNING", "preemption")
    assert project.finish(running) == 0, project.said + project.logs()
    assert len(project.jobs_of("train")) == 1, "it gave its node back and kept its number"
    check(project, undisturbed)


def test_failed_node_is_survived(project, undisturbed):
    running = project.start(*TRAIN)
    job = project.wait_until_training()
    cluster.kill_node(job["node"])
    project.wait_for(lambda: state_of(job) != "RUNNING", "notice of the lost node")
    cluster.start_node(job["node"])
    assert project.finish(running) == 0, project.said + project.logs()
    check(project, undisturbed)


def test_time_limit_is_survived(project, undisturbed):
    write_training(project.folder, slow(6))
    running = project.start(*TRAIN, "--set-resources", "train:runtime=1")
    assert project.finish(running) == 0, project.said + project.logs()
    states = [job["state"] for job in sorted(project.jobs_of("train"), key=lambda job: job["id"])]
    assert len(states) >= 2
    assert states[-1] == "COMPLETED"
    assert set(states[:-1]) <= {"TIMEOUT", "FAILED"}
    check(project, undisturbed)


def test_more_memory_is_given_after_too_little(project, undisturbed):
    write_training(project.folder, slow(0.5, hungry_epoch=4, megabytes=1500))
    running = project.start(*TRAIN, "--set-resources", "train:mem_mb=1500 * attempt ** 2")
    assert project.finish(running) == 0, project.said + project.logs()
    assert "Trying to restart" in project.said
    check(project, undisturbed)


def test_terminated_snakemake_lets_its_jobs_finish(project):
    running = project.start(*TRAIN)
    project.wait_until_training()
    running.terminate()
    assert project.finish(running) != 0
    assert "Will exit after finishing currently running jobs" in project.said
    assert project.jobs(*TRAIN) == [], "and what they made is on record"
    assert len(project.jobs_of("train")) == 1


def kill(running: subprocess.Popen) -> None:
    """Kill Snakemake and whatever it started here; its jobs in SLURM live on."""
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()


def unlock(project: SlurmWorkflow) -> str:
    """The one step that the documentation tells."""
    return subprocess.run(
        ["dynaclr", "unlock", *project.command()[1:]],
        **{"cwd": project.folder, "env": project.environment()},
        **{"capture_output": True, "text": True, "check": True},
    ).stdout


def test_killed_snakemake_does_nothing_twice(project, undisturbed):
    write_training(project.folder, slow(4))
    running = project.start(*TRAIN)
    project.wait_until_training()
    kill(running)
    project.run("--unlock")
    assert "1 job(s) of another run are in the queue" in project.run(*TRAIN, fails=True)
    assert "stopped 1 job(s)" in unlock(project)
    assert project.jobs_of("train", "--states=running,pending,completing") == []
    project.run(*TRAIN)
    check(project, undisturbed)


def test_training_that_outlived_its_snakemake_is_not_done_again(project, undisturbed):
    running = project.start(*TRAIN)
    job = project.wait_until_training()
    kill(running)
    project.wait_for(lambda: state_of(job) == "COMPLETED", "end of the job")
    assert "stopped" not in unlock(project)
    # Nobody has recorded what its results were made with, so they count as unfinished.
    project.run(*TRAIN)
    check(project, undisturbed)
    assert "epoch 1 of" not in (project.folder / "logs/train/m.seed0.log").read_text()


def test_controller_that_is_down_for_a_minute_is_waited_for(project, undisturbed):
    running = project.start(*TRAIN)
    project.wait_until_training()
    cluster.stop("slurmctld.pid")
    time.sleep(60)
    cluster.start_controller()
    assert project.finish(running) == 0, project.said + project.logs()
    assert len(project.jobs_of("train")) == 1
    assert products_of(project.folder) == undisturbed


def test_run_without_a_destination_is_refused(project):
    project.site = ""
    assert "config/site.yaml: no such file, so it is not known where" in project.run(fails=True)


def test_failed_job_is_told_and_the_others_finish(project):
    project.site = "{partition: cpu}"
    broken = project.folder / "results/experiments/one/cells.parquet"
    kept = project.folder / "results/experiments/two/statistics.parquet"
    for product in (broken, kept):
        product.with_name(f"{product.name}.digest").unlink()
    table = project.folder / "data/one/tracks/A/1/0/tracks.csv"
    table.write_text(table.read_text().replace("track_id", "tract_id", 1))
    said = project.run("--until", "merge", "statistics", "--retries", "0", fails=True)
    assert "Error in rule index" in said
    assert "logs/index/one.log" in said
    assert "track_id" in said, "the last lines of its log"
    assert kept.with_name("statistics.parquet.digest").exists()
    assert not broken.exists()
