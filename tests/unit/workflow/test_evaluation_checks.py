"""Tasks and truth are held against the tables that there will be."""

from pathlib import Path

import pytest
from tests.unit.config.conftest import write_experiment

from dynaclr.config import UserError
from dynaclr.config.project import load_project
from dynaclr.workflow.evaluation_checks import check_evaluation


@pytest.fixture
def project(tmp_path):
    """Content of a project whose experiments have annotations and truth."""
    (tmp_path / "labels.csv").write_text("fov,track_id,t,state\nA/1/0,1,0,dead\n")
    (tmp_path / "truth.csv").write_text("fov,track_id,onset,response\nA/1/0,1,4,0.5\n")
    (tmp_path / "training.yaml").write_text("model: {}\n")
    tables = {"annotations": "labels.csv", "truth": "truth.csv"}
    return {
        "experiments": [write_experiment(tmp_path, n) | tables for n in ("one", "two", "three")],
        "collections": {"both": {"train": ["one"], "validation": ["two"]}},
        "models": {"small": {"collection": "both", "training": "training.yaml"}},
        "evaluation": {
            "experiments": ["three"],
            "onset": "onset",
            "progression": "response",
            "tasks": [{"name": "task", "label": "state", "where": "condition == 'mock'"}],
        },
    }


def check(project, folder):
    check_evaluation(load_project(project, Path(folder)))


def test_a_sound_evaluation(project, tmp_path):
    project["evaluation"]["tasks"] += [{"name": "more", "label": "response", "source": "truth"}]
    project["evaluation"]["tasks"][0]["where"] = "marker == 'phase' and state != 'dead'"
    check(project, tmp_path)


def test_tables_that_are_yet_to_be_simulated(project, tmp_path):
    for entry in project["experiments"]:
        entry |= {"simulation": {}, "pixel_size_um": 0.5}
    project["evaluation"] |= {"onset": "onset_hours"}
    project["evaluation"]["tasks"][0]["label"] = "cell_state"
    check(project, tmp_path)
    project["evaluation"] |= {"onset": "onset"}
    with pytest.raises(UserError, match="truth of one has no column 'onset'"):
        check(project, tmp_path)


def test_a_ceiling_needs_experiments_that_it_has_not_seen(project, tmp_path):
    project["evaluation"]["ceiling"] = True
    check(project, tmp_path)
    project["evaluation"]["experiments"] = []
    check(project, tmp_path)
    project["collections"]["both"] = {"train": ["one", "two"], "validation_fov_fraction": 0.2}
    with pytest.raises(UserError, match=r"evaluation.ceiling: model small has no held-out"):
        check(project, tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"onset": "onsets"}, "evaluation.onset .* truth of two has no column 'onsets'. Did you"),
        ({"progression": "state"}, "evaluation.progression .*no column 'state'"),
        ({"label": "stat"}, "tasks: task: label .* no annotations of .* has a column 'stat'. Did"),
        ({"label": "state", "source": "truth"}, "no truth of one, three, two has a column 'state'"),
        ({"where": "condition == 'mok'"}, "tasks: task: where .* no well of one, three, two"),
        ({"where": "donor == 1"}, "tasks: task: where .* no column 'donor'"),
        ({"where": "hours == 'late' and hours > 'x'"}, "cannot be evaluated"),
    ],
)
def test_what_would_end_the_evaluation(project, tmp_path, changes, message):
    section = project["evaluation"]
    for key, value in changes.items():
        (section if key in section else section["tasks"][0])[key] = value
    with pytest.raises(UserError, match=message):
        check(project, tmp_path)


def test_tasks_may_be_there_before_any_annotation(project, tmp_path):
    for entry in project["experiments"]:
        del entry["annotations"]
    check(project, tmp_path)


def test_truth_that_no_experiment_has(project, tmp_path):
    for entry in project["experiments"]:
        del entry["truth"]
    with pytest.raises(UserError, match="no experiment has a table of truth with 'onset'"):
        check(project, tmp_path)
