"""Checks between sections of a project: names that exist, held-out data, checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dynaclr.config.errors import Problems, did_you_mean
from dynaclr.config.experiment import ExperimentConfig
from dynaclr.config.model import ModelConfig, checkpoint_paths
from dynaclr.config.pretrained import check_pretrained, own_training
from dynaclr.config.training import override, read_training, starting_checkpoints

if TYPE_CHECKING:
    from dynaclr.config.project import ProjectConfig


def check_project(
    config: ProjectConfig,
    entries: list[ExperimentConfig] | None,
    where: str,
    problems: Problems,
    *,
    checkpoints_exist: bool,
) -> None:
    """Check the sections of a project against each other, and the training files they name.

    Parameters
    ----------
    config : ProjectConfig
    entries : list of ExperimentConfig or None
        Its experiments; None where some have errors, so that their names are not known.
    where : str
        File of the project, for messages.
    problems : Problems
        Takes the errors.
    checkpoints_exist : bool
        Whether checkpoints that no model of the project makes must be files.
    """
    for key, name, what, known in _references(config, entries):
        if name not in known:
            problems.add(f"{where}: {key}", f"no {what} {name!r}", did_you_mean(name, known))
    _check_held_out(config, where, problems)
    _check_same_cells(entries or [], problems)
    models = config.seeded_models
    trainings = _read_trainings(models, where, problems)
    _check_checkpoints(trainings, models, where, problems, checkpoints_exist)
    for name in (name for name, model in models.items() if model.frozen):
        key = f"{where}: models.{name}"
        check_pretrained(name, models, key, problems, checkpoints_exist)
        _check_has_experiments(name, config, key, problems)


def _references(
    config: ProjectConfig, entries: list[ExperimentConfig] | None
) -> Iterator[tuple[str, str, str, list[str]]]:
    """Names that one section uses of another: its key, the name, what it is of, and known names."""
    if entries is not None:
        names = [entry.name for entry in entries]
        for collection, section in config.collections.items():
            for side in ("train", "validation", "held_out"):
                for name in getattr(section, side):
                    yield f"collections.{collection}.{side}", name, "experiment", names
        for name in config.evaluation.experiments:
            yield "evaluation.experiments", name, "experiment", names
        if config.evaluation.control is not None:
            conditions = sorted({name for entry in entries for name in entry.condition_wells})
            yield "evaluation.control", config.evaluation.control, "condition", conditions
    for model, settings in config.models.items():
        if settings.collection is not None:
            known = list(config.collections)
            yield f"models.{model}.collection", settings.collection, "collection", known
    if config.comparison is not None:
        models = list(config.models)
        for name in config.comparison.models:
            yield "comparison.models", name, "model", models
        compared = config.comparison.models or models
        for number, pair in enumerate(config.comparison.contrasts):
            for name in pair:
                yield f"comparison.contrasts.{number}", name, "compared model", compared


def _check_held_out(config: ProjectConfig, where: str, problems: Problems) -> None:
    """Held-out experiments are trained on by no model."""
    held_out, key = config.evaluation.experiments, f"{where}: evaluation.experiments"
    for name, collection in config.collections.items():
        shared = set() if collection.held_out else {*held_out} & {*collection.train}
        for experiment in sorted(shared):
            what = f"{experiment} is held out but collection {name!r} trains on it"
            problems.add(key, what, "Remove it from one")


def _check_has_experiments(
    name: str, config: ProjectConfig, where: str, problems: Problems
) -> None:
    """A frozen model must have something to embed, and to fit baselines on where it has some."""
    if config.models[name].collection is not None:
        return
    if not config.evaluation.experiments:
        fix = "Name some in `evaluation.experiments`, or a `collection`"
        problems.add(where, "there is no experiment to embed", fix)
    if config.evaluation.baselines is True:
        what = "`evaluation.baselines: true` needs experiments to fit baselines on"
        problems.add(where, what, "Name a `collection`, or leave baselines to `auto`")


def _check_same_cells(entries: Iterable[ExperimentConfig], problems: Problems) -> None:
    """No cells are in two experiments: held-out ones would be cells that models were trained on."""
    found: dict[tuple[Path, Path, str], str] = {}
    for entry in entries:
        excluded = {fov.rpartition("/")[0] for fov in entry.exclude_fovs}
        for well in sorted({*entry.condition_of_well} - excluded):
            other = found.setdefault((entry.data_path, entry.tracks_path, well), entry.name)
            if other != entry.name:
                what = f"well {well} of {entry.data_path} is in experiment {other} too"
                fix = "Correct data_path and tracks_path, or give each well to one of them"
                problems.add(f"experiment {entry.name}", what, fix)
                break


def _read_trainings(
    models: dict[str, ModelConfig], where: str, problems: Problems
) -> dict[str, dict[str, Any]]:
    """Training configurations by model; files and overrides that do not fit are errors."""
    trainings: dict[str, dict[str, Any]] = {}
    with_errors: set[Path] = set()
    for name, model in models.items():
        path, key = model.training, f"{where}: models.{name}"
        if path is None:
            continue
        if not path.is_file():
            problems.add(f"{key}.training", f"{path} is no file", "Correct it")
        elif path not in with_errors:
            content = read_training(path, problems)
            if content is None:
                with_errors.add(path)
            else:
                trainings[name] = override(content, model.overrides, f"{key}.overrides", problems)
    return trainings


def _check_checkpoints(
    trainings: dict[str, dict[str, Any]],
    models: dict[str, ModelConfig],
    where: str,
    problems: Problems,
    must_exist: bool,
) -> None:
    """What a model starts from is made by another one, or is a file that no model makes."""
    made = checkpoint_paths(models)
    folders = tuple(f"results/models/{name}/" for name in models)
    parents: dict[str, set[str]] = {}
    for name, content in trainings.items():
        paths = starting_checkpoints(content)
        parents[name] = {made[path] for path in paths.values() if path in made}
        for key, path in paths.items():
            missing = path.startswith(folders) or (must_exist and not Path(path).is_file())
            if path not in made and missing:
                what = f"no checkpoint {path!r}"
                problems.add(f"{where}: models.{name}: {key}", what, did_you_mean(path, made))
    for name, model in models.items():
        # Of a frozen one, the weights that it is made of.
        own = own_training(model, models)
        if own is not None:
            parents[name] = {own}
    for name in parents:
        ancestors = _ancestors(parents[name], parents)
        if name in ancestors:
            problems.add(
                f"{where}: models.{name}",
                f"starts from itself, by way of {', '.join(sorted(ancestors))}",
                "Name another checkpoint in one of them",
            )


def _ancestors(names: Iterable[str], parents: dict[str, set[str]]) -> set[str]:
    """Models that some models start from, and all that those start from."""
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        found |= waiting
        waiting = {p for name in waiting for p in parents.get(name, ())} - found
    return found
