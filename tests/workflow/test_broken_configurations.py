"""Snakemake on broken configurations: one message, exit code 2, and no job has started."""

import subprocess

import pytest
import yaml

from dynaclr.config.training import merge_trainings
from tests.unit.config.broken import BROKEN
from tests.unit.config.conftest import write_experiment
from tests.workflow.conftest import Workflow

NAMES = (
    *("missing_plate", "unknown_channel", "typo_in_key", "well_in_two_conditions"),
    *("duplicate_name", "negative_interval", "in_train_and_validation", "no_validation"),
    *("missing_tracks", "empty_list"),
)


@pytest.mark.parametrize("name", NAMES)
def test_snakemake_starts_no_job(name, tmp_path):
    content = {
        "experiments": [write_experiment(tmp_path, one) for one in ("one", "two", "three")],
        "collections": {"both": {"train": ["one"], "validation": ["two"]}},
        "models": {"small": {"collection": "both", "training": "training.yaml"}},
        "evaluation": {"experiments": ["three"], "tasks": []},
    }
    (tmp_path / "training.yaml").write_text("model: {}\n")
    BROKEN[name].apply(content, tmp_path)
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
    for part in BROKEN[name].message:
        assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("dynaclr:") == 1
    assert not (tmp_path / "results").exists()
    assert not (tmp_path / "logs").exists()


def test_snakemake_reads_as_every_command_reads(tmp_path):
    (tmp_path / "training.yaml").write_text("model: {}\n")
    content = {
        "experiments": [write_experiment(tmp_path, one) for one in ("one", "two")],
        "collections": {"both": {"train": ["one"], "validation": ["two"]}},
        "models": {"small": {"collection": "both", "training": "training.yaml"}},
    }
    project = Workflow(tmp_path)
    for wrong, message in {
        "start_hpi: 3:30": "start_hpi: input should be a valid number",
        "start_hpi: 2\n  start_hpi: 2": "the key 'start_hpi' is there twice",
    }.items():
        text = yaml.safe_dump(content).replace("start_hpi: 2", wrong, 1)
        (tmp_path / "config.yaml").write_text(text)
        done = subprocess.run(
            project.command(),
            cwd=tmp_path,
            env=project.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 2, done.stderr
        assert message in done.stderr
        assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("keys", "messages"),
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
def test_broken_training_configuration_is_refused_before_any_job(tmp_path, keys, messages):
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
    output = project.run(fails=True)
    assert "training.yaml" in output
    assert [text for text in messages if text not in output] == []
    assert not (tmp_path / "results").exists()
