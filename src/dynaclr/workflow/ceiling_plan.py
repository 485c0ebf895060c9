"""What the jobs of supervised ceilings depend on: trainings on labels, and embeddings by them."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from dynaclr.config import EvaluationConfig, TaskConfig
from dynaclr.io.code_digest import code_digest
from dynaclr.workflow.fingerprint import label_fingerprint, modified_digests
from dynaclr.workflow.job_values import as_text
from dynaclr.workflow.plan import Plan

# Of a training configuration, what a ceiling is trained with beside the model itself.
_DATA_KEYS = ("patches", "normalization", "augmentations", "extraction_size", "batch_size")

# And of a task.
_TASK_KEYS = {"name", "label", "source", "where"}


class CeilingPlan:
    """The supervised ceilings of a project as their rules see them.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self.plan, self.paths, self.project = plan, plan.paths, plan.project

    def training(self, model: str) -> str:
        """What of a model's training configuration its ceilings use."""
        return as_text(self._settings(model))

    def _settings(self, model: str) -> dict[str, Any]:
        settings = self.plan.settings[model]
        data = {key: settings["data"][key] for key in _DATA_KEYS if key in settings["data"]}
        return {"model": settings["model"], "data": data}

    def seed(self, model: str) -> int:
        """Seed of a model's ceilings: its first."""
        return self.plan.seeds(model)[0]

    def training_inputs(self, model: str) -> list[str]:
        """Inputs of the training of a ceiling: patches, simulated labels, and what it starts from.

        Experiments that are not trained on are none of them.
        """
        names = self.project.collection_of(model).train
        patches = [file for name in names for file in self.plan.patch_inputs(name)]
        simulated = [file for name in names for file in self.plan.simulation(name)]
        return patches + simulated + self.starts(model)

    def starts(self, model: str) -> list[str]:
        """Digests of other models' checkpoints that a model's encoder starts from."""
        return [f"{path}.digest" for path in self.plan.upstream_checkpoints(model)]

    def checkpoints(self, model: str) -> list[str]:
        """The ceilings of a model, one a task."""
        return [self.paths.ceiling(task, model) for task in self.project.ceilings_of(model)]

    def modified_inputs(self, model: str) -> str:
        """Digests of what a ceiling is trained with that was changed by hand since it was made."""
        train = self.project.collection_of(model).train
        starts = self.plan.upstream_checkpoints(model)
        return self.plan.modified_tables(*train) + modified_digests(*starts)

    def modified_checkpoints(self, model: str) -> str:
        """Digests of a model's ceilings that were changed by hand."""
        return modified_digests(*self.checkpoints(model))

    def labels(self, model: str, task: str) -> str:
        """File of a task's definition, and of the tables that hold its labels."""
        names = self.project.collection_of(model).train
        entries = {name: self.project.registry[name].dump() for name in names}
        tables = {
            name: {key: entry[key] for key in ("annotations", "truth") if key in entry}
            for name, entry in entries.items()
        }
        chosen = self.project.task(task).model_dump(mode="json", include=_TASK_KEYS)
        return self.plan.json_file({"task": chosen, "train": names, "labels": tables})

    def label_content(self, model: str, task: str) -> list[dict[str, str]]:
        """Digests of the labels of a task in the training experiments."""
        chosen = TaskConfig(**self.project.task(task).model_dump(include=_TASK_KEYS))
        columns = EvaluationConfig(tasks=[chosen]).label_columns
        names = self.project.collection_of(model).train
        return [label_fingerprint(self.project.registry[name], columns) for name in names]

    @cached_property
    def codes(self) -> dict[str, str]:
        """Model to the digest of the code that trains its ceilings and embeds with them."""
        modules = ("inference.ceiling", "evaluation.tasks")
        return {
            name: code_digest(*modules, config=self._settings(name))
            for name in self.project.trained
        }
