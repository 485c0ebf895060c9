"""A project: experiments, collections of them, models trained on those, and their evaluation."""

from __future__ import annotations

import glob
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, Field, field_validator, model_validator

from dynaclr.config.errors import Problems, UserError, nearest
from dynaclr.config.experiment import ConfigModel, ConfigPath, ExperimentConfig, Name
from dynaclr.config.reading import read_yaml, validate
from dynaclr.config.registry import ExperimentRegistry, read_entries, validate_entry
from dynaclr.config.training import override, read_training, starting_checkpoints

Value = TypeVar("Value")


def _check_distinct(values: list[Value]) -> list[Value]:
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} stands twice; name each one once")
    return values


Distinct = Annotated[list[Value], AfterValidator(_check_distinct)]
# Lightning takes no larger one.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
# Fewer shuffles tell nothing of the tails of their distribution.
MIN_SHUFFLES = 30
CheckFiles = Callable[[Iterable[ExperimentConfig], Problems], None]


class CollectionConfig(ConfigModel):
    """Experiments that are merged into one index, and what of them validates a training."""

    train: Distinct[str] = Field(min_length=1, description="Experiments to train on.")
    validation: Distinct[str] = Field(
        default_factory=list, description="Experiments kept whole for validation."
    )
    validation_fov_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Instead: the share of each training experiment's fields of view.",
    )
    seed: int = Field(0, ge=0, description="Seed that chooses the validation fields of view.")
    held_out: Distinct[str] = Field(
        default_factory=list,
        description="Held-out experiments of these models, in place of those of `evaluation`.",
    )

    @model_validator(mode="after")
    def _has_one_kind_of_validation(self) -> CollectionConfig:
        for kind in ("validation", "held_out"):
            both = sorted(set(self.train) & set(getattr(self, kind)))
            if both:
                raise ValueError(
                    f"{', '.join(both)} stands in both train and {kind}; leave it in one of them"
                )
        if bool(self.validation) == (self.validation_fov_fraction is not None):
            state = "both kinds of" if self.validation else "no"
            raise ValueError(
                f"{state} validation data given; name experiments under `validation`, "
                "or give a `validation_fov_fraction`"
            )
        return self

    @property
    def experiments(self) -> list[str]:
        """Names of all experiments of the collection, sorted."""
        return sorted({*self.train, *self.validation})


class ModelConfig(ConfigModel):
    """A model: what it is trained on, how, and with which seeds."""

    collection: str = Field(description="Name of the collection it is trained on.")
    training: ConfigPath = Field(description="Training configuration (YAML).")
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description="Values that replace some of the training configuration, by dotted key.",
        examples=[{"model.learning_rate": 0.0003}],
    )
    seeds: Distinct[Seed] = Field([0], min_length=1, description="One training for each seed.")
    threads: int = Field(2, ge=1, description="CPU threads of a training and of its embeddings.")


class TaskConfig(ConfigModel):
    """A question that a linear classifier answers from the embedding."""

    name: Name = Field(description="Name of the task in tables and figures.")
    label: str = Field(description="Column of the label table that holds the classes.")
    source: Literal["annotations", "truth"] = Field(
        "annotations", description="Which table of the experiment entry holds the label."
    )
    where: str | None = Field(
        None,
        description="Use only these observations (a pandas query).",
        examples=["condition == 'infected'"],
    )
    groups: Literal["lineage", "fov"] = Field(
        "lineage", description="What is never split between training and testing."
    )


class EvaluationConfig(ConfigModel):
    """How every model is judged."""

    experiments: Distinct[str] = Field(
        default_factory=list, description="Held-out experiments: embedded and scored only."
    )
    tasks: list[TaskConfig] = Field(default_factory=list, description="Classifiers to score.")
    bootstrap: int = Field(1000, ge=10, description="Resamples of lineages behind each interval.")
    shuffles: int = Field(
        30,
        ge=0,
        description="Shuffles of the labels behind the null of each classifier: 30 or more; 0: "
        "none.",
    )
    control: str | None = Field(
        None,
        description="Condition of the control cells: other conditions are held against it, and "
        "corrected baselines and the onset of responses are fitted on it.",
        examples=["mock"],
    )
    window_hours: float = Field(
        2.0, gt=0, description="Width of the windows in which cells count as of the same hour."
    )
    progression: str | None = Field(
        None, description="Column of `truth` with the true progression of a cell, a number."
    )
    onset: str | None = Field(
        None, description="Column of `truth` with the true onset of a cell's response, in hours."
    )

    @field_validator("shuffles")
    @classmethod
    def _shuffles_are_enough(cls, shuffles: int) -> int:
        if 0 < shuffles < MIN_SHUFFLES:
            raise ValueError(
                f"{shuffles} shuffles make no null distribution. Take {MIN_SHUFFLES} or more, or 0 "
                "for none"
            )
        return shuffles

    @model_validator(mode="after")
    def _task_names_are_distinct(self) -> EvaluationConfig:
        try:
            _check_distinct([task.name for task in self.tasks])
        except ValueError as error:
            raise ValueError(f"tasks: {error}") from None
        return self


class ComparisonConfig(ConfigModel):
    """Which models are held side by side: a grid of models and seeds."""

    models: Distinct[str] = Field(
        default_factory=list, description="Models to compare; default: all of them."
    )
    seeds: Distinct[Seed] | None = Field(
        None, min_length=1, description="Seeds of these models, in place of their own."
    )
    contrasts: list[tuple[str, str]] = Field(
        default_factory=list,
        description="Pairs of models whose difference is told, first minus second; default: every "
        "model against the first.",
    )
    metrics: Distinct[str] = Field(
        default_factory=list,
        description="Metrics that are contrasted and drawn; default: the main ones.",
    )


class ReportConfig(ConfigModel):
    """How much of the cells the report shows."""

    cells: int = Field(
        50_000,
        ge=1,
        description="Most cells in a map of the embedding, as many of each experiment.",
    )
    pictures: int = Field(
        2000, ge=1, description="Most cells of an experiment that are shown with their picture."
    )


class ProjectConfig(ConfigModel):
    """The workflow's whole configuration."""

    experiments: list[str | ExperimentConfig] = Field(
        min_length=1, description="Entries, or YAML files (globs allowed) that hold them."
    )
    collections: dict[Name, CollectionConfig] = Field(
        min_length=1, description="Sets of experiments to train on, by name."
    )
    models: dict[Name, ModelConfig] = Field(min_length=1, description="Models to train, by name.")
    evaluation: EvaluationConfig = Field(
        default_factory=EvaluationConfig, description="How every model is judged."
    )
    comparison: ComparisonConfig | None = Field(
        None, description="Which models are held side by side; default: none are."
    )
    report: ReportConfig = Field(
        default_factory=ReportConfig, description="How much of the cells the report shows."
    )


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
    comparison : ComparisonConfig or None
        With all models named.
    report : ReportConfig
    """

    registry: ExperimentRegistry
    collections: dict[str, CollectionConfig]
    models: dict[str, ModelConfig]
    evaluation: EvaluationConfig
    report: ReportConfig
    comparison: ComparisonConfig | None = None

    def collection_of(self, model: str) -> CollectionConfig:
        """Collection that `model` is trained on."""
        return self.collections[self.models[model].collection]

    def experiments_of(self, model: str) -> list[str]:
        """Experiments that are embedded with `model`: its collection's and the held-out ones."""
        return sorted({*self.collection_of(model).experiments, *self.held_out_of(model)})

    def held_out_of(self, model: str) -> list[str]:
        """Experiments that `model` is scored on: held out, else those of the validation."""
        collection = self.collection_of(model)
        return collection.held_out or self.evaluation.experiments or collection.validation

    @property
    def checkpoints(self) -> dict[str, str]:
        """Checkpoints that the workflow makes, relative to where it runs, and the model of each."""
        return _checkpoints(self.models)

    def task(self, name: str) -> TaskConfig:
        """Evaluation task by name.

        Raises
        ------
        UserError
            When there is no such task.
        """
        for task in self.evaluation.tasks:
            if task.name == name:
                return task
        known = [task.name for task in self.evaluation.tasks]
        raise UserError(f"evaluation.tasks: no task {name!r}. {nearest(name, known)}")

    def labels(self, experiments: Iterable[str]) -> dict[str, dict[str, Path | None]]:
        """Label tables of experiments: name to the paths of ``annotations`` and ``truth``.

        Raises
        ------
        UserError
            When an experiment is not in the project.
        """
        tables: dict[str, dict[str, Path | None]] = {}
        for name in experiments:
            if name not in self.registry:
                raise UserError(f"no experiment {name!r}. {nearest(name, list(self.registry))}")
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
        Holds entries against their plates and tables, as `dynaclr.io.check_all_on_disk` does, and
        collects problems. With it, checkpoints that models start from must exist too.

    Raises
    ------
    UserError
        With every fault found, each naming the file, the place and the fix.
    """
    problems = Problems()
    if isinstance(source, dict):
        content, file = source, base or Path.cwd()
    else:
        file = Path(source)
        content = read_yaml(file, problems)
    folder = file if file.is_dir() else file.parent
    where = str(file)
    if not problems.found and not isinstance(content, dict):
        problems.add(where, "is no mapping of keys", "See config/README.md")
    problems.raise_if_any()

    entries = _all_entries(content.get("experiments"), folder, where, problems)
    entry_faults = len(problems.found)
    # Entries were validated with their own file's name; what stays is held against the model.
    rest = dict(content)
    if isinstance(content.get("experiments"), list):
        rest["experiments"] = ["-"] if content["experiments"] else []
    config = validate(ProjectConfig, rest, folder, where, problems)
    if config is None:
        problems.raise_if_any()
    names = _unique(entries, problems)
    # The name of an entry that cannot be read is not known, so no reference can be called wrong.
    _check_references(config, None if entry_faults else names, where, problems)
    _check_held_out(config, where, problems)
    if not entry_faults:
        _check_control(config, entries, where, problems)
    models, comparison = _models(config), config.comparison
    trainings = _check_trainings(config, where, problems)
    _check_starts(trainings, models, where, problems, check_files is not None)
    if check_files is not None:
        check_files(entries, problems)
    problems.raise_if_any()
    registry = ExperimentRegistry(entries)
    if comparison is not None:
        compared = comparison.models or list(models)
        comparison = comparison.model_copy(update={"models": compared})
    return Project(
        registry, config.collections, models, config.evaluation, config.report, comparison
    )


def _models(config: ProjectConfig) -> dict[str, ModelConfig]:
    """Models by name; those that are compared have the seeds of the comparison, if it has any."""
    comparison = config.comparison
    if comparison is None or comparison.seeds is None:
        return config.models
    compared, seeds = comparison.models or config.models, {"seeds": comparison.seeds}
    return {
        name: model.model_copy(update=seeds) if name in compared else model
        for name, model in config.models.items()
    }


def _checkpoints(models: dict[str, ModelConfig]) -> dict[str, str]:
    return {
        f"results/models/{name}/seed{seed}/best.ckpt": name
        for name, model in models.items()
        for seed in model.seeds
    }


def _all_entries(
    items: Any, folder: Path, where: str, problems: Problems
) -> list[ExperimentConfig]:
    entries: list[ExperimentConfig | None] = []
    for number, item in enumerate(items if isinstance(items, list) else []):
        if isinstance(item, str):
            entries += _entries_of_pattern(folder / item, where, problems)
        else:
            place = f"{where}: experiments.{number}"
            entries.append(validate_entry(item, folder, place, problems))
    return [entry for entry in entries if entry is not None]


def _entries_of_pattern(pattern: Path, where: str, problems: Problems) -> list[ExperimentConfig]:
    files = sorted(glob.glob(str(pattern)))
    if not files:
        problems.add(f"{where}: experiments", f"no file matches {pattern}", "Correct the path")
    return [entry for file in files for entry in read_entries(Path(file), problems)]


def _unique(entries: list[ExperimentConfig], problems: Problems) -> list[str]:
    try:
        return list(ExperimentRegistry(entries))
    except UserError as error:
        problems.found.append(str(error))
        return sorted({entry.name for entry in entries})


def _check_references(
    config: ProjectConfig, names: list[str] | None, where: str, problems: Problems
) -> None:
    """Every name that one part of the configuration uses must be defined by another."""

    def check(place: str, used: list[str], what: str, known: list[str] | None) -> None:
        for name in used:
            if known is not None and name not in known:
                problems.add(f"{where}: {place}", f"no {what} {name!r}", nearest(name, known))

    for name, collection in config.collections.items():
        check(f"collections.{name}.train", collection.train, "experiment", names)
        check(f"collections.{name}.validation", collection.validation, "experiment", names)
        check(f"collections.{name}.held_out", collection.held_out, "experiment", names)
    for name, model in config.models.items():
        known = list(config.collections)
        check(f"models.{name}.collection", [model.collection], "collection", known)
    if config.comparison is not None:
        known = list(config.models)
        check("comparison.models", config.comparison.models, "model", known)
        compared = config.comparison.models or known
        for number, pair in enumerate(config.comparison.contrasts):
            check(f"comparison.contrasts.{number}", list(pair), "compared model", compared)
    held_out = config.evaluation.experiments
    check("evaluation.experiments", held_out, "experiment", names)
    for name, collection in config.collections.items():
        judged = [] if collection.held_out else held_out
        for seen in sorted(set(judged) & set(collection.train)):
            problems.add(
                f"{where}: evaluation.experiments",
                f"{seen} is held out but collection {name!r} trains on it",
                "Leave it in one of them",
            )


def _check_control(
    config: ProjectConfig, entries: list[ExperimentConfig], where: str, problems: Problems
) -> None:
    known = sorted({condition for entry in entries for condition in entry.condition_wells})
    control = config.evaluation.control
    if control is not None and control not in known:
        place = f"{where}: evaluation.control"
        problems.add(place, f"no condition {control!r}", nearest(control, known))


def _check_held_out(config: ProjectConfig, where: str, problems: Problems) -> None:
    """A task is scored on held-out experiments, so every model needs some."""
    if not config.evaluation.tasks or config.evaluation.experiments:
        return
    for name in sorted({model.collection for model in config.models.values()}):
        collection = config.collections.get(name)
        if collection is not None and not (collection.validation or collection.held_out):
            problems.add(
                f"{where}: evaluation.experiments",
                f"there are tasks but nothing is held out to score them on: collection {name!r} "
                "validates by fields of view",
                "Name held-out experiments, or remove `evaluation.tasks`",
            )


def _check_trainings(
    config: ProjectConfig, where: str, problems: Problems
) -> dict[str, dict[str, Any]]:
    """Every training file must be readable and have the sections that are overridden.

    Returns
    -------
    dict of str to dict
        Training configurations by model, of those that can be read.
    """
    trainings: dict[str, dict[str, Any]] = {}
    unreadable: set[Path] = set()
    for name, model in config.models.items():
        path, place = model.training, f"{where}: models.{name}"
        if not path.is_file():
            problems.add(f"{place}.training", f"{path} is no file", "Correct it")
        elif path not in unreadable:
            content = read_training(path, problems)
            if content is None:
                unreadable.add(path)
            else:
                override(content, model.overrides, f"{place}.overrides", problems)
                trainings[name] = content
    return trainings


def _check_starts(
    trainings: dict[str, dict[str, Any]],
    models: dict[str, ModelConfig],
    where: str,
    problems: Problems,
    on_disk: bool,
) -> None:
    """What a model starts from is made by another one, or lies outside of what models make."""
    made = _checkpoints(models)
    teachers: dict[str, set[str]] = {}
    for name, content in trainings.items():
        checkpoints = starting_checkpoints(content)
        teachers[name] = {made[path] for path in checkpoints.values() if path in made}
        for key, path in checkpoints.items():
            of_a_model = any(path.startswith(f"results/models/{other}/") for other in models)
            if path not in made and (of_a_model or (on_disk and not Path(path).is_file())):
                place = f"{where}: models.{name}: {key}"
                problems.add(place, f"no checkpoint {path!r}", nearest(path, made))
    for name in trainings:
        before, waiting = set[str](), [name]
        while waiting:
            further = teachers.get(waiting.pop(), set()) - before
            before |= further
            waiting += further
        if name in before:
            problems.add(
                f"{where}: models.{name}",
                f"starts from itself, by way of {', '.join(sorted(before))}",
                "Name another checkpoint in one of them",
            )
