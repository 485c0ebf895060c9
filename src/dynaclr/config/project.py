"""A project: its experiments, collections, models and their evaluation, read and checked."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from dynaclr.config.collection import CollectionConfig
from dynaclr.config.comparison import ComparisonConfig
from dynaclr.config.errors import Problems, UserError, did_you_mean
from dynaclr.config.evaluation import EvaluationConfig, TaskConfig
from dynaclr.config.experiment import ExperimentConfig
from dynaclr.config.fields import ConfigModel, Name
from dynaclr.config.model import ModelConfig, checkpoint_paths
from dynaclr.config.pretrained import (
    REFERENCE,
    find_pretrained,
    settings_of_models,
    with_own_seeds,
)
from dynaclr.config.project_checks import check_project
from dynaclr.config.reading import read_yaml, validate
from dynaclr.config.registry import ExperimentRegistry, read_entries, validate_entry
from dynaclr.config.report import ReportConfig

CheckFiles = Callable[[Iterable[ExperimentConfig], Problems], None]


class ProjectConfig(ConfigModel):
    """The workflow's whole configuration."""

    experiments: list[str | ExperimentConfig] = Field(
        min_length=1, description="Entries, or YAML files (globs allowed) that hold them."
    )
    collections: dict[Name, CollectionConfig] = Field(
        default_factory=dict, description="Sets of experiments to train on, by name."
    )
    models: dict[Name, ModelConfig] = Field(
        min_length=1, description="Models to train, or to use as they are, by name."
    )
    evaluation: EvaluationConfig = Field(
        default_factory=EvaluationConfig, description="How every model is judged."
    )
    comparison: ComparisonConfig | None = Field(
        None, description="Which models are compared; default: none."
    )
    report: ReportConfig = Field(
        default_factory=ReportConfig, description="How much of the cells the report shows."
    )

    @property
    def seeded_models(self) -> dict[str, ModelConfig]:
        """Models with the seeds that a comparison gives them, or that frozen ones come with."""
        models = self.comparison.with_seeds(self.models) if self.comparison else self.models
        return with_own_seeds(models)


@dataclass(frozen=True)
class Project:
    """A validated project.

    Attributes
    ----------
    registry : ExperimentRegistry
        All experiments by name.
    collections, models : dict
        By name.
    evaluation : EvaluationConfig
    report : ReportConfig
    comparison : ComparisonConfig or None
        With all models named.
    """

    registry: ExperimentRegistry
    collections: dict[str, CollectionConfig]
    models: dict[str, ModelConfig]
    evaluation: EvaluationConfig
    report: ReportConfig
    comparison: ComparisonConfig | None = None

    def collection_of(self, model: str) -> CollectionConfig:
        """Collection that `model` is trained on, or that its classifiers are fitted on.

        Of a frozen model that names none, it is made of the experiments of the evaluation: its
        classifiers are cross-validated within them, unless it comes with some.
        """
        name = self.models[model].collection
        if self.reference_of(model) is not None:
            return CollectionConfig.model_construct(train=[])
        if name is None:
            return CollectionConfig.model_construct(train=self.evaluation.experiments)
        return self.collections[name]

    def experiments_of(self, model: str) -> list[str]:
        """Experiments that are embedded with `model`: its collection's and the held-out ones."""
        return sorted({*self.collection_of(model).experiments, *self.held_out_of(model)})

    def held_out_of(self, model: str) -> list[str]:
        """Experiments that `model` is scored on: held out, else those of the validation."""
        if self.reference_of(model) is not None:
            return self.evaluation.experiments
        if self.models[model].collection is None:
            return []
        collection = self.collection_of(model)
        return collection.held_out or self.evaluation.experiments or collection.validation

    def reference_of(self, model: str) -> Path | None:
        """Folder of classifiers, maps and samples that a frozen model comes with and is judged by.

        None where it comes with none, or where a collection is named to fit others on.
        """
        given = self.models[model]
        if given.pretrained is None or given.collection is not None:
            return None
        folder = find_pretrained(given.pretrained).folder / REFERENCE
        return folder if folder.is_dir() else None

    @property
    def trained(self) -> list[str]:
        """Models that are trained; the others are frozen."""
        return [name for name, model in self.models.items() if not model.frozen]

    def has_untrained(self, model: str) -> bool:
        """Whether the encoder that a model started from is evaluated beside it."""
        asked = self.evaluation.untrained
        return not self.models[model].frozen if asked == "auto" else asked

    def has_baselines(self, model: str) -> bool:
        """Whether baselines without a network are evaluated beside a model."""
        asked = self.evaluation.baselines
        return not self.models[model].frozen if asked == "auto" else asked

    def settings(self) -> dict[str, dict[str, Any]]:
        """Training configuration of each model, its overrides applied."""
        return settings_of_models(self.models)

    @property
    def checkpoints(self) -> dict[str, str]:
        """Checkpoints that the workflow makes, relative to where it runs, and the model of each."""
        return checkpoint_paths(self.models)

    @property
    def ceilings(self) -> list[str]:
        """Tasks that every trained model has a supervised ceiling of: all or none."""
        return [task.name for task in self.evaluation.tasks if self.evaluation.ceiling]

    def ceilings_of(self, model: str) -> list[str]:
        """Tasks that a model has a supervised ceiling of; a frozen model has none."""
        return [] if self.models[model].frozen else self.ceilings

    def task(self, name: str) -> TaskConfig:
        """Evaluation task by name.

        Raises
        ------
        UserError
            When there is no such task.
        """
        tasks = {task.name: task for task in self.evaluation.tasks}
        if name not in tasks:
            raise UserError(f"evaluation.tasks: no task {name!r}. {did_you_mean(name, tasks)}")
        return tasks[name]

    def labels(self, experiments: Iterable[str]) -> dict[str, dict[str, Path | None]]:
        """Label tables of experiments: name to the paths of ``annotations`` and ``truth``.

        Raises
        ------
        UserError
            When an experiment is not in the project.
        """
        tables = {}
        for name in experiments:
            if name not in self.registry:
                raise UserError(f"no experiment {name!r}. {did_you_mean(name, self.registry)}")
            entry = self.registry[name]
            tables[name] = {"annotations": entry.annotations, "truth": entry.truth}
        return tables


def load_project(
    source: str | Path | dict[str, Any],
    base: Path | None = None,
    *,
    check_files: CheckFiles | None = None,
) -> Project:
    """Read and check a whole project configuration.

    Parameters
    ----------
    source : str, Path or dict
        The YAML file, or its content already read.
    base : Path, optional
        For content: the folder that relative paths are relative to, or the file it came from.
    check_files : callable, optional
        Compares entries with their plates and tables, as `dynaclr.io.check_all_on_disk` does, and
        collects problems. With it, checkpoints that models start from must exist too.

    Raises
    ------
    UserError
        With every error found, each naming the file, the key and the fix.
    """
    if isinstance(source, dict):
        content, file = source, base or Path.cwd()
    else:
        content, file = read_mapping(Path(source)), Path(source)
    folder, where, problems = file if file.is_dir() else file.parent, str(file), Problems()

    entries = _all_entries(content.get("experiments"), folder, where, problems)
    entries_are_valid = not problems.found
    if isinstance(content.get("experiments"), list):
        # Entries were validated above, each with the name of its own file.
        content = content | {"experiments": ["-"] if content["experiments"] else []}
    config = validate(ProjectConfig, content, folder, where, problems)
    if config is None:
        problems.raise_if_any()
        raise AssertionError("a section is either valid or has errors")
    try:
        registry = ExperimentRegistry(entries)
    except UserError as error:
        problems.found.append(str(error))
    # The name of an entry with errors is not known, so no reference can be called wrong.
    known = entries if entries_are_valid else None
    check_project(config, known, where, problems, checkpoints_exist=check_files is not None)
    if check_files is not None:
        check_files(entries, problems)
    problems.raise_if_any()
    models, comparison = config.seeded_models, config.comparison
    if comparison is not None:
        compared = comparison.models or list(models)
        comparison = comparison.model_copy(update={"models": compared})
    return Project(
        registry, config.collections, models, config.evaluation, config.report, comparison
    )


def read_mapping(file: Path) -> dict[str, Any]:
    """Content of a YAML or JSON file that holds keys.

    Raises
    ------
    UserError
        When it cannot be read, or holds something else.
    """
    problems = Problems()
    content = read_yaml(file, problems)
    if not problems.found and not isinstance(content, dict):
        problems.add(file, "is no mapping of keys", "See config/README.md")
    problems.raise_if_any()
    return dict(content)


def _all_entries(
    items: Any, folder: Path, where: str, problems: Problems
) -> list[ExperimentConfig]:
    """Valid entries among those that are listed, inline or by the pattern of their files."""
    entries: list[ExperimentConfig] = []
    for number, item in enumerate(items if isinstance(items, list) else []):
        if not isinstance(item, str):
            entry = validate_entry(item, folder, f"{where}: experiments.{number}", problems)
            entries += [entry] if entry else []
            continue
        files = sorted(glob.glob(str(folder / item)))
        if not files:
            missing = f"no file matches {folder / item}"
            problems.add(f"{where}: experiments", missing, "Correct the path")
        entries += [entry for file in files for entry in read_entries(Path(file), problems)]
    return entries
