# The project's configuration, and what several stages share.

import json
import os
import re
import shlex
import sys
from pathlib import Path

from dynaclr.experiments import UserError
from dynaclr.experiments.fingerprint import (
    altered,
    code_digest,
    label_fingerprint,
    plate_fingerprint,
    tracks_fingerprint,
)
from dynaclr.experiments.project import load_project, load_training


def read_project():
    """The validated project; on a fault, one message and exit code 2 before any job runs."""
    file = Path(os.path.relpath(workflow.configfiles[-1]))
    try:
        # Jobs on other nodes read this file again; the first process has checked the disk for them.
        return load_project(dict(config), file, on_disk=workflow.is_main_process)
    except UserError as error:
        print(f"dynaclr: {error}", file=sys.stderr)
        sys.exit(2)


project = read_project()
registry, models, collections = project.registry, project.models, project.collections


wildcard_constraints:
    experiment="|".join(map(re.escape, registry)),
    collection="|".join(map(re.escape, collections)),
    model="|".join(map(re.escape, models)),
    seed=r"-?\d+",


def entry_of(experiment, *left_out):
    """An experiment's entry as JSON text, without the keys that a stage does not use."""
    return json.dumps(registry[experiment].dump(exclude=set(left_out)), sort_keys=True)


def simulation_of(experiment):
    """What an experiment's plate and tables wait for: its simulation, if it has one."""
    if registry[experiment].simulation is None:
        return []
    return f"results/experiments/{experiment}/simulation.json"


def source_of(experiment, fingerprint):
    """Content of a real experiment's source; a simulated one is known by its simulation."""
    return "" if simulation_of(experiment) else fingerprint(registry[experiment])


def experiment_files(names, *files):
    return [f"results/experiments/{name}/{file}" for name in names for file in files]


def plate_is_lost(experiment):
    """Whether a plate that was simulated is gone, so that it must be made again."""
    made = Path(simulation_of(experiment)).exists()
    return "lost" if made and not registry[experiment].data_path.exists() else ""


def pixels_of(experiment):
    """An experiment's entry as far as statistics use it; tracks and facts do not count."""
    unused = {"annotations", "truth", "simulation", "metadata"}
    unused |= {"organelle", "microscope", "cell_type", "date", "moi"}
    entry = registry[experiment].dump(exclude=unused) | {"tracks_path": "."}
    return json.dumps(entry, sort_keys=True)


def merge_options(collection):
    """Flags that say how a collection is split."""
    chosen = collections[collection]
    options = ["--train", json.dumps(chosen.train)]
    if chosen.validation:
        options += ["--validation", json.dumps(chosen.validation)]
    else:
        options += ["--validation_fov_fraction", str(chosen.validation_fov_fraction)]
        options += ["--seed", str(chosen.seed)]
    return shlex.join(options)


def training_of(model):
    """A model's training configuration, its overrides applied, as JSON text."""
    chosen = models[model]
    return json.dumps(load_training(chosen.training, chosen.overrides), sort_keys=True)


def collection_of(model):
    return f"results/collections/{models[model].collection}"


def variants_of(model):
    """The trained seeds of a model, and their baselines, as folders of results/embeddings."""
    trained = [f"seed{seed}" for seed in models[model].seeds]
    return [*trained, *(f"{variant}-untrained" for variant in trained), "intensity"]


def embeddings_of(model):
    """Digests of all stores that a model is judged by."""
    return [
        f"results/embeddings/{model}/{variant}/{experiment}.zarr.digest"
        for variant in variants_of(model)
        for experiment in project.experiments_of(model)
    ]


def embedding_inputs(model, seed, experiment):
    return [
        f"results/models/{model}/seed{seed}/best.ckpt.digest",
        f"results/models/{model}/seed{seed}/config.yaml",
        *experiment_files(
            [experiment],
            "cells.parquet.digest",
            "summary.json",
            "statistics.parquet.digest",
        ),
    ]


def labels_of(model):
    """Label tables of the experiments that a model is judged with, relative to here."""
    entries = {name: registry[name].dump() for name in project.experiments_of(model)}
    return {
        name: {key: entry[key] for key in ("annotations", "truth") if key in entry}
        for name, entry in entries.items()
    }


def evaluation_of(model):
    """All that `dynaclr evaluate` needs to know besides the stores, as JSON text."""
    chosen = project.evaluation
    plan = {
        "variants": variants_of(model),
        "train": project.collection_of(model).train,
        "held_out": chosen.experiments or project.collection_of(model).validation,
        "labels": labels_of(model),
        "tasks": [task.model_dump(mode="json") for task in chosen.tasks],
        "bootstrap": chosen.bootstrap,
    }
    return json.dumps(plan, sort_keys=True)


def print_headlines():
    """Say where the report is and how each model did."""
    print("\nReport: results/report.html", file=sys.stderr)
    for model in models:
        headline = Path(f"results/evaluation/{model}/headline.json")
        if headline.is_file():
            print(
                f"{model}: {json.loads(headline.read_text())['text']}", file=sys.stderr
            )


def report_command():
    """Snakemake's report of what this invocation made, with this invocation's configuration."""
    return shlex.join(
        ["--configfile", *(os.path.relpath(file) for file in workflow.configfiles)]
    )
