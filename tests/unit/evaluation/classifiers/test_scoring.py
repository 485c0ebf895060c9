"""Scores of one task where labels, classes or features are missing, and the sentence about them."""

import json

import numpy as np
import pandas as pd
import pytest
from tests.unit.evaluation.classifiers.conftest import fit_and_score

from dynaclr.config import EvaluationConfig
from dynaclr.config.metrics import CROSS_VALIDATED, HELD_OUT
from dynaclr.config.variants import parse_variant
from dynaclr.evaluation.headline import summarize
from dynaclr.evaluation.inputs import make_inputs
from dynaclr.evaluation.response_scores import resolution_rows
from dynaclr.evaluation.tables import (
    CONFUSION_COLUMNS,
    DIFFERENCE_COLUMNS,
    METRIC_COLUMNS,
    write_csv,
)
from dynaclr.evaluation.tasks import select_task
from dynaclr.io.embedding_rows import read_embeddings


def chosen(table, **columns):
    for name, value in columns.items():
        table = table[table[name] == value]
    return table


def score(make, folder, task, change=lambda tables: None, held_out=("c",), train=("a", "b")):
    """Scores of one variant on few cells, after `change` worked on the observations."""
    tables = {name: make.observations(name, 12, 2, seed=n) for n, name in enumerate("abc")}
    for table in tables.values():
        table["response"] = table["track_id"] % 2
    change(tables)
    labels = {name: make.labels(folder, name, table) for name, table in tables.items()}
    obs = pd.concat(tables.values(), ignore_index=True)
    features = make.features(obs, 2.0, 0.0, 3, seed=0)
    features[obs.get("lacks_feature", np.zeros(len(obs))) == 1, 2] = np.nan
    rows = select_task(obs, task, labels)
    return fit_and_score(obs, {"seed0": features}, task, rows, list(train), list(held_out))


def headline_of(scores, folder):
    """Headline of a task, from its tables as they are written."""
    for name, columns in (
        ("metrics", METRIC_COLUMNS),
        ("differences", DIFFERENCE_COLUMNS),
        ("confusion", CONFUSION_COLUMNS),
    ):
        table = getattr(scores.tables, name).assign(task="responder", family="classification")
        write_csv(folder / f"{name}.csv", table, columns)
    return summarize(folder, "responder")


def test_a_held_out_experiment_with_one_class_gives_nan_and_the_reason(make, tmp_path):
    def all_silent(tables):
        tables["c"]["response"] = 0

    scores = score(make, tmp_path, make.tasks[0], all_silent)
    held_out = chosen(scores.tables.metrics, estimate=HELD_OUT).set_index("metric")
    assert held_out["value"][["auroc", "average_precision", "balanced_accuracy"]].isna().all()
    assert held_out["note"]["auroc"] == "all labelled observations are '0'"
    assert np.isfinite(held_out["value"]["f1:0"])
    headline = headline_of(scores, tmp_path)
    assert headline["trained"]["mean"] is None
    assert "no AUROC (all labelled observations are '0')" in headline["text"]
    json.dumps(headline, allow_nan=False)


def test_training_labels_of_one_class_train_nothing_and_say_so(make, tmp_path):
    def all_respond(tables):
        tables["a"]["response"] = tables["b"]["response"] = 1

    scores = score(make, tmp_path, make.tasks[0], all_respond)
    metrics = scores.tables.metrics
    assert len(metrics) == 7 * 5
    assert metrics["value"].isna().all()
    assert set(metrics["note"]) == {
        "all labels of the training experiments are '1': nothing was trained"
    }
    assert scores.fitted.classifiers == {}


def test_what_was_not_trained_has_resolution_rows_with_the_reason(make, tmp_path):
    def all_respond(tables):
        tables["a"]["response"] = tables["b"]["response"] = 1

    scores = score(make, tmp_path, make.tasks[0], all_respond)
    obs = pd.concat([make.observations(name, 12, 2, seed=n) for n, name in enumerate("abc")])
    inputs = make_inputs(
        obs.reset_index(drop=True), {}, EvaluationConfig(), ["a", "b"], ["c"], seed=0
    ).with_variant("seed0", np.zeros((len(obs), 3)), None)
    given = (inputs, parse_variant("seed0"), scores.rows, scores.fitted, scores.sets[0])
    metrics = pd.DataFrame(resolution_rows(*given).metrics)
    assert set(metrics["metric"]) == {"window_auroc", "visible_from_hours"}
    assert metrics["value"].isna().all()
    assert metrics["note"].str.contains("nothing was trained").all()


def test_a_class_not_seen_in_training_is_left_out_and_counted(make, tmp_path):
    def strange(tables):
        tables["c"].loc[0, "condition"] = "strange"
        tables["c"].loc[0, "response"] = 0

    scores = score(make, tmp_path, make.tasks[1], strange)
    held_out = chosen(scores.tables.metrics, estimate=HELD_OUT)
    assert held_out["note"].str.startswith("1 rows of 'strange', not seen in training, are").all()
    assert set(held_out["n_rows"]) == {24 / 3 - 1}


def test_missing_features_are_counted(make, tmp_path):
    def lack(tables):
        for table in tables.values():
            table["lacks_feature"] = table["condition"] == "mock"

    held_out = chosen(score(make, tmp_path, make.tasks[1], lack).tables.metrics, estimate=HELD_OUT)
    assert held_out["value"].notna().all()
    assert held_out["note"].str.contains("4 rows lack features, taken at the training mean").all()


def test_a_class_in_one_lineage_has_no_cross_validation_but_held_out_scores(make, tmp_path):
    def one_lineage(tables):
        for table in tables.values():
            table["response"] = 0
        for name in "ac":
            infected = tables[name]["condition"] == "infected"
            first = tables[name].loc[infected, "lineage_id"].min()
            tables[name]["response"] = (tables[name]["lineage_id"] == first).astype(int)

    metrics = score(make, tmp_path, make.tasks[0], one_lineage).tables.metrics
    validated = chosen(metrics, estimate=CROSS_VALIDATED)
    assert validated["value"].isna().all()
    assert validated["note"].str.contains("class '1' is in one group only").all()
    assert chosen(metrics, estimate=HELD_OUT, metric="auroc")["value"].notna().all()


def test_without_held_out_experiments_the_estimate_is_cross_validated(make, tmp_path):
    headline = headline_of(score(make, tmp_path, make.tasks[0], held_out=()), tmp_path)
    assert headline["estimate"] == CROSS_VALIDATED
    assert "left-out lineages of the training experiments" in headline["text"]


@pytest.mark.parametrize(("n_tracks", "metric"), [(2, "auroc"), (1, "average_precision")])
def test_the_headline_of_a_rare_class_is_its_average_precision(make, tmp_path, n_tracks, metric):
    def rare(tables):
        for table in tables.values():
            table["condition"] = "infected"
            table["response"] = (table["track_id"] <= n_tracks).astype(int)

    scores = score(make, tmp_path, make.tasks[0], rare)
    headline = headline_of(scores, tmp_path)
    assert headline["metric"] == metric
    title = {"auroc": "AUROC", "average_precision": "average precision"}[metric]
    assert f"held-out c: {title} {headline['trained']['mean']:.2f}" in headline["text"]


def test_without_class_weights_probabilities_have_the_classes_shares(make, tmp_path):
    def rare(tables):
        for table in tables.values():
            table["response"] = (table["track_id"] % 6 == 0).astype(int)

    task = make.tasks[0].model_copy(update={"where": None})
    mean = {}
    for weight in ("balanced", None):
        weighted = task.model_copy(update={"class_weight": weight})
        [scored] = score(make, tmp_path, weighted, rare).sets
        mean[weight] = scored.probability["seed0"][:, 1].mean()
    assert mean["balanced"] > 0.3
    assert mean[None] == pytest.approx(1 / 6, abs=0.05)


def test_several_held_out_experiments_are_averaged(make, tmp_path):
    scores = score(make, tmp_path, make.tasks[0], held_out=("b", "c"), train=("a",))
    headline = headline_of(scores, tmp_path)
    values = chosen(scores.tables.metrics, estimate=HELD_OUT, metric="auroc")["value"]
    assert len(values) == 2
    assert headline["trained"]["mean"] == pytest.approx(values.mean(), abs=1e-4)
    assert "held-out b and c" in headline["text"]


def test_an_experiment_without_labels_is_scored_nan_with_the_reason(synthetic, make):
    embeddings = read_embeddings(synthetic.stores["seed0"])
    labels = {**synthetic.labels, "c": {}}
    rows = select_task(embeddings.obs, make.tasks[1], labels)
    features = {"seed0": embeddings.features}
    scores = fit_and_score(embeddings.obs, features, make.tasks[1], rows, ["a", "b"], ["c"])
    held_out = chosen(scores.tables.metrics, estimate=HELD_OUT)
    assert held_out["value"].isna().all()
    assert set(held_out["note"]) == {"no labelled observations; experiment c has no annotations"}
