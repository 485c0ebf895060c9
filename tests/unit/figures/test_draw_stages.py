"""The commands that draw: which files they read and write, and what stands on them."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dynaclr.experiments import UserError
from dynaclr.experiments.files import read_json, write_json
from dynaclr.figures.stages import (
    draw_collection,
    draw_experiment,
    draw_training,
)


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
    draw_experiment(experiment)
    assert before == {name: (experiment / name).read_bytes() for name in before}


def test_frames_that_cannot_be_read_are_counted(experiment, texts):
    table = pd.read_parquet(experiment / "statistics.parquet")
    lost = (table["level"] == "frame") & (table["marker"] == "phase") & table["t"].isin([2, 3])
    statistics = table.columns[table.dtypes == np.float64]
    table.loc[lost, statistics], table.loc[lost, ["n", "n_nan"]] = np.nan, 0
    table.to_parquet(experiment / "statistics.parquet", index=False)
    draw_experiment(experiment)
    assert f"{lost.sum()} frames cannot be read" in texts(experiment / "intensity.svg")


def test_simulated_experiment_is_shown_with_its_truth(collection, experiment, command):
    entry = read_json(experiment / "summary.json")["entry"]
    entry["truth"] = entry["data_path"].replace("plate.zarr", "truth.csv")
    entry["simulation"] = {"seed": 0, "frames": 8, "height": 96, "width": 96, "cells": 8}
    command("experiment", "--experiment", experiment, "--entry", json.dumps(entry))
    assert drawn_in(experiment) == {"qc.svg", "intensity.svg", "simulation.png"}


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


@pytest.mark.parametrize("draw", [draw_experiment, draw_collection, draw_training])
def test_missing_product_is_named(draw, tmp_path):
    with pytest.raises(UserError, match=r"no such file\. Run the stage that makes it first"):
        draw(tmp_path)
