"""Checks before any job runs: of one training configuration, and of a whole project."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from dynaclr.config import CollectionConfig, ExperimentConfig, Problems, UserError
from dynaclr.config.columns import SPLIT, columns_of_data, columns_of_training
from dynaclr.config.errors import did_you_mean
from dynaclr.config.patch_specs import patch_specs_of
from dynaclr.config.pretrained import find_pretrained, own_training
from dynaclr.config.project import Project
from dynaclr.config.training import starting_checkpoints, with_checkpoints
from dynaclr.data import MultiExperimentDataModule
from dynaclr.data.loading.checks import check_collection, check_markers
from dynaclr.data.patch_store.requirements import check_patch_specs
from dynaclr.io.planned_index import PlannedIndex
from dynaclr.training.base import TrainedModule
from dynaclr.training.builder import ON_ANY_MACHINE, build, with_data
from dynaclr.training.classification import ClassificationModule
from dynaclr.training.frozen import load_frozen
from dynaclr.training.trainer_checks import check_devices, check_trainer


def check_project(project: Project) -> None:
    """Build every model from its configuration, and compare models with their data.

    Parameters
    ----------
    project : Project

    Raises
    ------
    UserError
        With every problem found.
    """
    problems = Problems()
    trainings = project.settings()
    made_by = {path: trainings[name] for path, name in project.checkpoints.items()}
    for name, model in project.models.items():
        where = str(model.training) + (f" (model {name})" if model.overrides else "")
        try:
            if model.frozen:
                _check_frozen(name, trainings[name], project)
                continue
            check_training(trainings[name], where, made_by)
            collection = project.collection_of(name)
            check_collection(trainings[name]["data"], collection, project.registry, where)
            _check_shown(trainings[name], collection, project.registry, where)
        except UserError as error:
            problems.found.append(str(error))
    # What models ask of stores is known only of sound ones.
    for name, entry in project.registry.items() if not problems.found else ():
        try:
            check_patch_specs(entry, patch_specs_of(project, name, trainings.__getitem__))
        except UserError as error:
            problems.found.append(str(error))
    # Models that share a file share its problems.
    problems.found = list(dict.fromkeys(problems.found))
    problems.raise_if_any()


def _check_frozen(name: str, settings: dict[str, Any], project: Project) -> None:
    """The weights of a frozen model fit its encoder, and its experiments have its markers."""
    model, where = project.models[name], f"models.{name}"
    assert model.pretrained is not None
    found = find_pretrained(model.pretrained)
    if own_training(model, project.models) is None:
        built = load_frozen(found, settings, str(found.settings or model.training))
    else:
        built = build(_on_any_machine(settings, where), where)
    names = project.experiments_of(name)
    try:
        check_markers(built.datamodule.patches.markers, {n: project.registry[n] for n in names})
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def _check_shown(
    training: dict[str, Any],
    collection: CollectionConfig,
    entries: Mapping[str, ExperimentConfig],
    where: str,
) -> None:
    """Callbacks may only show columns that there will be."""
    known = [*PlannedIndex(entries[name] for name in collection.experiments).columns, SPLIT]
    problems = Problems()
    for name in sorted(columns_of_training(training) - columns_of_data(training["data"])):
        if name not in known:
            what = f"the index will have no column {name!r}"
            problems.add(f"{where}: trainer.callbacks", what, did_you_mean(name, known))
    problems.raise_if_any()


def check_training(
    content: dict[str, Any], where: str, made_by: Mapping[str, dict[str, Any]] | None = None
) -> None:
    """Check a training configuration by building everything it names, without any data.

    Parameters
    ----------
    content : dict
        Training configuration.
    where : str
        What to call it in a message.
    made_by : mapping of str to dict
        Checkpoints that other trainings are yet to make, and the configurations of those: their
        untrained models stand in.

    Raises
    ------
    UserError
        As `builder.build`; when an encoder cannot start from what another training makes.
    """
    content = _on_any_machine(content, where)
    with TemporaryDirectory() as folder:
        paths = starting_checkpoints(content)
        for key, path in paths.items():
            if made_by and path in made_by:
                paths[key] = f"{folder}/{path}"
                _save_untrained(made_by[path], Path(paths[key]), f"{where}: what makes {path}")
        try:
            built = build(with_checkpoints(content, paths), where)
        except UserError as error:
            raise UserError(str(error).replace(f"{folder}/", "")) from error
    check_trainer(built.trainer, where)
    _check_labels(built.model, built.datamodule, where)
    _try_augmentations(built.datamodule, where)
    _try_losses(built.model, where)


def _on_any_machine(content: dict[str, Any], where: str) -> dict[str, Any]:
    """A configuration that builds without data and devices: the machine that checks has neither."""
    if not isinstance(content.get("data", {}), dict):
        raise UserError(f"{where}: data is no section of keys. See config/README.md.")
    content = with_data(content, "collection", "experiments", 0)
    if isinstance(content.get("trainer"), dict):
        check_devices(content["trainer"], where)
        content["trainer"] |= ON_ANY_MACHINE
    return content


def _save_untrained(content: dict[str, Any], file: Path, where: str) -> None:
    """Save the weights that a training begins with as if it had made them."""
    model = build(with_checkpoints(_on_any_machine(content, where), {}), where).model
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": model.state_dict()}, file)


def _check_labels(model: Any, data: MultiExperimentDataModule, where: str) -> None:
    """Batches must carry the columns that classifiers learn from."""
    learnt = {"auxiliary_heads": list(getattr(getattr(model, "auxiliary", None), "options", {}))}
    learnt["label"] = [model.label] if isinstance(model, ClassificationModule) else []
    problems = Problems()
    for key, names in learnt.items():
        for name in sorted({*names} - {*data.carry}):
            what = f"batches carry no column {name!r} to learn from"
            problems.add(f"{where}: model.{key}", what, "Add it to data.carry")
    problems.raise_if_any()


def _try_augmentations(data: MultiExperimentDataModule, where: str) -> None:
    """Augment two blank patches: they must come out as validation sees them."""
    patches = data.patches
    channels = 1 if patches.bag_of_channels else len(patches.markers)
    blank_BCZYX = torch.zeros(2, channels, patches.depth, *data.extraction_size)
    key = f"{where}: data.augmentations"
    try:
        found = tuple(data.augment(blank_BCZYX, 0).shape[1:])
    except (IndexError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(f"{key}: {str(error).rstrip('. ')}. Correct them.") from error
    expected = (channels, patches.depth, *patches.size)
    if found != expected:
        raise UserError(
            f"{key}: of patches of extraction_size {list(data.extraction_size)} they make "
            f"(C, Z, Y, X) {list(found)}, but data.patches asks for {list(expected)}. Let the last "
            "one crop to data.patches.size, or leave out data.extraction_size."
        )


def _try_losses(model: TrainedModule, where: str) -> None:
    """Call the losses on a few rows; no encoder runs."""
    try:
        with torch.no_grad():
            losses = model.try_losses()
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError) as error:
        raise UserError(
            f"{where}: model.loss: cannot be called as {type(model).__name__} does: "
            f"{' '.join(str(error).split()).rstrip('. ')}. Choose a class of dynaclr.losses, or "
            "one with the same call."
        ) from error
    for key, value in losses.items():
        if not isinstance(value, torch.Tensor) or value.ndim:
            raise UserError(
                f"{where}: model.{key}: gives no scalar, so it is no loss. Choose a class of "
                "dynaclr.losses, or one with the same call."
            )
