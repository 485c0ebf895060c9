"""Resources of jobs: memory, time, processors, GPUs and a partition."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from dynaclr.config.site import SiteConfig
from dynaclr.config.training import loader_workers
from dynaclr.io.plate import plate_facts
from dynaclr.workflow.fingerprint import tracks_megabytes
from dynaclr.workflow.plan import Plan

# Megabytes that the interpreter, its libraries and Snakemake around it need.
BASE_MB = 2000
# Megabytes of a training process, and of one that loads for it, beside their caches.
_TRAINING_MB, _LOADER_MB = 1000, 300
# Megabytes of an evaluation: its fits, which are bounded; for each experiment's sample; and the
# features, 768 wide, of as many observations of an experiment as are scored at most.
_FIT_MB, _SAMPLE_MB, _SCORE_MB, _FEATURES_MB = 2000, 20, 1000, 4000
# Batches that wait to be used, and chunks being decoded, take about as much as the cache.
_CACHES = 2
# Loaders of training and of validation stay, each with its processes.
_LOADERS = 2


def doubled(amount: float, attempt: int, limit: float | None = None) -> int:
    """What an attempt (from 1) asks for: twice as much as the one before, up to a limit."""
    asked = amount * 2 ** (attempt - 1)
    return int(asked if limit is None else min(asked, limit))


def training_cpus(processes: int, threads: int, workers: int, least: int = 0) -> int:
    """CPUs of a training on a node: of its processes and of those that load for them.

    Parameters
    ----------
    processes, threads : int
        Training processes on a node, and CPU threads of each of them.
    workers : int
        Loader processes that its configuration asks for, for each training process.
    least : int
        CPUs that a training process gets at least.
    """
    return processes * max(threads + workers, least)


def training_megabytes(processes: int, workers: int, cache_mb: float, index_mb: float) -> float:
    """Memory of a training on a node, beside `BASE_MB`.

    Parameters
    ----------
    processes : int
        Training processes on a node.
    workers : int
        Loader processes that are started for each of them.
    cache_mb : float
        Cache of chunks of each process, loaders included.
    index_mb : float
        Size of the index, of which a node holds one copy.
    """
    cache = _CACHES * cache_mb
    each = _TRAINING_MB + cache + _LOADERS * workers * (_LOADER_MB + cache)
    return 2 * index_mb + processes * each


class JobResources:
    """Resources of each rule's jobs, as keyword arguments of its `resources`.

    Most are functions of a job's wildcards. Each attempt asks for twice the memory and time of the
    one before.

    Parameters
    ----------
    plan : Plan
    site : SiteConfig
    """

    def __init__(self, plan: Plan, site: SiteConfig) -> None:
        self.plan, self.site = plan, site

    def needs(
        self,
        mb: Callable[[Any], float],
        minutes: Callable[[Any], float],
        doublings: int = 2,
    ) -> dict[str, Any]:
        """Resources by a job's inputs.

        Parameters
        ----------
        mb, minutes : callable
            Functions of the wildcards: memory on top of the interpreter's own, and time.
        doublings : int
            How often memory is doubled at most.
        """
        site = self.site

        def megabytes_of(wildcards: Any, attempt: int) -> int:
            asked = BASE_MB + mb(wildcards)
            return doubled(asked, min(attempt, 1 + doublings), site.max_mb)

        def minutes_of(wildcards: Any, attempt: int) -> int:
            return doubled(10 + minutes(wildcards), attempt)

        given = {
            "slurm_account": site.account,
            "slurm_partition": site.partition,
            "slurm_extra": site.slurm_extra,
        }
        given = {name: value for name, value in given.items() if value is not None}
        return given | {"mem_mb": megabytes_of, "runtime": minutes_of}

    def group(self, name: str) -> str | None:
        """Group of a rule whose jobs are small and many; only large projects have groups."""
        return name if len(self.plan.registry) > self.site.group_above else None

    def fits(self) -> dict[str, Any]:
        """Of an evaluation's fits, whose samples are bounded; each experiment is read by itself."""

        def megabytes(wildcards: Any) -> float:
            names = self.plan.project.experiments_of(wildcards.model)
            return _FIT_MB + max(map(self.table_mb, names)) + _SAMPLE_MB * len(names)

        return self.needs(megabytes, lambda wildcards: 60)

    def scores(self) -> dict[str, Any]:
        """Of the scores of one experiment: its features, corrected, one variant at a time."""
        return self.needs(
            lambda wildcards: (
                _SCORE_MB
                + self.table_mb(wildcards.experiment)
                + min(_FEATURES_MB, 900 * self.cells_mb(wildcards.experiment))
            ),
            lambda wildcards: 30 + 10 * self.cells_mb(wildcards.experiment),
        )

    def joins(self) -> dict[str, Any]:
        """Of what compares samples of experiments, which are bounded, and joins their tables."""

        def megabytes(wildcards: Any) -> float:
            names = self.plan.project.experiments_of(wildcards.model)
            return _FIT_MB + sum(map(self.table_mb, names))

        return self.needs(megabytes, lambda wildcards: 60)

    def table_mb(self, experiment: str) -> float:
        """Memory of the table of an experiment's observations, or of its predictions."""
        return 10 * self.cells_mb(experiment)

    # Sizes

    def tracks_mb(self, experiment: str) -> float:
        """Size of an experiment's tracking tables, in megabytes."""
        entry = self.plan.registry[experiment]
        return 1 if entry.simulation else tracks_megabytes(entry)

    def cells_mb(self, *experiments: str) -> float:
        """Size of cell indexes, which take some 30 bytes an observation on disk."""
        return _megabytes(*self.plan.paths.of_experiments(experiments, "cells.parquet"))

    def megapixels(self, experiment: str) -> float:
        """Pixels of an experiment, in millions; of a simulated one, an estimate."""
        entry = self.plan.registry[experiment]
        if entry.simulation:
            return 8e-6 * entry.simulation.frames * entry.simulation.height * entry.simulation.width
        return plate_facts(entry).megapixels

    def chunk_megapixels(self, experiment: str) -> float:
        """Pixels of an experiment's largest chunk, in millions."""
        entry = self.plan.registry[experiment]
        return 1 if entry.simulation else plate_facts(entry).chunk_megapixels

    def frame_megapixels(self, experiment: str) -> float:
        """Pixels that are decoded for a frame, all channels and planes, in millions."""
        entry = self.plan.registry[experiment]
        if entry.simulation:
            return 1e-6 * len(entry.channels) * entry.simulation.height * entry.simulation.width
        return plate_facts(entry).frame_megapixels

    # Trainings

    def trainer(self, model: str) -> dict[str, Any]:
        """Arguments of a model's trainer."""
        return self.plan.settings[model].get("trainer") or {}

    def nodes(self, model: str) -> int:
        """Nodes that a model is trained on."""
        return int(self.trainer(model).get("num_nodes", 1))

    def devices(self, model: str) -> int:
        """Devices that a model is trained on in each node; on a cluster, `auto` is one."""
        devices = self.trainer(model).get("devices", 1)
        if isinstance(devices, str) and "," in devices:
            devices = [number for number in devices.split(",") if number.strip()]
        if isinstance(devices, list):
            return len(devices)
        return int(devices) if str(devices).isdecimal() else 1

    def on_gpus(self, model: str) -> bool:
        """Whether a model is trained on GPUs: if it says so, or `auto` where the site has some."""
        accelerator = self.trainer(model).get("accelerator", "auto")
        if accelerator == "auto":
            return self.site.gpu_partition is not None
        return accelerator in ("gpu", "cuda")

    def gpus(self, model: str, count: int) -> str | None:
        """SLURM's name of GPUs on each node, or None for a model without."""
        if not self.on_gpus(model):
            return None
        return ":".join(["gpu", *filter(None, [self.site.gpu_model]), str(count)])

    def partition(self, model: str) -> str | None:
        """Partition of jobs with a model's encoder; None for the cluster's default."""
        return self.site.gpu_partition if self.on_gpus(model) else self.site.partition

    def cpus(self, model: str) -> int:
        """CPUs of a training on each node."""
        least = self.site.cpus_per_gpu if self.on_gpus(model) else 0
        wanted = self.plan.settings[model]["data"].get("num_workers", 0)
        return training_cpus(self.devices(model), self.plan.models[model].threads, wanted, least)

    def workers(self, model: str) -> int:
        """Loader processes of a training for each device: what `dynaclr train` starts."""
        threads = self.plan.models[model].threads
        free = loader_workers(self.cpus(model), self.devices(model), threads)
        return self.plan.settings[model]["data"].get("num_workers", free)

    def processes_mb(self, model: str, processes: int, workers: int) -> float:
        """Memory of processes that read a model's batches, each with its loaders."""
        cache_mb = self.plan.settings[model]["data"].get("cache_mb", 256)
        index_mb = _megabytes(f"{self.plan.collection(model)}/index.arrow")
        return training_megabytes(processes, workers, cache_mb, index_mb)

    def training(self) -> dict[str, Any]:
        """Resources of a training. Each node runs one torchrun, which starts a process a device.

        On several nodes the job's own command starts them by srun (`mpi`), a task for each node.
        """

        def megabytes_of(wildcards: Any) -> float:
            model = wildcards.model
            return self.processes_mb(model, self.devices(model), self.workers(model))

        def several_nodes(wildcards: Any) -> int | None:
            nodes = self.nodes(wildcards.model)
            return nodes if nodes > 1 else None

        return {
            # Most trainings that start again only continue, and need no more than before.
            **self.needs(megabytes_of, lambda wildcards: 0, doublings=1),
            **self._encoders_partition(),
            "runtime": self.site.training_minutes,
            "gres": lambda wildcards: self.gpus(wildcards.model, self.devices(wildcards.model)),
            "nodes": several_nodes,
            "tasks": several_nodes,
            "tasks_per_gpu": lambda wildcards: 0 if several_nodes(wildcards) else None,
            "mpi": lambda wildcards: "srun" if several_nodes(wildcards) else None,
        }

    def embedding(self) -> dict[str, Any]:
        """Resources of embedding one experiment with all seeds of one model."""

        def megabytes_of(wildcards: Any) -> float:
            # Two encoders a seed, which is less than its checkpoint: that holds the weights three
            # times. And 20 MB a seed for rows that are written together.
            checkpoints = self.plan.of_seeds(wildcards.model, "best.ckpt")
            rows = 100 * self.cells_mb(wildcards.experiment) + 20 * len(checkpoints)
            return 1800 + rows + _megabytes(*checkpoints)

        def minutes_of(wildcards: Any) -> float:
            seeds = self.plan.seeds(wildcards.model)
            return self.cells_mb(wildcards.experiment) * len(seeds)

        return {
            **self.needs(megabytes_of, minutes_of),
            **self._encoders_partition(),
            "gres": lambda wildcards: self.gpus(wildcards.model, 1),
        }

    def ceiling(self) -> dict[str, Any]:
        """Resources of training a supervised ceiling: a gigabyte of patches, and few steps."""
        return {
            **self.needs(lambda wildcards: 5000, lambda wildcards: 120),
            **self._encoders_partition(),
            "gres": lambda wildcards: self.gpus(wildcards.model, 1),
        }

    def _encoders_partition(self) -> dict[str, Any]:
        if self.site.partition is None and self.site.gpu_partition is None:
            return {}
        return {"slurm_partition": lambda wildcards: self.partition(wildcards.model)}


def _megabytes(*files: str) -> float:
    """Size of files together; those that are not made yet count nothing."""
    return sum(os.path.getsize(file) for file in files if os.path.isfile(file)) / 1e6
