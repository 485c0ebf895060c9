"""The commands that draw: which files they read and write, and what stands on them."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.metrics import auc

from dynaclr.config import ComparisonConfig, UserError
from dynaclr.config.metrics import METRICS
from dynaclr.evaluation import compare_models
from dynaclr.evaluation.onset_scores import USELESS
from dynaclr.figures.comparison import draw_comparison
from dynaclr.figures.composition import draw_collection
from dynaclr.figures.evaluation import draw_evaluation
from dynaclr.figures.experiment import draw_experiment
from dynaclr.figures.predictions import mean_roc
from dynaclr.figures.timing import draw_timing
from dynaclr.figures.titles import METRIC_TITLES, title_of
from dynaclr.figures.training import draw_training
from dynaclr.io.artifacts import read_json, write_digest, write_json

TABLES = [
    *("metrics.csv", "confusion.csv", "reliability.csv", "learning.csv", "curves.csv"),
    "timing.csv",
    *("drift.csv", "predictions.parquet", "maps.h5ad"),
]
FIGURES = [
    *("classifiers.svg", "roc.svg", "confusion.svg", "reliability.svg", "learning.svg"),
    *("resolution.svg", "temporal.svg", "kinetics.svg", "mixing.svg", "health.svg"),
    *("kept.svg", "behaviour.svg", "timing.svg", "drift.svg", "embedding.png"),
]


@pytest.fixture
def experiment(collection, tmp_path):
    """Results of an experiment, free to be drawn into."""
    return shutil.copytree(collection.experiments / "one", tmp_path / "one")


def drawn_in(folder):
    return {path.name for path in folder.iterdir() if path.suffix in (".svg", ".png")}


def test_experiment_is_drawn_the_same_each_time(experiment, command, texts):
    command("experiment", "--experiment", experiment)
    assert drawn_in(experiment) == {"qc.svg", "intensity.svg"}
    rows = read_json(experiment / "summary.json")["counts"]["rows"]
    assert f"one: {rows:,} observations" in texts(experiment / "qc.svg")
    said = texts(experiment / "intensity.svg")
    assert {"infected", "mock", "reporter (GFP), n = 1 fields"} <= set(said.splitlines())
    before = {name: (experiment / name).read_bytes() for name in drawn_in(experiment)}
    cells = pq.read_table(experiment / "cells.parquet")
    pq.write_table(cells, experiment / "cells.parquet", row_group_size=50)
    with pytest.raises(UserError, match=r"cells\.parquet: was changed after it was made"):
        draw_experiment(experiment)
    write_digest(experiment / "cells.parquet")
    draw_experiment(experiment)
    assert before == {name: (experiment / name).read_bytes() for name in before}


def test_frames_that_cannot_be_read_are_counted(experiment, texts):
    table = pd.read_parquet(experiment / "statistics.parquet")
    absent = (table["level"] == "frame") & (table["marker"] == "phase") & table["t"].isin([2, 3])
    statistics = table.columns[table.dtypes == np.float64]
    table.loc[absent, statistics], table.loc[absent, ["n", "n_nan"]] = np.nan, 0
    table.to_parquet(experiment / "statistics.parquet", index=False)
    write_digest(experiment / "statistics.parquet")
    draw_experiment(experiment)
    assert f"{absent.sum()} frames cannot be read" in texts(experiment / "intensity.svg")


def test_simulated_experiment_is_shown_with_its_truth(collection, experiment, command):
    entry = read_json(experiment / "summary.json")["entry"]
    entry["truth"] = entry["data_path"].replace("plate.zarr", "truth.csv")
    entry["simulation"] = {"seed": 0, "frames": 8, "height": 96, "width": 96, "cells": 8}
    picture = experiment / "simulation.png"
    command("simulation", "--entry", json.dumps(entry), "--out", picture)
    assert picture.stat().st_size > 10_000


def test_collection_is_drawn(collection, tmp_path, command, texts):
    shutil.copy(collection.folder / "index.arrow", tmp_path)
    command("collection", "--collection", tmp_path)
    manifest = read_json(collection.folder / "manifest.json")
    said = texts(tmp_path / "composition.svg")
    assert f"{manifest['rows']:,} observations of 3 experiments" in said
    assert "three · infected" in said


def test_training_is_drawn(tmp_path, command, texts):
    folder = tmp_path / "small" / "seed3"
    write_json(folder / "provenance.json", {"best_epoch": 1})
    history = {"epoch": [0, 1], "loss/train": [2.0, 1.0], "loss/val": [2.0, 1.5]}
    pd.DataFrame(history).to_csv(folder / "metrics.csv", index=False)
    command("training", "--model", folder)
    assert {"small, seed3, n = 2 epochs", "epoch kept"} <= set(
        texts(folder / "curves.svg").splitlines()
    )


@pytest.fixture
def evaluation(evaluated, tmp_path):
    """What an evaluation's figures are drawn from, and nothing else."""
    for name in TABLES:
        shutil.copy(evaluated / name, tmp_path)
    return tmp_path


def read(folder, name):
    return pd.read_csv(folder / name, keep_default_na=False, na_values=[""])


def test_evaluation_is_drawn(evaluation, command, texts):
    command("evaluation", "--evaluation", evaluation)
    assert drawn_in(evaluation) == set(FIGURES)
    metrics = read(evaluation, "metrics.csv")
    held_out = metrics.query("estimate == 'held_out' and metric == 'auroc'")
    classifiers = texts(evaluation / "classifiers.svg").splitlines()
    for value in held_out["value"]:
        assert f"{value:.2f}" in classifiers
    assert "Average precision (response = 1)" in classifiers
    assert "Average precision (mean over classes)" in classifiers
    confusion = texts(evaluation / "confusion.svg")
    counts = read(evaluation, "confusion.csv").query("estimate == 'held_out'")
    for count in counts.loc[counts["variant"] == "seed0", "count"]:
        assert f"({count:,})" in confusion
    assert "true response" in confusion
    assert "share with response = 1" in texts(evaluation / "reliability.svg")
    assert "higher is better" in texts(evaluation / "kept.svg")
    for name in ("roc", "reliability", "resolution"):
        assert "trained" in texts(evaluation / f"{name}.svg")


@pytest.mark.parametrize(
    ("task", "classes"), [("responder", ("0", "1")), ("state", ("infected", "late", "mock"))]
)
def test_area_under_the_roc_curve_is_the_auroc(evaluation, task, classes):
    predictions = pd.read_parquet(evaluation / "predictions.parquet")
    chosen = predictions[(predictions["task"] == task) & (predictions["variant"] == "intensity")]
    area = auc(*mean_roc(chosen[chosen["label"].notna()], classes))
    metrics = read(evaluation, "metrics.csv").query("estimate == 'held_out' and metric == 'auroc'")
    value = metrics.set_index(["task", "variant"])["value"][task, "intensity"]
    assert area == pytest.approx(value, abs=1e-5 if len(classes) == 2 else 0.01)


def test_what_was_not_scored_is_said(evaluation, texts):
    """As where all labels of the training are alike: no value, no row of other tables."""
    metrics = read(evaluation, "metrics.csv")
    metrics.loc[metrics["family"] == "classification", ["value", "low", "high"]] = np.nan
    metrics.to_csv(evaluation / "metrics.csv", index=False)
    emptied = ["confusion", "reliability", "learning", "curves", "timing", "drift"]
    for name in (f"{table}.csv" for table in emptied):
        read(evaluation, name).iloc[:0].to_csv(evaluation / name, index=False)
    predictions = pd.read_parquet(evaluation / "predictions.parquet")
    predictions.iloc[:0].to_parquet(evaluation / "predictions.parquet")
    draw_evaluation(evaluation)
    said = {name: texts(evaluation / f"{name}.svg") for name in ("classifiers", "roc", "confusion")}
    assert "no value: see the notes of the table" in said["classifiers"]
    assert "no curve" in said["roc"]
    assert "no predictions" in said["confusion"]
    assert "no learning curve" in texts(evaluation / "learning.svg")
    assert "no held-out experiment to check" in texts(evaluation / "drift.svg")
    assert "no curve" in texts(evaluation / "resolution.svg")
    assert "too few onsets seen" in texts(evaluation / "timing.svg")


def test_the_timing_of_markers_says_how_good_its_onsets_are(evaluation, texts):
    metrics = read(evaluation, "metrics.csv").query("variant == 'seed0' and experiment == 'c'")
    rate = metrics[metrics["metric"] == "onset_rate"].iloc[0].to_dict()
    error = {**rate, "metric": "onset_error_hours", "value": 2.0, "expected": 1.5}
    point = {"variant": "seed0", "experiment": "c", "statistic": "intensity_mean", "n_rows": 7}
    timing = pd.DataFrame(
        [
            {**point, "marker": marker, "group": group, "hours": hours, "value": hours}
            | {"low": hours - 1, "high": hours + 1}
            for marker in ("phase", "reporter")
            for group in ("responding", "control")
            for hours in (-0.5, 0.5, 1.5)
        ]
    )
    for note in ("median over 3 tracks", f"{USELESS}; median over 3 tracks"):
        table = pd.DataFrame([{**rate}, {**error, "note": note}])
        draw_timing(timing, table, evaluation / "timing.svg")
        said = texts(evaluation / "timing.svg")
        assert (USELESS in said) == (USELESS in note)
        assert "error 2.00 h, of one hour for all 1.50 h" in said
        assert f"onset seen in {rate['value']:.0%} of treated tracks" in said
        assert {"phase mean", "reporter mean", "n = 7 to 7 a point"} <= set(said.splitlines())


def test_without_tasks_the_figures_say_so(evaluation, texts):
    metrics = read(evaluation, "metrics.csv")
    metrics[metrics["task"].isna()].to_csv(evaluation / "metrics.csv", index=False)
    draw_evaluation(evaluation)
    for name in ("classifiers", "roc", "confusion", "reliability"):
        assert texts(evaluation / f"{name}.svg") == "No evaluation task is configured"


def test_comparison_shows_the_compared_metrics_alone(evaluated, tmp_path, command, texts):
    config = ComparisonConfig(metrics=["auroc", "smoothness", "f1"])
    compare_models({"2024": evaluated, "NA": evaluated}, config, tmp_path)
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "stale.svg").touch()
    command("comparison", "--comparison", tmp_path)
    assert drawn_in(tmp_path / "figures") == {"auroc.svg", "smoothness.svg", "f1.svg"}
    said = texts(tmp_path / "figures" / "auroc.svg").splitlines()
    assert {"2024", "NA", "AUROC (higher is better)", "trained: seeds"} <= set(said)
    assert "state: held out: late" in texts(tmp_path / "figures" / "f1.svg")


def test_difference_is_marked(evaluated, tmp_path, texts):
    compare_models({"a": evaluated, "b": evaluated}, ComparisonConfig(metrics=["auroc"]), tmp_path)
    differences = pd.read_csv(tmp_path / "differences.csv")
    differences.assign(p_corrected=0.01).to_csv(tmp_path / "differences.csv", index=False)
    draw_comparison(tmp_path)
    assert "* to a" in texts(tmp_path / "figures" / "auroc.svg")


@pytest.mark.parametrize(
    "draw", [draw_experiment, draw_collection, draw_training, draw_evaluation, draw_comparison]
)
def test_missing_product_is_named(draw, tmp_path):
    with pytest.raises(UserError, match=r"no such file\. Run the stage that makes it first"):
        draw(tmp_path)


def test_metrics_of_another_version_are_refused(evaluation):
    metrics = read(evaluation, "metrics.csv")
    metrics.assign(metric="scib_total").to_csv(evaluation / "metrics.csv", index=False)
    with pytest.raises(UserError, match="holds scib_total, unknown to this version"):
        draw_evaluation(evaluation)


def test_every_metric_has_its_words():
    assert set(METRIC_TITLES) == set(METRICS)
    assert title_of("f1:late") == "F1 of late"
