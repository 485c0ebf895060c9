"""Snakemake on broken configurations: one message, exit code 2, and no job has started."""

import subprocess

import pytest
import yaml

from dynaclr.config.training import merge_trainings
from tests.unit.config.conftest import write_experiment
from tests.unit.config.test_project import (
    duplicate_name,
    empty_list,
    in_train_and_validation,
    missing_plate,
    missing_tracks,
    negative_interval,
    no_validation,
    typo_in_key,
    unknown_channel,
    well_in_two_conditions,
)
from tests.workflow.conftest import Workflow

FAULTS = {
    missing_plate: "no such plate",
    unknown_channel: "Did you mean 'GFP'?",
    typo_in_key: "Did you mean 'interval_minutes'?",
    well_in_two_conditions: "is listed in both",
    duplicate_name: "is listed twice",
    negative_interval: "greater than 0",
    in_train_and_validation: "both train and validation",
    no_validation: "no validation data",
    missing_tracks: "is no folder",
    empty_list: "at least 1",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_snakemake_starts_no_job(fault, tmp_path):
    content = {
        "experiments": [write_experiment(tmp_path, name) for name in ("one", "two", "three")],
        "collections": {"both": {"train": ["one"], "validation": ["two"]}},
        "models": {"small": {"collection": "both", "training": "training.yaml"}},
        "evaluation": {"experiments": ["three"], "tasks": []},
    }
    (tmp_path / "training.yaml").write_text("model: {}\n")
    fault(content, tmp_path)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(content))
    project = Workflow(tmp_path)
    done = subprocess.run(
        project.command(),
        cwd=tmp_path,
        env=project.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert FAULTS[fault] in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("dynaclr:") == 1
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        (
            {"model": {"learning_rat": 1}},
            ["learning_rat"],
        ),
        pytest.param(
            {
                "data": {
                    "tau_range": [0.1, 0.2],
                    "sampling": {"group_weights": {"on": 1.0}},
                }
            },
            [
                *("experiment one: tau_range", "experiment two: tau_range", "interval_minutes=30"),
                *("on is no train experiment. Did you mean 'one'?", "one has no weight"),
            ],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_broken_training_configuration_is_told_before_any_job(tmp_path, keys, told):
    content = {
        "experiments": [write_experiment(tmp_path, name) for name in ("one", "two")],
        "collections": {"both": {"train": ["one"], "validation": ["two"]}},
        "models": {"small": {"collection": "both", "training": "training.yaml"}},
    }
    training = {
        "model": {
            "encoder": {
                "class_path": "dynaclr.models.SmallEncoder",
                "init_args": {"in_channels": 2},
            }
        },
        "data": {"patches": {"markers": ["phase", "reporter"], "size": [16, 16]}},
    }
    (tmp_path / "training.yaml").write_text(yaml.safe_dump(merge_trainings(training, keys)))
    project = Workflow(tmp_path)
    project.config = content
    said = project.run(fails=True)
    assert "training.yaml" in said
    assert [text for text in told if text not in said] == []
    assert not (tmp_path / "results").exists()
