"""What each job of a project depends on, as values that rules hand to their jobs.

Snakemake runs a job again when a parameter of its rule changes. So a parameter holds what the job
uses of the configuration, and nothing else; text where Snakemake must compare it.
"""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import Any

from dynaclr.config import UserError
from dynaclr.config.columns import OWN_COLUMNS, columns_of_training
from dynaclr.config.patch_specs import patch_specs_of
from dynaclr.config.project import Project
from dynaclr.config.training import starting_checkpoints
from dynaclr.io.artifacts import digest_text
from dynaclr.io.code_digest import code_digest
from dynaclr.workflow.fingerprint import (
    checkpoint_fingerprint,
    modified_digests,
    plate_fingerprint,
    tracks_fingerprint,
)
from dynaclr.workflow.job_values import as_file, as_text
from dynaclr.workflow.paths import RESULTS, Paths

# Keys of an entry that change no pixel.
_NO_PIXEL_KEYS = (
    *("annotations", "truth", "simulation", "metadata", "patches", "organelle", "microscope"),
    *("cell_type", "date", "moi", "tracks_unit", "tracks_first_frame"),
)
# Keys of a trainer that say how many batches an epoch has, and for how many processes.
_BATCH_KEYS = ("devices", "num_nodes", "limit_train_batches", "overfit_batches")
NATIVE = "native"


class Plan:
    """A project as its rules see it.

    Parameters
    ----------
    project : Project
    config : dict
        The configuration as Snakemake has it, for the record in the report.
    """

    def __init__(self, project: Project, config: dict[str, Any]) -> None:
        self.project, self.config, self.paths = project, config, Paths()
        self.registry, self.models = project.registry, project.models
        self.collections = project.collections
        # Training configurations of the models, their overrides applied; to be read, not changed.
        self.settings = project.settings()

    # Experiments

    def entry(self, experiment: str, *left_out: str) -> str:
        """An experiment's entry without keys that a stage does not use."""
        # Whether patches are stored changes no result.
        return as_text(self.registry[experiment].dump(exclude={*left_out, "patches"}))

    def pixel_entry(self, experiment: str, **more: Any) -> str:
        """An experiment's entry as far as its pixels go; tracks and facts do not count."""
        entry = self.registry[experiment].dump(exclude={*_NO_PIXEL_KEYS})
        return as_text(entry | {"tracks_path": ".", "start_hpi": 0} | more)

    def is_simulated(self, experiment: str) -> bool:
        """Whether the workflow makes an experiment's plate and tracks itself."""
        return self.registry[experiment].simulation is not None

    def simulation(self, experiment: str) -> list[str]:
        """Input of what reads an experiment's plate or tracks: its simulation, if it has one."""
        made = self.is_simulated(experiment)
        return [self.paths.experiment("simulation.json", experiment)] if made else []

    def plate_content(self, experiment: str) -> str:
        """Digest of a plate's metadata; a simulated one is known by its simulation."""
        entry = self.registry[experiment]
        return "" if entry.simulation else plate_fingerprint(entry)

    def tracks_content(self, experiment: str) -> str:
        """Digest of tracking tables; simulated ones are known by their simulation."""
        entry = self.registry[experiment]
        return "" if entry.simulation else tracks_fingerprint(entry)

    def store_inputs(self, experiment: str) -> list[str]:
        """Inputs of a patch store: which cells there are, and how pixels are normalized."""
        tables = ("cells.parquet.digest", "summary.json", "statistics.parquet.digest")
        return self.paths.of_experiments([experiment], *tables)

    def patch_inputs(self, experiment: str) -> list[str]:
        """Inputs of jobs that read an experiment's patches, from its plate or its store."""
        return [*self.store_inputs(experiment), self.paths.experiment("pixels.txt", experiment)]

    def modified_tables(self, *experiments: str) -> str:
        """Digests of tables of experiments that were changed by hand since they were made."""
        tables = ("cells.parquet", "statistics.parquet")
        return modified_digests(*self.paths.of_experiments(experiments, *tables))

    # Patch stores

    @cached_property
    def patch_specs(self) -> dict[str, list[dict[str, Any]]]:
        """Patch specs of each experiment's models; none unless its entry asks for a store."""
        training_of = self.settings.__getitem__
        return {name: patch_specs_of(self.project, name, training_of) for name in self.registry}

    def with_store(self) -> list[str]:
        """Experiments that have a patch store, since their entry and some model ask for it."""
        return [name for name in self.registry if self.patch_specs[name]]

    def without_store(self) -> list[str]:
        """Experiments that are read from their plate alone."""
        return [name for name in self.registry if not self.patch_specs[name]]

    def store_entry(self, experiment: str) -> str:
        """An experiment's entry as its patch store uses it."""
        store = self.registry[experiment].patch_store
        assert store is not None, experiment
        return self.pixel_entry(experiment, patches=store.model_dump())

    # Collections

    def split(self, collection: str) -> str:
        """Options of `dynaclr merge` that say which rows train and which validate."""
        chosen = self.collections[collection]
        options = ["--train", json.dumps(chosen.train)]
        if chosen.validation:
            options += ["--validation", json.dumps(chosen.validation)]
        for key in ("validation_fov_fraction", "validation_lineage_fraction"):
            if getattr(chosen, key) is not None:
                options += [f"--{key}", str(getattr(chosen, key)), "--seed", str(chosen.seed)]
        return shlex.join(options)

    def modified_cells(self, collection: str) -> str:
        """Digests of a collection's cell indexes that were changed by hand since they were made."""
        names = self.collections[collection].experiments
        return modified_digests(*self.paths.of_experiments(names, "cells.parquet"))

    # Models

    def training(self, model: str) -> str:
        """A model's training configuration as text."""
        return as_text(self.settings[model])

    def upstream_checkpoints(self, model: str) -> list[str]:
        """Checkpoints of other models of this project that a model's training starts from."""
        paths = starting_checkpoints(self.settings[model]).values()
        return sorted({*paths} & {*self.project.checkpoints})

    def external_checkpoints(self, model: str) -> dict[str, str]:
        """Content of the other checkpoints that a model's training starts from."""
        paths, own = starting_checkpoints(self.settings[model]), self.project.checkpoints
        return {k: checkpoint_fingerprint(path) for k, path in paths.items() if path not in own}

    def training_inputs(self, model: str) -> list[str]:
        """Inputs of a training and of the inspection of its batches."""
        index = ("index.arrow.digest", "registry.json")
        files = [f"{self.collection(model)}/{file}" for file in index]
        labels = [f"labels/{column}.parquet.digest" for column in sorted(self.labels_used(model))]
        products = ("statistics.parquet.digest", "pixels.txt", *labels)
        names = self.project.collection_of(model).experiments
        return files + self.paths.of_experiments(names, *products)

    def labels_used(self, model: str) -> set[str]:
        """Columns of annotations, as far as names tell, that a model's training uses."""
        names = self.project.collection_of(model).experiments
        metadata = {key for name in names for key in self.registry[name].metadata}
        return columns_of_training(self.settings[model]) - metadata - {*OWN_COLUMNS}

    def collection(self, model: str) -> str:
        """Folder of the collection that a model is trained on."""
        name = self.models[model].collection
        assert name is not None, model
        return self.paths.collection(name=name)

    def modified_index(self, model: str) -> str:
        """Digests of a model's index, and of its experiments' statistics, if changed by hand."""
        names = self.project.collection_of(model).experiments
        statistics = self.paths.of_experiments(names, "statistics.parquet")
        return modified_digests(f"{self.collection(model)}/index.arrow", *statistics)

    def modified_starts(self, model: str) -> str:
        """Digests of all that a training reads, if changed by hand.

        This is the model's index, its statistics, and checkpoints of other models that it starts
        from.
        """
        return self.modified_index(model) + modified_digests(*self.upstream_checkpoints(model))

    def modified_checkpoints(self, model: str) -> str:
        """Digests of a model's own checkpoints that were changed by hand."""
        return modified_digests(*self.of_seeds(model, "best.ckpt"))

    def batches(self, model: str) -> str:
        """What of a model's training configuration says how its batches are made."""
        settings = self.settings[model]
        trainer = settings.get("trainer") or {}
        kept = {key: trainer[key] for key in _BATCH_KEYS if key in trainer}
        return as_text({"data": settings["data"], "trainer": kept})

    def seeds(self, model: str) -> tuple[int, ...]:
        """The seeds of a model, ascending."""
        return tuple(sorted(self.models[model].seeds))

    def of_seeds(self, model: str, *files: str) -> list[str]:
        """The same products of all trainings of a model."""
        return [self.paths.seed(file, model, seed) for seed in self.seeds(model) for file in files]

    def encoders(self, model: str) -> tuple[str, ...]:
        """What one job embeds with: a model's seeds, and the encoders that they started from."""
        starts = ("", "-untrained") if self.project.has_untrained(model) else ("",)
        return tuple(f"seed{seed}{start}" for start in starts for seed in self.seeds(model))

    def embedding_rules(self) -> dict[tuple[str, ...], str]:
        """Every set of encoders that some model has, and the name of the rule that embeds so.

        That of most models is `embed`, others are named after their seeds: `embed_seeds_0_1`, or
        `embed_only_seeds_0_1` without those that the seeds started from.
        """
        n_models, names = Counter(map(self.encoders, self.models)), {}
        for model in self.models:
            start = "embed_seeds" if self.project.has_untrained(model) else "embed_only_seeds"
            names[self.encoders(model)] = "_".join([start, *map(str, self.seeds(model))])
        most = min(names, key=lambda encoders: (-n_models[encoders], -len(encoders), encoders))
        return names | {most: "embed"}

    # Baselines without a network: models of a collection with the same patch spec share them

    def patches(self, model: str) -> str:
        """Options with the patch spec of a model and its normalization."""
        data = self.settings[model]["data"]
        options = ["--patches", as_text(data["patches"])]
        if data.get("normalization"):
            options += ["--normalization", as_text(data["normalization"])]
        return shlex.join(options)

    @cached_property
    def patches_digests(self) -> dict[str, str]:
        """Model to the name of the folder of its baselines within those of its collection."""
        return {name: digest_text(self.patches(name))[:8] for name in self.models}

    def shared_patches(self, collection: str, digest: str) -> str:
        """Options with the patch spec of the baselines in this folder.

        Raises
        ------
        UserError
            When no model has them any more.
        """
        for name, model in self.models.items():
            if (model.collection, self.patches_digests[name]) == (collection, digest):
                return self.patches(name)
        folder = self.paths.baseline("", collection, digest)
        raise UserError(f"{folder}: no model has this patch spec any more. Remove the folder.")

    def modified_baseline(self, collection: str, digest: str) -> str:
        """Digest of fitted components of pixels, if they were changed by hand."""
        return modified_digests(self.paths.baseline("pixels.npz", collection, digest))

    # Evaluation and report

    def variants(self, model: str) -> dict[str, str]:
        """The seeds of a model and its baselines: the folder of each one's stores."""
        folder, collection = self.paths.embeddings(model), self.models[model].collection
        ceilings = [f"ceiling-{task}" for task in self.project.ceilings_of(model)]
        names = [*self.encoders(model), *ceilings]
        variants = {name: f"{folder}/{name}" for name in names}
        if collection is not None and self.project.has_baselines(model):
            shared = collection, self.patches_digests[model]
            baselines = ("intensity", "texture", "pixels")
            variants |= {name: self.paths.baseline(name, *shared) for name in baselines}
        return variants

    def comparison(self) -> str:
        """File of all that `dynaclr compare` needs to know besides the evaluations."""
        comparison = self.project.comparison
        assert comparison is not None
        return self.json_file(comparison.model_dump(mode="json", exclude={"seeds"}))

    @cached_property
    def thumbnail_models(self) -> dict[str, str]:
        """Experiment to the model whose patches show its cells: the first that embeds it."""
        return {
            experiment: model
            for model in reversed(self.models)
            for experiment in self.project.experiments_of(model)
        }

    def figures(self) -> list[str]:
        """Every figure that the report shows, in its order."""
        paths, simulated = self.paths, filter(self.is_simulated, self.registry)
        made = paths.of_experiments(self.registry, "qc.svg", "intensity.svg")
        made += paths.of_experiments(simulated, "simulation.png")
        made += [paths.collection("composition.svg", name) for name in self.collections]
        for name in self.models:
            if name in self.project.trained:
                made += [paths.model(file, name) for file in ("batches.png", "batch_pairs.png")]
                made += self.of_seeds(name, "curves.svg")
            made += paths.evaluation_figures(name)
        return made

    def report_inputs(self) -> list[str]:
        """All that the report is made from."""
        paths = self.paths
        made = self.figures() + paths.of_experiments(self.registry, "summary.json")
        made += paths.of_experiments(self.thumbnail_models, "thumbnails.parquet.digest")
        made += [paths.collection("manifest.json", name) for name in self.collections]
        for name in self.models:
            trained = name in self.project.trained
            made += self.of_seeds(name, "provenance.json", *(["metrics.csv"] if trained else []))
            tables = ("metrics.csv", "curves.csv", "differences.csv", "headline.json")
            made.append(paths.evaluation("maps.h5ad.digest", name))
            made += [paths.evaluation(file, name) for file in tables]
        if self.project.comparison:
            products = ("metrics.csv", "differences.csv", "figures")
            made += [f"{paths.comparison}/{file}" for file in products]
        return made

    def report(self) -> str:
        """File that says what the report is about."""
        held_out = {name for model in self.models for name in self.project.held_out_of(model)}
        return self.json_file(
            {
                "experiments": list(self.registry),
                "collections": list(self.collections),
                "models": {name: model.seeds for name, model in self.models.items()},
                "frozen": [name for name in self.models if name not in self.project.trained],
                "pictured": list(self.thumbnail_models),
                "comparison": bool(self.project.comparison),
                "held_out": sorted(held_out),
                "figures": [os.path.relpath(file, RESULTS) for file in self.figures()],
                "config": {key: self.config[key] for key in self.config if key != "experiments"},
            }
        )

    def json_file(self, content: Any) -> str:
        """Path of a file with this content as JSON."""
        return as_file(content, Path(self.paths.cache, "plans"))

    # Code

    def code_of_training(self, model: str) -> str:
        """Digest of the code that a training runs, the user's own classes included."""
        return code_digest("training.fit", config=self.settings[model])

    def code_of_batches(self, model: str) -> str:
        """Digest of the code that makes a training's batches."""
        data = self.settings[model]["data"]
        return code_digest("inference.batch_inspection", "figures.batches", config=data)

    @cached_property
    def codes_of_embedding(self) -> dict[str, str]:
        """Model to the digest of the code that embeds with its encoder.

        Once a model: a project has a thousand times as many jobs that embed.
        """
        return {
            name: code_digest("inference.embedding", config=settings["model"])
            for name, settings in self.settings.items()
        }
