"""How often the drift verdict is right: clean plates of new seeds, and plates with one fault each.

python tests/benchmarks/drift.py --folder <folder>

A small model is trained on simulated plates and its evaluation fitted, once with the texture
baseline and once without. Every other plate is simulated, embedded and judged, and no threshold is
set on it. What is done is kept in the folder, and a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from pathlib import Path

import anndata
import pandas as pd
import yaml
import zarr

from dynaclr.config import ExperimentConfig
from dynaclr.data import NormalizationConfig, PatchConfig, compute_statistics
from dynaclr.evaluation.drift import drift_rows, drift_values
from dynaclr.evaluation.reference import Reference
from dynaclr.index import build_index
from dynaclr.inference import embed, embed_baselines
from dynaclr.simulation import simulate

REPOSITORY = Path(__file__).resolve().parents[2]
SIZE = {"frames": 10, "height": 192, "width": 192, "cells": 14}
PIXEL_SIZE_UM = 0.5
PATCHES = PatchConfig(markers=("phase", "reporter"), size=(48, 48))
TRAINING = {
    "model": {
        "encoder": {
            "class_path": "dynaclr.models.SmallEncoder",
            "init_args": {"in_channels": 2, "width": 16},
        },
        "learning_rate": 0.001,
    },
    "data": {
        "patches": {"markers": list(PATCHES.markers), "size": list(PATCHES.size)},
        "tau_range": [0.5, 1.0],
        "batch_size": 64,
    },
    "trainer": {"max_epochs": 8, "accelerator": "cpu"},
}
# Fault to what is other in the simulation; the rest is done to pixels or the entry.
SIMULATED = {
    "blurred": {"psf_um": 1.5},
    "gain x3": {"gain": 3.0},
    # As many cells in as many um.
    "half the pixel size": {"height": 2 * SIZE["height"], "width": 2 * SIZE["width"]},
}
FAULTS = ("blurred", "gain x3", "channels swapped", "dead channel", "half the pixel size")


def entry_of(name: str, seed: int, batch_effect: float, fault: str = "") -> dict:
    """Entry of a simulated plate of two wells, paths relative to the project."""
    return {
        "name": name,
        "data_path": f"data/{name}/plate.zarr",
        "tracks_path": f"data/{name}/tracks",
        "annotations": f"data/{name}/annotations.csv",
        "truth": f"data/{name}/truth.csv",
        "channels": [
            {"name": "Phase2D", "marker": "phase"},
            {"name": "GFP", "marker": "reporter"},
        ],
        "condition_wells": {"mock": ["A/1"], "infected": ["B/1"]},
        "interval_minutes": 30,
        "start_hpi": 4,
        "pixel_size_um": PIXEL_SIZE_UM / (2 if fault == "half the pixel size" else 1),
        "simulation": SIZE
        | {"seed": seed, "batch_effect": batch_effect}
        | SIMULATED.get(fault, {}),
    }


def train(folder: Path, n_plates: int, batch_effect: float) -> None:
    """Train a model by the workflow, and fit its evaluation."""
    names = [f"train_{number}" for number in range(n_plates)]
    every = enumerate([*names, "validation"])
    entries = [entry_of(name, seed, batch_effect) for seed, name in every]
    task = {"name": "response", "label": "responding", "source": "truth"}
    project = {
        "experiments": entries,
        "collections": {"c": {"train": names, "validation": ["validation"]}},
        "models": {"m": {"collection": "c", "training": "training.yaml", "threads": 2}},
        "evaluation": {"tasks": [task], "control": "mock", "bootstrap": 10, "shuffles": 0},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(project))
    (folder / "training.yaml").write_text(yaml.safe_dump(TRAINING))
    command = ["snakemake", "--snakefile", str(REPOSITORY / "Snakefile"), "--cores", "2"]
    wanted = ["--configfile", "config.yaml", "--", "results/evaluation/m/reference"]
    subprocess.run([*command, *wanted], cwd=folder, check=True, capture_output=True)


def judge(folder: Path, content: dict, fault: str) -> dict[str, list[dict]]:
    """Rows of the drift table of one new plate, with and without the texture baseline."""
    name = content["name"]
    work = folder / "plates" / name
    shutil.rmtree(work, ignore_errors=True)
    entry = ExperimentConfig.model_validate(content, context={"base": work})
    simulate(entry)
    if fault == "dead channel":
        _blank_channel(Path(entry.data_path), 1)
    if fault == "channels swapped":
        first, second = content["channels"]
        first["marker"], second["marker"] = second["marker"], first["marker"]
        entry = ExperimentConfig.model_validate(content, context={"base": work})
    if fault == "half the pixel size":
        # The plate says nothing of its pixels' size, and its entry says the wrong one.
        content["pixel_size_um"] = PIXEL_SIZE_UM
        entry = ExperimentConfig.model_validate(content, context={"base": work})
    results = work / name
    build_index(entry, results)
    compute_statistics(entry, results)
    embed([folder / "results/models/m/seed0"], results, work)
    embed_baselines(PATCHES, NormalizationConfig(), results, work)
    reference = Reference.load(folder / "results/evaluation/m/reference")
    stores = {v: anndata.read_zarr(work / v / f"{name}.zarr") for v in ("seed0", "texture")}
    features = {variant: store.X for variant, store in stores.items()}
    anchors = pd.Series(True, index=range(len(reference.maps["seed0"].anchors))).to_numpy()
    found = {}
    for judged, known in (("", features), ("embedding alone", {"seed0": features["seed0"]})):
        given = (reference, stores["seed0"].obs, known, results / "statistics.parquet", anchors)
        values = drift_values(*given)
        training = {n: {c: of[c] for c in values if c in of} for n, of in reference.drift.items()}
        found[judged] = drift_rows(name, values, training)
    shutil.rmtree(work)
    return found


def _blank_channel(plate: Path, channel: int) -> None:
    for metadata in plate.rglob(".zarray"):
        image = zarr.open_array(metadata.parent, mode="r+")
        image[:, channel] = 100


def table(found: pd.DataFrame) -> str:
    """Shares of plates with each verdict, and the checks that fail most, as Markdown."""
    lines = ["| plates | n | fail | warn or fail | checks that fail, most frequent first |"]
    lines.append("|---|---|---|---|---|")
    for (judged, fault), rows in found.groupby(["judged", "fault"], sort=False):
        by_plate = rows.groupby("plate")["verdict"].agg(set)
        failed = by_plate.map(lambda verdicts: "fail" in verdicts)
        looked_at = failed | by_plate.map(lambda verdicts: "warn" in verdicts)
        checks = rows.loc[rows["verdict"] == "fail", "check"].value_counts().index[:4]
        name = ", ".join(filter(None, [fault or "clean", judged]))
        shares = f"{failed.mean():.2f} | {looked_at.mean():.2f}"
        lines.append(f"| {name} | {len(by_plate)} | {shares} | {', '.join(checks)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--training", type=int, default=12)
    parser.add_argument("--clean", type=int, default=40)
    parser.add_argument("--altered", type=int, default=20)
    parser.add_argument("--faults", choices=FAULTS, nargs="+", default=FAULTS)
    parser.add_argument("--batch-effect", type=float, default=1.0, help="of all plates")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if not (folder / "results/evaluation/m/reference.digest").is_file():
        train(folder, options.training, options.batch_effect)
    (folder / "verdicts").mkdir(exist_ok=True)
    found = []
    for number in range(max(options.clean, options.altered)):
        for kind, fault in enumerate(("", *FAULTS)):
            if number >= (options.altered if fault else options.clean):
                continue
            if fault and fault not in options.faults:
                continue
            name, kept = f"plate_{kind}_{number}", folder / f"verdicts/{kind}_{number}.json"
            if not kept.is_file():
                seed = 1000 + 100 * kind + number
                content = entry_of(name, seed, options.batch_effect, fault)
                kept.write_text(json.dumps(judge(folder, content, fault)))
            for judged, rows in json.loads(kept.read_text()).items():
                columns = {"judged": judged, "fault": fault, "plate": name}
                found += [row | columns for row in rows]
    print(table(pd.DataFrame(found).sort_values("judged", kind="stable")))


if __name__ == "__main__":
    main()
