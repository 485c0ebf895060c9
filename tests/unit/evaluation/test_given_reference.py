"""A frozen model is judged by the reference that it came with, as the trained one was."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from dynaclr.config import EvaluationConfig, UserError
from dynaclr.evaluation import score_experiment, take_reference
from dynaclr.evaluation.reference import Reference
from dynaclr.evaluation.samples import read_sample
from dynaclr.io.folder_digests import write_folder_digests


@pytest.fixture
def taken(evaluated: Path, tmp_path: Path) -> Path:
    """The reference of the complete evaluation, as one of a model with one seed."""
    folder = tmp_path / "taken"
    take_reference(evaluated / "reference", "frozen", ["seed0"], EvaluationConfig(), folder)
    return folder


def metrics_of(folder: Path) -> pd.DataFrame:
    table = pd.read_csv(folder / "metrics.csv", dtype=str, keep_default_na=False)
    base = table["variant"].str.partition("+")[0]
    return table[base == "seed0"].drop(columns="model").reset_index(drop=True)


def test_it_holds_one_variant_under_the_name_of_the_frozen_model(evaluated, taken):
    reference, whole = Reference.load(taken), Reference.load(evaluated / "reference")
    assert reference.model == "frozen"
    assert [*reference.feature_names] == [*reference.encoders] == [*reference.maps] == ["seed0"]
    assert {variant.base for variant in reference.ordered} == {"seed0"}
    assert reference.drift == whole.drift
    for path in (taken / "samples").iterdir():
        obs, features = read_sample(path)
        assert [*features] == ["seed0"]
        known = read_sample(evaluated / "reference/samples" / path.name)
        pd.testing.assert_frame_equal(obs, known[0])
    pd.testing.assert_frame_equal(metrics_of(taken), metrics_of(evaluated / "reference"))
    for file in ("metrics", "confusion", "cells"):
        table = pd.read_csv(taken / f"{file}.csv")
        assert len(table) > 0, file
        assert {*table["model"]} == {"frozen"}, file
    assert pd.read_csv(taken / "differences.csv").empty, "there is no baseline to compare with"


def test_another_experiment_is_scored_as_by_the_trained_model(synthetic, evaluated, taken):
    config = EvaluationConfig(bootstrap=100, shuffles=30, control="mock", progression="response")
    stores = {"seed0": synthetic.stores["seed0"]["c"]}
    labels = {"c": synthetic.labels["c"]}
    score_experiment(taken, "c", stores, labels, config, taken.parent / "c")
    found, expected = metrics_of(taken.parent / "c"), metrics_of(evaluated / "experiments/c")
    assert len(found) > 20
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    ("variant", "message"), [("seed7", "no classifiers of seed7"), ("seed1", "no map of seed1")]
)
def test_a_variant_that_is_not_in_it_is_an_error(evaluated, tmp_path, variant, message):
    given = (evaluated / "reference", "frozen", [variant], EvaluationConfig(), tmp_path / "taken")
    with pytest.raises(UserError, match=message):
        take_reference(*given)
    assert not (tmp_path / "taken").exists()


def test_tasks_of_the_project_are_said_not_to_count(evaluated, tmp_path, caplog):
    config = EvaluationConfig.model_validate({"tasks": [{"name": "other", "label": "state"}]})
    given = (evaluated / "reference", "frozen", ["seed0"], config, tmp_path / "taken")
    take_reference(*given)
    assert "(responder, state), not by those of this project (other)" in caplog.text


def test_a_damaged_bundle_is_not_used(evaluated, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(evaluated / "reference", bundle / "reference")
    write_folder_digests(bundle, "bundle.json", {})
    take_reference(bundle / "reference", "m", ["seed0"], EvaluationConfig(), tmp_path / "first")
    file = bundle / "reference/reference.json"
    file.write_text(file.read_text() + "\n")
    with pytest.raises(UserError, match=r"reference\.json"):
        take_reference(bundle / "reference", "m", ["seed0"], EvaluationConfig(), tmp_path / "two")
