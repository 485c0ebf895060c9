"""What each job of an evaluation depends on: its fits, the scores of an experiment, its joins."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dynaclr.config import ExperimentConfig
from dynaclr.io.artifacts import digest_path
from dynaclr.workflow.fingerprint import label_fingerprint
from dynaclr.workflow.paths import RESULTS
from dynaclr.workflow.plan import Plan

_LABELS = ("annotations", "truth")


class EvaluationPlan:
    """The evaluations of a project as their rules see them.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.paths, self.project = plan, plan.paths, plan.project

    def scored(self, model: str) -> list[str]:
        """Experiments that are scored alone: the held-out ones, else those of training."""
        held_out = self.project.held_out_of(model)
        return held_out or self.project.collection_of(model).train

    def fitted(self, model: str) -> list[str]:
        """Experiments that are not held out: those of training, and those that validate it."""
        held_out = self.project.held_out_of(model)
        return [name for name in self.project.experiments_of(model) if name not in held_out]

    def stores(self, model: str, experiments: Iterable[str]) -> list[str]:
        """Inputs of what judges embeddings: digests of stores and statistics, and simulations."""
        names = list(experiments)
        statistics = self.paths.of_experiments(names, "statistics.parquet.digest")
        folders = self.plan.variants(model).values()
        digests = [f"{folder}/{name}.zarr.digest" for folder in folders for name in names]
        return (
            digests + statistics + [file for name in names for file in self.plan.simulation(name)]
        )

    def scores(self, model: str) -> list[str]:
        """Digests of the scores of all experiments of a model."""
        return [f"{self.paths.scored(model, name)}.digest" for name in self.scored(model)]

    def label_content(self, experiments: Iterable[str]) -> list[dict[str, str]]:
        """Digests of the labels of experiments."""
        columns = self.project.evaluation.label_columns
        registry = self.project.registry
        return [label_fingerprint(registry[name], columns) for name in experiments]

    def fit(self, model: str) -> str:
        """File of all that `dynaclr evaluation fit` needs to know besides the stores."""
        return self.plan.json_file(
            {
                "model": model,
                "variants": self._variants(model),
                "train": self.project.collection_of(model).train,
                "labels": self._labels(self.fitted(model)),
                "statistics": self._statistics(self.fitted(model)),
                "scores_training": not self.project.held_out_of(model),
                "evaluation": self._evaluation(),
            }
        )

    @property
    def with_reference(self) -> list[str]:
        """Frozen models that are judged by what they came with."""
        models = self.project.models
        return [name for name in models if self.project.reference_of(name) is not None]

    def take(self, model: str) -> str:
        """File of all that `dynaclr evaluation take` needs to know besides the reference."""
        return self.plan.json_file(
            {
                "model": model,
                "variants": list(self.plan.variants(model)),
                "evaluation": self._evaluation(),
            }
        )

    def reference_content(self, model: str) -> str:
        """Digest of the reference that a model came with."""
        return digest_path(self._reference(model))

    def reference_option(self, model: str) -> str:
        """The folder of the reference that a model came with, for a shell."""
        return shlex.quote(os.path.relpath(self._reference(model)))

    def _reference(self, model: str) -> Path:
        folder = self.project.reference_of(model)
        assert folder is not None, model
        return folder

    def score(self, model: str, experiment: str) -> str:
        """File of all that `dynaclr evaluation score` needs to know besides the stores."""
        return self.plan.json_file(
            {
                "experiment": experiment,
                "variants": self._variants(model),
                "labels": self._labels([experiment]),
                "statistics": self._statistics([experiment]),
                "trained_on": experiment not in self.project.held_out_of(model),
                "evaluation": self._evaluation(),
            }
        )

    def join(self, model: str) -> str:
        """File of all that `dynaclr evaluation join` needs to know besides the scores."""
        return self.plan.json_file(
            {
                "scored": self.scored(model),
                "held_out": self.project.held_out_of(model),
                "evaluation": self._evaluation(),
            }
        )

    def maps(self, model: str) -> str:
        """File of all that `dynaclr evaluation maps` needs to know besides the samples."""
        held_out = self.project.held_out_of(model)
        return self.plan.json_file({"held_out": held_out, "cells": self.project.report.cells})

    def _variants(self, model: str) -> dict[str, str]:
        """Variant to the folder of its stores in the results folder."""
        variants = self.plan.variants(model)
        return {name: os.path.relpath(folder, RESULTS) for name, folder in variants.items()}

    def _labels(self, experiments: Iterable[str]) -> dict[str, dict[str, Any]]:
        others = {*ExperimentConfig.model_fields} - {*_LABELS}
        return {name: self.project.registry[name].dump(exclude=others) for name in experiments}

    def _statistics(self, experiments: Iterable[str]) -> dict[str, str]:
        paths = {name: self.paths.experiment("statistics.parquet", name) for name in experiments}
        return {name: os.path.relpath(path, RESULTS) for name, path in paths.items()}

    def _evaluation(self) -> dict[str, Any]:
        # Which experiments and variants there are is said by the stores.
        said = {"experiments", "untrained", "baselines"}
        return self.project.evaluation.model_dump(mode="json", exclude=said)
