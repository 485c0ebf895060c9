"""Supervised ceilings among the variants of an evaluation: own task alone, notes, headline."""

import json
from pathlib import Path

import pandas as pd
import pytest

from dynaclr.config import ComparisonConfig
from dynaclr.config.metrics import HELD_OUT
from dynaclr.evaluation import compare_models


@pytest.fixture(scope="module")
def evaluation(make, tmp_path_factory) -> Path:
    """An evaluation with a ceiling of each of two tasks; that of the first knows nearly all."""
    folder = tmp_path_factory.mktemp("ceilings")
    made = make.synthetic(folder)
    for task, signal in (("responder", 8.0), ("state", 1.5)):
        for number, name in enumerate("abc"):
            table = make.observations(name, 36, 6, seed=number)
            features = make.features(table, signal, 0.0, 8, seed=100 + number)
            path = folder / f"ceiling-{task}" / f"{name}.zarr"
            made.stores.setdefault(f"ceiling-{task}", {})[name] = make.store(path, table, features)
    make.evaluate(made, folder / "evaluation")
    return folder / "evaluation"


@pytest.fixture(scope="module")
def metrics(evaluation):
    table = pd.read_csv(evaluation / "metrics.csv", keep_default_na=False, na_values=[""])
    return table.fillna({"note": ""})


def test_a_ceiling_is_scored_on_its_own_task(metrics, evaluation):
    scores = metrics[
        (metrics["metric"] == "auroc") & ~metrics["variant"].str.contains("+", regex=False)
    ]
    for task in ("responder", "state"):
        found = set(scores.loc[scores["task"] == task, "variant"])
        assert found == {"seed0", "seed1", "seed0-untrained", "intensity", f"ceiling-{task}"}
    assert set(scores.loc[scores["variant"] == "ceiling-state", "kind"]) == {"ceiling"}
    predictions = pd.read_parquet(evaluation / "predictions.parquet")
    of_ceilings = predictions[predictions["variant"].str.startswith("ceiling")]
    assert set(zip(of_ceilings["task"], of_ceilings["variant"], strict=True)) == {
        ("responder", "ceiling-responder"),
        ("state", "ceiling-state"),
    }


def test_scores_on_rows_that_the_encoder_was_trained_on_say_so(metrics):
    is_ceiling = metrics["kind"].str.startswith("ceiling")
    of_training = metrics["estimate"].isin(["cross_validated", "leave_one_experiment_out"])
    said = metrics["note"].str.contains("trained on these labels")
    pd.testing.assert_series_equal(said, is_ceiling & of_training, check_names=False)


def test_every_trained_seed_has_its_share_of_the_way(metrics):
    own = metrics[metrics["metric"].str.startswith("way_to_ceiling")]
    assert set(own["kind"]) == {"trained"}
    assert set(own["estimate"]) == {HELD_OUT}
    assert set(own["experiment"]) == {"c"}
    auroc = metrics[(metrics["metric"] == "auroc") & (metrics["estimate"] == HELD_OUT)]
    auroc = auroc[auroc["task"] == "responder"].set_index("variant")["value"]
    floor = max(auroc["seed0-untrained"], auroc["intensity"])
    shares = own[own["metric"] == "way_to_ceiling:auroc"].set_index(["task", "variant"])
    for seed in ("seed0", "seed1"):
        row = shares.loc["responder", seed]
        expected = (auroc[seed] - floor) / (auroc["ceiling-responder"] - floor)
        assert row["value"] == pytest.approx(expected, abs=1e-4)
        assert row["low"] <= row["value"] <= row["high"]
    state = shares.loc["state"]
    assert state["value"].isna().all()
    assert state["note"].str.contains("not clearly above the best baseline").all()


def test_the_headline_names_the_ceiling_and_no_baseline_is_one(evaluation, metrics):
    headline = json.loads((evaluation / "headline.json").read_text())
    assert set(headline["baselines"]) == {"untrained", "intensity"}
    shares = metrics.loc[
        (metrics["metric"] == "way_to_ceiling:auroc") & (metrics["task"] == "responder"), "value"
    ]
    assert headline["way_to_ceiling"] == pytest.approx(shares.mean(), abs=1e-4)
    ceiling = headline["ceiling"]["mean"]
    text = f"supervised ceiling {ceiling:.2f}, {100 * shares.mean():.0f} % of the way to it from"
    assert text in headline["text"]


def test_shares_reach_the_comparison_of_models(evaluation, tmp_path):
    config = ComparisonConfig(models=["one", "two"], metrics=["way_to_ceiling"])
    differences = compare_models({"one": evaluation, "two": evaluation}, config, tmp_path)
    row = differences[differences["metric"] == "way_to_ceiling:auroc"].set_index("task")
    assert row.loc["responder", "value"] == 0
    table = pd.read_csv(tmp_path / "metrics.csv")
    assert "way_to_ceiling:average_precision" in set(table["metric"])
