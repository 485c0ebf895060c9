"""The benchmarks run; what they measure is looked at by people."""

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent


@pytest.mark.slow
def test_reading_benchmark_measures_everything_that_its_table_holds():
    command = [sys.executable, FOLDER / "reading.py", "--small", "--batches", "1"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    head, _, *rows = done.stdout.splitlines()
    assert len(rows) == 2
    assert head in (FOLDER / "README.md").read_text()


@pytest.mark.slow
def test_workers_benchmark_measures_everything_that_its_table_holds():
    command = [sys.executable, FOLDER / "workers.py", "--rows", "60000", "--workers", "4"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    head, _, *rows = done.stdout.splitlines()
    assert len(rows) == 1
    assert head in (FOLDER / "README.md").read_text()


@pytest.mark.slow
def test_sampling_benchmark_measures_everything_that_its_table_holds():
    command = [sys.executable, FOLDER / "sampling.py", "--rows", "3000", "6000", "--steps", "3"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured = [line.split("  ")[0].strip() for line in done.stdout.splitlines()]
    table = (FOLDER / "README.md").read_text()
    assert len(measured) == 10
    for name in measured:
        assert f"| {name} |" in table


@pytest.mark.slow
def test_explorer_benchmark_measures_everything_that_its_table_holds():
    command = [sys.executable, FOLDER / "explorer.py", "--cells", "500", "1000"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured = [line.split("  ")[0].strip() for line in done.stdout.splitlines()[1:]]
    table = (FOLDER / "README.md").read_text()
    assert len(measured) == 5
    for name in measured:
        assert f"| {name} |" in table


@pytest.mark.slow
def test_evaluation_benchmark_measures_everything_that_its_table_holds():
    command = [sys.executable, FOLDER / "evaluation.py", "--rows", "2000", "3000"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured = [line.split("  ")[0].strip() for line in done.stdout.splitlines()]
    table = (FOLDER / "README.md").read_text()
    assert len(measured) == 11
    for name in measured:
        assert f"| {name} |" in table
