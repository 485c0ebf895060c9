"""Table of all commands by name; a mapping is a group of commands."""

from __future__ import annotations

from typing import Any

from dynaclr.cli import (
    bundle,
    ceiling,
    classifier,
    collection,
    embedding,
    evaluation,
    experiment,
    figures,
    importing,
    project,
    training,
)

COMMANDS: dict[str, Any] = {
    "new": project.new,
    "check": project.check,
    "schema": project.schema,
    "info": project.info,
    "import": {
        "_help": "Turn movies that are no plate into one; of TIFF files also tracks and an entry.",
        "ctc": importing.ctc,
        "ome-zarr": importing.ome_zarr,
        "stacks": importing.stacks,
    },
    "simulate": experiment.simulate,
    "index": experiment.index,
    "labels": experiment.labels,
    "statistics": experiment.statistics,
    "patches": experiment.patches,
    "merge": collection.merge,
    "inspect-batches": collection.inspect_batches,
    "train": training.train,
    "freeze": training.freeze,
    "convert-viscy": training.convert_viscy,
    "embed": embedding.embed,
    "bundle": bundle.bundle,
    "export": bundle.export,
    "baselines": {
        "_help": "Baselines without a network: intensity, texture, and components of pixels.",
        "fit": embedding.fit_baselines,
        "embed": embedding.embed_baselines,
    },
    "ceiling": {
        "_help": "What a model's encoder reaches when it is trained on the labels of a task.",
        "fit": ceiling.fit,
        "embed": ceiling.embed,
    },
    "thumbnails": embedding.thumbnails,
    "evaluation": {
        "_help": "Judge a model: fit or take, score each experiment, join.",
        "fit": evaluation.fit,
        "take": evaluation.take,
        "score": evaluation.score,
        "join": evaluation.join,
        "maps": evaluation.maps,
    },
    "compare": evaluation.compare,
    "classifier": {
        "_help": "Train, apply and share linear classifiers on embeddings.",
        "train": classifier.train,
        "apply": classifier.apply,
        "publish": classifier.publish,
        "fetch": classifier.fetch,
    },
    "annotate": evaluation.annotate,
    "concat": evaluation.concat,
    "figures": {
        "_help": "Draw the figures of a stage's products; no stage draws any itself.",
        "experiment": figures.experiment,
        "simulation": figures.simulation,
        "collection": figures.collection,
        "training": figures.training,
        "evaluation": figures.evaluation,
        "comparison": figures.comparison,
    },
    "report": evaluation.report,
}

# Options that need no value: `--dry-run`.
SWITCHES = ("dry_run", "keep_work", "replace", "untrained")

# Options that may be left out before the first value: `dynaclr info PATH`.
FIRST_OPTIONS = {
    **{"info": "--path", "convert-viscy": "--checkpoint"},
    **{"bundle": "--training", "export": "--training"},
}

# Their arguments are those of model, data and trainer, which Lightning's own command line parses.
TRAINER_COMMANDS = ("fit", "validate", "predict")
