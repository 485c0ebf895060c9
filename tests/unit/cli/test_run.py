"""`dynaclr run` and `unlock`, and the prefix of shell commands in rules."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dynaclr.cli.run import shell_prefix, unlock_workflow
from dynaclr.config import UserError
from dynaclr.workflow.slurm import stop_live_jobs


def test_prefix_makes_the_command_of_a_folder_with_any_name(tmp_path):
    source = tmp_path / 'it\'s a {clone} "of" $HOME'
    (source / "dynaclr").mkdir(parents=True)
    (source / "dynaclr/__init__.py").touch()
    (source / "dynaclr/__main__.py").write_text("import sys; print(sys.argv[1:]); sys.exit(7)")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", shell_prefix(source).format() + "dynaclr index 'two words' | cat"],
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "['index', 'two words']\n", done.stderr
    assert done.returncode == 7, "a command's failure does not vanish in a pipe"


def started(folder: Path, snakemake: str, **options) -> subprocess.Popen:
    """`dynaclr run` with a script in place of Snakemake, which has touched `started`."""
    stand_in = folder / "snakemake"
    stand_in.write_text(f"#!/bin/bash\n{snakemake}; touch started; sleep 60 & wait\n")
    stand_in.chmod(0o755)
    running = subprocess.Popen(
        [Path(sys.executable).with_name("dynaclr"), "run"],
        cwd=folder,
        env=os.environ | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"},
        **options,
    )
    while not (folder / "started").exists():
        time.sleep(0.05)
    return running


@pytest.fixture
def heeded():
    """A shell that starts tests in the background lets them, and what they start, ignore SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("number", "send"), [(signal.SIGTERM, os.kill), (signal.SIGINT, os.killpg)]
)
def test_snakemake_ends_its_jobs_before_the_run_ends(tmp_path, heeded, number, send):
    ends = "trap 'sleep 1; touch ended; exit 5' TERM INT"
    running = started(tmp_path, ends, start_new_session=True)
    send(running.pid, number)
    assert running.wait(30) == 5
    assert (tmp_path / "ended").exists()


def test_nothing_is_begun_after_a_stop_that_the_first_snakemake_could_not_heed(tmp_path):
    running = started(tmp_path, "trap 'exit 0' TERM; echo run >> runs")
    running.terminate()
    assert running.wait(30) == 128 + signal.SIGTERM
    assert (tmp_path / "runs").read_text() == "run\n"


@pytest.mark.parametrize("submitted", [False, True])
def test_a_machine_with_slurm_commands_alone_is_unlocked(tmp_path, monkeypatch, submitted):
    squeue = tmp_path / "squeue"
    squeue.write_text("#!/bin/sh\necho no controller >&2; exit 1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    if not submitted:
        assert stop_live_jobs() == 0
        return
    (tmp_path / ".snakemake/slurm_logs").mkdir(parents=True)
    with pytest.raises(UserError, match="SLURM does not answer"):
        stop_live_jobs()


SUMMARY = (
    "output_file\tdate\trule\tlog-file(s)\tstatus\tplan\n"
    "recorded.csv\tMon Nov 30 2026\ta\tlogs/a.log\tok\tno update\n"
    "unrecorded.csv\tMon Nov 30 2026\ta\t-\tok\tno update\n"
    "store.zarr\tMon Nov 30 2026\tb\t-\tok\tno update\n"
    "missing.csv\t-\ta\t-\tmissing\tupdate pending\n"
)


@pytest.mark.parametrize("submitted", [False, True])
def test_unlocking_removes_unrecorded_products_only_where_a_cluster_ran_jobs(
    tmp_path, monkeypatch, submitted
):
    (tmp_path / "summary").write_text(SUMMARY)
    programs = {"snakemake": 'case "$*" in *--summary*) cat summary ;; esac', "squeue": "exit 0"}
    for name, script in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.chdir(tmp_path)
    products = {"recorded.csv", "unrecorded.csv", "store.zarr"}
    (tmp_path / "store.zarr").mkdir()
    for name in products - {"store.zarr"}:
        (tmp_path / name).touch()
    if submitted:
        (tmp_path / ".snakemake/slurm_logs").mkdir(parents=True)
    assert unlock_workflow(["--cores", "1"]) == 0
    left = {name for name in products if (tmp_path / name).exists()}
    assert left == ({"recorded.csv"} if submitted else products)
