# The project's configuration, and what several stages share.

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path

from dynaclr.cli.garbage import look_for_garbage_seldom
from dynaclr.cli.jobs import refuse_live_jobs
from dynaclr.cli.run import shell_prefix
from dynaclr.data import cuts as data_cuts
from dynaclr.data.pairing import check_collection
from dynaclr.experiments import UserError
from dynaclr.experiments.files import digest_path, digest_text, write_text
from dynaclr.experiments.fingerprint import (
    altered,
    checkpoint_fingerprint,
    code_digest,
    label_fingerprint,
    plate_fingerprint,
    tracks_fingerprint,
)
from dynaclr.experiments.memory import remember_in
from dynaclr.experiments.project import load_project
from dynaclr.experiments.training_config import checkpoints_of, load_training
from snakemake.dag import DAG

look_for_garbage_seldom()

if workflow.deployment_settings.deployment_method:
    # An environment that Snakemake provides holds what this package needs, but not the package.
    shell.prefix(shell_prefix(Path(workflow.basedir) / "src"))


if workflow.is_main_process:
    # What was read of plates and tracking tables, by the look of their files.
    remember_in(".snakemake/dynaclr")


def stop(error):
    """End Snakemake with one message."""
    print(f"dynaclr: {error}", file=sys.stderr)
    sys.exit(2)


def remembered(text, folder=""):
    """Path of what is remembered under a text, by which it is named."""
    return Path(".snakemake/dynaclr") / folder / digest_text(text)


def in_file(content):
    """Path of a file with this content as JSON; a command line takes 128 kB at most."""
    text = json.dumps(content, sort_keys=True)
    file = remembered(text, "plans").with_suffix(".json")
    if not file.exists():
        # Another process that plans may be writing the same.
        with suppress(FileNotFoundError):
            write_text(file, text)
    return str(file)


def read_project():
    """The validated project; on a fault, one message and exit code 2 before any job runs."""
    file = Path(os.path.relpath(workflow.configfiles[-1]))
    try:
        # Jobs on other nodes read this file again; the first process has checked the disk for them.
        return load_project(dict(config), file, on_disk=workflow.is_main_process)
    except UserError as error:
        stop(error)


def check_trainings():
    """Check every model's training configuration, alone and on its data, before any job runs."""
    build_once({name: built_of(name) for name in models})
    for name in models:
        where, data = f"models.{name}.training", settings_of(name)["data"]
        try:
            check_collection(data, project.collection_of(name), registry, where)
        except UserError as error:
            stop(error)


def check_stores():
    """Hold what models ask of each patch store against each other, before any job runs."""
    for name, entry in registry.items():
        try:
            data_cuts.check_cuts(entry, cuts_of(name))
        except UserError as error:
            stop(error)


def built_of(name):
    """What says whether a model can be built: its training, and those that make its start."""
    made_by = {
        path: settings_of(project.checkpoints[path]) for path in teachers_of(name)
    }
    return {"training": settings_of(name), "made_by": made_by}


def build_once(trainings):
    """Build models by their training configurations, by name.

    That takes seconds, so what was found sound is remembered.
    """
    marks = {
        name: remembered(json.dumps([built, foreign_starts_of(name), training_code]))
        for name, built in trainings.items()
    }
    new = [name for name in trainings if not marks[name].exists()]
    if not new:
        return
    asked = {f"models.{name}.training": trainings[name] for name in new}
    command = ["dynaclr", "check-trainings", "--trainings", in_file(asked)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        sys.exit(2)
    for name in new:
        marks[name].parent.mkdir(parents=True, exist_ok=True)
        marks[name].touch()


def forget_lost_simulations():
    """Let a simulation whose plate is gone be made again."""
    for name, entry in registry.items():
        summary = Path(f"results/experiments/{name}/simulation.json")
        if entry.simulation and summary.exists() and not entry.data_path.exists():
            print(
                f"{entry.data_path} is gone; it will be simulated again.",
                file=sys.stderr,
            )
            summary.unlink()


project = read_project()
registry, models, collections = project.registry, project.models, project.collections


if workflow.is_main_process:
    forget_lost_simulations()


wildcard_constraints:
    experiment="|".join(map(re.escape, registry)),
    collection="|".join(map(re.escape, collections)),
    model="|".join(map(re.escape, models)),
    seed=r"-?\d+",
    cut="[0-9a-f]{8}",


def entry_of(experiment, *left_out):
    """An experiment's entry as JSON text, without the keys that a stage does not use."""
    # Whether patches are stored changes no result.
    left_out = {*left_out, "patches"}
    return json.dumps(registry[experiment].dump(exclude=left_out), sort_keys=True)


def simulation_of(experiment):
    """What an experiment's plate and tables wait for: its simulation, if it has one."""
    if registry[experiment].simulation is None:
        return []
    return f"results/experiments/{experiment}/simulation.json"


def source_of(experiment, fingerprint):
    """Content of a real experiment's source; a simulated one is known by its simulation."""
    return "" if simulation_of(experiment) else fingerprint(registry[experiment])


def altered_of(*products):
    """Digests of those products that were changed by hand since they were made."""
    return "".join(altered(product) for group in products for product in group)


def experiment_files(names, *files):
    return [f"results/experiments/{name}/{file}" for name in names for file in files]


def pixels_of(experiment):
    """An experiment's entry as far as statistics use it; tracks and facts do not count."""
    unused = {"annotations", "truth", "simulation", "metadata", "patches"}
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


@cache
def settings_of(model):
    """A model's training configuration, its overrides applied; to be read, not changed."""
    chosen = models[model]
    return load_training(chosen.training, chosen.overrides)


@cache
def training_of(model):
    """A model's training configuration as JSON text."""
    return json.dumps(settings_of(model), sort_keys=True)


def teachers_of(model):
    """Checkpoints of other models of this project that a model's training starts from."""
    started = checkpoints_of(settings_of(model)).values()
    return sorted({*started} & {*project.checkpoints})


def foreign_starts_of(model):
    """Content of the other checkpoints that a model's training starts from."""
    started = checkpoints_of(settings_of(model))
    return {
        key: checkpoint_fingerprint(path)
        for key, path in started.items()
        if path not in project.checkpoints
    }


def collection_of(model):
    return f"results/collections/{models[model].collection}"


@cache
def variants_of(model):
    """The trained seeds of a model, and its baselines: each one's folder in results."""
    trained = [f"seed{seed}" for seed in models[model].seeds]
    untrained = [f"{variant}-untrained" for variant in trained]
    return {name: f"embeddings/{model}/{name}" for name in (*trained, *untrained)} | {
        name: f"{baselines_of(model)}/{name}" for name in ("intensity", "pixels")
    }


@cache
def baselines_of(model):
    """Folder in results of a model's baselines without a network.

    Models of one collection share them if they say alike how patches are cut and normalized.
    """
    cut = digest_text(patches_of(model))[:8]
    return f"baselines/{models[model].collection}/{cut}"


def one_sharing(wildcards):
    """A model that has these baselines."""
    folder = f"baselines/{wildcards.collection}/{wildcards.cut}"
    sharing = [model for model in models if baselines_of(model) == folder]
    if not sharing:
        raise UserError(f"results/{folder}: no model cuts patches like that any more.")
    return sharing[0]


def embeddings_of(model):
    """Digests of all stores that a model is judged by."""
    return [
        f"results/{folder}/{experiment}.zarr.digest"
        for folder in variants_of(model).values()
        for experiment in project.experiments_of(model)
    ]


def model_files(model, seed, *files):
    return [f"results/models/{model}/seed{seed}/{file}" for file in files]


def seeds_of(model):
    """The seeds of a model, ascending."""
    return tuple(sorted(models[model].seeds))


def seed_files(model, *files):
    """Files of all seeds of a model."""
    return [
        file for seed in seeds_of(model) for file in model_files(model, seed, *files)
    ]


def rules_of_seeds():
    """Every set of seeds that some model has, and the name of the rule that embeds with them.

    That of most models is `embed`, others are named after their seeds: `embed_seeds_0_1`.
    """
    n_models = Counter(map(seeds_of, models))
    first, *others = sorted(n_models, key=lambda seeds: (-n_models[seeds], seeds))
    named = {seeds: "_".join(["embed_seeds", *map(str, seeds)]) for seeds in others}
    return {first: "embed"} | named


def embedded_by(seeds, file):
    """A product of trained seeds, and of the encoders that they started from."""
    return [
        f"results/embeddings/{{model}}/seed{seed}{start}/{file}"
        for start in ("", "-untrained")
        for seed in seeds
    ]


def patch_sources(experiment):
    """What the patches of an experiment and their normalization depend on."""
    return experiment_files(
        [experiment],
        "cells.parquet.digest",
        "summary.json",
        "statistics.parquet.digest",
    )


def is_stored(experiment):
    """Whether an experiment's entry asks for a patch store and some model reads from it."""
    return bool(cuts_of(experiment))


def ask_whoever_waits():
    """Let Snakemake ask jobs that wait for a file of any age for reasons of their own to run.

    Of all jobs behind one that runs it asks none, as if they would run too (9.27). Those that read
    from a store which is built again do not: what else changed for them would go unnoticed.
    """
    all_behind = DAG.bfs

    def behind(dag, direction, *jobs, **options):
        if direction is not dag.depending or dag.omitrules or dag.omitfiles:
            return all_behind(dag, direction, *jobs, **options)
        found = dict.fromkeys(jobs)
        queue = list(jobs)
        for job in queue:
            for other, files in direction[job].items():
                if other not in found and not all(file.is_ancient for file in files):
                    found[other] = None
                    queue.append(other)
        return found

    DAG.bfs = behind


ask_whoever_waits()


def stored_of(model, stored=True):
    """Experiments of a model with a patch store, or those without."""
    return [name for name in project.experiments_of(model) if is_stored(name) == stored]


def stores_of(model):
    """What tells that a model's patch stores are built, and those not asked for are gone.

    Its age does not matter: what pixels depend on makes rerun what reads them, and native pixels
    are the plate's.
    """
    return ancient(f"results/models/{model}/stores.json")


def rounding_of(experiments):
    """Types that the pixels of these experiments are rounded to before they are read."""
    stores = {name: registry[name].patch_store for name in experiments}
    return {
        name: store.dtype
        for name, store in stores.items()
        if store and store.dtype != "native"
    }


def stored_entry_of(experiment):
    """An experiment's entry as its patch store uses it."""
    store = registry[experiment].patch_store
    entry = json.loads(pixels_of(experiment))
    return json.dumps(entry | {"patches": store.model_dump()}, sort_keys=True)


@cache
def cuts_of(experiment):
    """How the models that use an experiment cut its patches, and what else its store depends on."""
    return data_cuts.cuts_of(project, experiment, settings_of)


def altered_patches(experiment):
    return altered_of(
        experiment_files([experiment], "cells.parquet", "statistics.parquet")
    )


def labels_of(model):
    """Label tables of the experiments that a model is judged with, relative to here."""
    entries = {name: registry[name].dump() for name in project.experiments_of(model)}
    return {
        name: {key: entry[key] for key in ("annotations", "truth") if key in entry}
        for name, entry in entries.items()
    }


def evaluation_of(model):
    """File of all that `dynaclr evaluate` needs to know besides the stores."""
    chosen = project.evaluation
    plan = {
        "model": model,
        "variants": variants_of(model),
        "train": project.collection_of(model).train,
        "held_out": project.held_out_of(model),
        "labels": labels_of(model),
        "evaluation": chosen.model_dump(mode="json", exclude={"experiments"}),
        "cells": project.report.cells,
    }
    return in_file(plan)


def comparison_plan():
    """File of all that `dynaclr compare` needs to know besides the evaluations."""
    return in_file(project.comparison.model_dump(mode="json", exclude={"seeds"}))


def refuse_twofold_work():
    """Stop before the first job where jobs of a killed run still live."""
    try:
        refuse_live_jobs(workflow.executor_plugin.name == "slurm")
    except UserError as error:
        stop(error)


def made_at(file):
    """When a file was made, or None."""
    return os.path.getmtime(file) if os.path.exists(file) else None


reported_before = made_at("results/report.html")


def drop_resume_points():
    """Remove what trainings kept to go on from, once a new report says that all are on record."""
    if made_at("results/report.html") == reported_before:
        return
    for model in models:
        for seed in models[model].seeds:
            work = f"results/models/{model}/seed{seed}/.work"
            shutil.rmtree(work, ignore_errors=True)


def print_headlines():
    """Say where the report is and how each model did."""
    print("\nReport: results/report.html", file=sys.stderr)
    for model in models:
        headline = Path(f"results/evaluation/{model}/headline.json")
        if headline.is_file():
            print(
                f"{model}: {json.loads(headline.read_text())['text']}", file=sys.stderr
            )


@cache
def patches_of(model):
    """What of a model's training configuration says how patches are cut and normalized."""
    data = settings_of(model)["data"]
    flags = ["--patches", json.dumps(data["patches"], sort_keys=True)]
    if data.get("normalization"):
        flags += ["--normalization", json.dumps(data["normalization"], sort_keys=True)]
    return shlex.join(flags)


EVALUATION_FIGURES = (
    "embedding.png",
    "classifiers.svg",
    "roc.svg",
    "confusion.svg",
    "reliability.svg",
    "learning.svg",
    "resolution.svg",
    "kinetics.svg",
    "temporal.svg",
    "mixing.svg",
    "kept.svg",
    "behaviour.svg",
    "health.svg",
)


@cache
def pictured_with():
    """Experiment to the model whose patches show its cells: the first that embeds it."""
    return {
        experiment: model
        for model in reversed(models)
        for experiment in project.experiments_of(model)
    }


def figures():
    """Every figure that the report shows, in its order."""
    made = experiment_files(registry, "qc.svg", "intensity.svg")
    made += experiment_files(filter(simulation_of, registry), "simulation.png")
    made += [f"results/collections/{name}/composition.svg" for name in collections]
    for model in models:
        batches = ("batches.png", "batch_pairs.png")
        made += [f"results/models/{model}/{file}" for file in batches]
        for seed in models[model].seeds:
            made += model_files(model, seed, "curves.svg")
        made += evaluation_files(model, *EVALUATION_FIGURES)
    return made


def evaluation_files(model, *files):
    return [f"results/evaluation/{model}/{file}" for file in files]


def report_inputs():
    """All that the report is made from."""
    made = figures() + experiment_files(registry, "summary.json")
    made += experiment_files(pictured_with(), "thumbnails.parquet.digest")
    made += [f"results/collections/{name}/manifest.json" for name in collections]
    for model in models:
        for seed in models[model].seeds:
            made += model_files(model, seed, "provenance.json", "metrics.csv")
        tables = ("metrics.csv", "differences.csv", "headline.json")
        made += evaluation_files(model, *tables, "maps.h5ad.digest")
    if project.comparison:
        made += [
            f"results/comparison/{file}.csv" for file in ("metrics", "differences")
        ]
    return made


def report_plan():
    """File that says what the report is about."""
    plan = {
        "experiments": list(registry),
        "collections": list(collections),
        "models": {name: model.seeds for name, model in models.items()},
        "figures": [figure.removeprefix("results/") for figure in figures()],
        "config": {key: config[key] for key in config if key != "experiments"},
    }
    return in_file(plan)


@cache
def batches_of(model):
    """The part of a model's training configuration that says how its batches are made."""
    training = settings_of(model)
    trainer = training.get("trainer") or {}
    wanted = ("devices", "num_nodes", "limit_train_batches", "overfit_batches")
    kept = {key: trainer[key] for key in wanted if key in trainer}
    return json.dumps({"data": training["data"], "trainer": kept}, sort_keys=True)


# Everything that reads pixels of plates needs.
reading_code = code_digest(
    "experiments",
    "data/layout.py",
    "data/files.py",
    "data/blosc.py",
    "data/chunks.py",
    "data/faults.py",
)
# What a patch store is made by.
storing_code = [
    reading_code,
    code_digest(
        "data/cells.py",
        "data/lookup.py",
        "data/markers.py",
        "data/memory.py",
        "data/patches.py",
        "data/pieces.py",
        "data/shards.py",
        "data/stored.py",
        "data/storing.py",
        "index/anchors.py",
        "index/fovs.py",
        "index/multi.py",
    ),
]
# Everything that a training needs but pixels' statistics and pictures.
training_code = code_digest(
    "experiments",
    "index",
    "sampling",
    "transforms",
    "models",
    "losses",
    "data",
    "training",
    without=(
        "selection.py",
        "figures.py",
        "embedding.py",
        "thumbnails.py",
        "inspection.py",
        "inspection_figures.py",
        "statistics.py",
        "tallies.py",
        "ranks.py",
        "cuts.py",
        "storing.py",
        "shards.py",
        "importing.py",
        "plate_writing.py",
        "simulation_config.py",
    ),
)
embedding_code = code_digest(
    "experiments",
    "transforms",
    "models",
    "data",
    "training",
    without=(
        "selection.py",
        "figures.py",
        "thumbnails.py",
        "fit.py",
        "statistics.py",
        "tallies.py",
        "ranks.py",
        "cuts.py",
        "storing.py",
        "shards.py",
        "importing.py",
        "plate_writing.py",
        "simulation_config.py",
        "callbacks.py",
        "monitors.py",
        "dataset.py",
        "inspection.py",
        "inspection_figures.py",
    ),
)


if workflow.is_main_process:
    check_trainings()
    check_stores()
