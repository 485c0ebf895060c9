"""Labels of a person: models learn from them, and a changed label reruns what uses it alone."""

import csv
from pathlib import Path

import pytest

from tests.workflow.conftest import jobs_in
from tests.workflow.finished_project import (
    OF_B,
    REPORTED,
    evaluated_of,
    finished,  # noqa: F401
    of_model,
    project,  # noqa: F401
)

# ruff: noqa: F811
pytestmark = pytest.mark.slow


def change(path: Path, column: str) -> None:
    """Give the first observation that has one another label, and turn the rows around."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    row = next(row for row in rows if row[column])
    others = [other[column] for other in rows if other[column] not in ("", row[column])]
    row[column] = others[0]
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0].keys())
        writer.writeheader()
        writer.writerows(reversed(rows))


def test_a_changed_label_reruns_what_uses_it_alone(project):
    def planned_after(experiment: str, column: str) -> list[str]:
        path = project.folder / f"data/{experiment}/annotations.csv"
        text = path.read_text()
        change(path, column)
        jobs = jobs_in(project.run("--dry-run"))
        path.write_text(text)
        return jobs

    assert planned_after("alone", "mitotic") == []
    judged = [job for name in "ab" for job in evaluated_of(name, fits=False)]
    assert planned_after("alone", "cell_state") == sorted([*judged, *REPORTED])
    assert planned_after("two", "mitotic") == []
    assert planned_after("one", "cell_state") == sorted([*evaluated_of("a"), *REPORTED])
    assert planned_after("two", "cell_state") == sorted(
        [
            "labels experiment=two column=cell_state",
            "inspect_batches model=b",
            *of_model("b", OF_B),
            *evaluated_of("a"),
            *REPORTED,
        ]
    )
    assert "Nothing to be done" in project.run()


def test_labels_that_do_not_fit_are_found_before_any_job(project):
    path = project.folder / "data/two/annotations.csv"
    text = path.read_text()
    path.write_text(text.replace("cell_state", "cell/state", 1))
    said = project.run("--dry-run", fails=True)
    assert "column 'cell/state' cannot be the name of a column in AnnData" in said
    assert "Traceback" not in said
