"""The benchmarks run; what they measure is judged by people."""

import pytest
from tests.benchmarks.running import README, lines_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("script", "arguments", "n_rows"),
    [
        ("reading.py", ["--small", "--batches", "1"], 2),
        ("workers.py", ["--rows", "60000", "--workers", "4"], 1),
    ],
)
def test_table_has_the_columns_that_are_printed(script, arguments, n_rows):
    head, _, *rows = lines_of(script, *arguments)
    assert len(rows) == n_rows
    assert head in README.read_text()


@pytest.mark.parametrize(
    ("script", "arguments", "n_heads", "n_rows"),
    [
        ("sampling.py", ["--rows", "3000", "6000", "--steps", "3"], 0, 10),
        ("explorer.py", ["--cells", "500", "1000"], 1, 5),
        ("evaluation.py", ["--rows", "2000", "--features", "16"], 1, 5),
    ],
)
def test_table_has_a_row_for_everything_that_is_measured(script, arguments, n_heads, n_rows):
    measured = [line.split("  ")[0].strip() for line in lines_of(script, *arguments)[n_heads:]]
    table = README.read_text()
    assert len(measured) == n_rows
    for name in measured:
        assert f"| {name} |" in table


def test_plans_list_exactly_the_jobs_of_a_change():
    *plans, jobs = lines_of("planning.py", "--experiments", "4", "--models", "2", "--tables", "2")
    changes = [line.split(": ")[0] for line in plans]
    assert changes == ["nothing to do, first plan", "nothing to do", "one experiment changed"]
    assert ", embed 2, " in jobs
