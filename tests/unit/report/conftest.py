"""A results folder with all that a report is made from, by the real stages but training."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from dynaclr.config import EvaluationConfig, TaskConfig
from dynaclr.data import NormalizationConfig, PatchConfig
from dynaclr.evaluation import evaluate_model
from dynaclr.figures.composition import draw_collection
from dynaclr.figures.evaluation import draw_evaluation
from dynaclr.figures.experiment import draw_experiment
from dynaclr.figures.training import draw_training
from dynaclr.inference import embed_baselines, write_thumbnails
from dynaclr.io.artifacts import read_json, write_json
from dynaclr.report import ReportPlan, write_report

PATCHES = PatchConfig(("phase", "reporter"), (24, 24))
NAMES = ("one", "two", "three")


@dataclass(frozen=True)
class Made:
    """A report and what it was made from."""

    plan: ReportPlan
    results: Path
    page: Path


@pytest.fixture(scope="session")
def made(collection, tmp_path_factory) -> Made:
    """A report of three simulated experiments."""
    results = tmp_path_factory.mktemp("report") / "results"
    results.mkdir()
    (results / "experiments").symlink_to(collection.experiments)
    (results / "collections").mkdir()
    (results / "collections" / "all").symlink_to(collection.folder)
    for name in NAMES:
        folder = results / "experiments" / name
        write_thumbnails(PATCHES, NormalizationConfig(), folder, folder / "thumbnails.parquet")
        draw_experiment(folder)
    draw_collection(results / "collections" / "all")
    _fake_training(results / "models" / "small" / "seed0")
    _evaluate(results)
    plan = ReportPlan(
        experiments=list(NAMES),
        collections=["all"],
        models={"small": [0]},
        pictured=list(NAMES),
        figures=[
            *(
                f"experiments/{name}/{file}"
                for name in NAMES
                for file in ("qc.svg", "intensity.svg")
            ),
            "collections/all/composition.svg",
            "models/small/seed0/curves.svg",
            *("evaluation/small/embedding.png", "evaluation/small/classifiers.svg"),
        ],
        config={"models": {"small": {"seeds": [0]}}},
    )
    write_report(plan, results, results / "report.html")
    return Made(plan, results, results / "report.html")


def _fake_training(folder: Path) -> None:
    """What a training leaves besides its weights."""
    facts = {"git_commit": "0123abc", "best_epoch": 1, "packages": {"torch": "2.0</script>"}}
    write_json(folder / "provenance.json", facts)
    history = {"epoch": [0, 1], "loss/train": [2.0, 1.0], "loss/val": [2.0, 1.5]}
    pd.DataFrame(history).to_csv(folder / "metrics.csv", index=False)
    draw_training(folder)


def _evaluate(results: Path) -> None:
    """The intensities stand in for a trained encoder, too."""
    stores, labels = {"seed0": {}, "intensity": {}}, {}
    for name in NAMES:
        folder = results / "experiments" / name
        store = results / "embeddings" / "small" / "intensity" / f"{name}.zarr"
        embed_baselines(PATCHES, NormalizationConfig(), folder, results / "embeddings" / "small")
        stores["seed0"][name] = stores["intensity"][name] = store
        plate = read_json(folder / "summary.json")["entry"]["data_path"]
        labels[name] = {"truth": Path(plate).with_name("truth.csv")}
    evaluate_model(
        "small",
        stores,
        labels,
        EvaluationConfig(
            tasks=[TaskConfig(name="response", label="responding", source="truth")],
            bootstrap=10,
            shuffles=0,
        ),
        ["one", "two"],
        ["three"],
        results / "evaluation" / "small",
    )
    draw_evaluation(results / "evaluation" / "small")
