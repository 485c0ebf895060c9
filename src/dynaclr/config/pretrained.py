"""Frozen models: which weights are meant, with which settings and of which seed.

A training leaves a folder with ``best.ckpt``, ``config.yaml`` (every setting) and
``provenance.json``. A bundle has the same files and some more, so that both are read alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dynaclr.config.errors import Problems, UserError
from dynaclr.config.model import ModelConfig, checkpoint_paths
from dynaclr.config.training import (
    load_training,
    read_training,
    relative_inside,
    with_checkpoints,
)

CHECKPOINT, SETTINGS, FACTS = "best.ckpt", "config.yaml", "provenance.json"
# Digests of all that is in a bundle, and the fits of an evaluation, if one was given.
BUNDLE, REFERENCE = "bundle.json", "reference"
# What embedding needs of these sections.
_KEPT = {"data": ("patches", "normalization"), "trainer": ("accelerator",)}
# Classes of this package that begin with published weights, or those of a file, where asked to.
_WITH_WEIGHTS = ("ContrastiveEncoder", "UNeXt2")


class Pretrained(NamedTuple):
    """Weights that are there, or that a training of the same project is yet to make.

    Attributes
    ----------
    checkpoint : Path
    settings : Path or None
        Resolved configuration of the training that made it; None for a checkpoint alone.
    folder : Path
        Where both lie.
    """

    checkpoint: Path
    settings: Path | None
    folder: Path

    @property
    def seed(self) -> int:
        """Seed of the training: by its provenance, by the name of its folder, or else 0."""
        facts = self.folder / FACTS
        if self.settings is not None and facts.is_file():
            try:
                return int(json.loads(facts.read_text(encoding="utf-8"))["seed"])
            except (KeyError, TypeError, ValueError):
                raise UserError(f"{facts}: names no seed. Restore it, or delete it.") from None
        named = re.fullmatch(r"seed(\d+)", self.folder.name)
        return int(named[1]) if named else 0


def find_pretrained(path: Path) -> Pretrained:
    """What `pretrained` means: a folder's checkpoint, or a file and what lies beside it."""
    # A training that is yet to run has no folder.
    folder = path.parent if path.is_file() or path.suffix == ".ckpt" else path
    checkpoint = folder / CHECKPOINT if folder == path else path
    settings = folder / SETTINGS
    # A project, too, has a file of this name, and checkpoints may lie beside it.
    needed = [settings] if folder == path else [settings, folder / FACTS]
    known = all(file.is_file() for file in needed)
    return Pretrained(checkpoint, settings if known else None, folder)


def own_training(model: ModelConfig, models: Mapping[str, ModelConfig]) -> str | None:
    """Name of the model of the same project whose training a frozen one is; None for others."""
    if model.pretrained is None:
        return None
    made = checkpoint_paths({name: other for name, other in models.items() if not other.frozen})
    return made.get(own_checkpoint(model))


def own_checkpoint(model: ModelConfig) -> str:
    """Path of a frozen model's checkpoint, relative to the working folder where it lies inside."""
    assert model.pretrained is not None
    return relative_inside(str(find_pretrained(model.pretrained).checkpoint))


def with_own_seeds(models: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
    """Models of a project; frozen ones with the seed of the training that made their weights."""
    return {
        name: model
        if model.pretrained is None
        else model.model_copy(update={"seeds": [find_pretrained(model.pretrained).seed]})
        for name, model in models.items()
    }


def settings_of_models(models: Mapping[str, ModelConfig]) -> dict[str, dict[str, Any]]:
    """Training configurations of a project's models, their overrides applied.

    Those of frozen models start from no other checkpoint.

    Raises
    ------
    UserError
        When a file cannot be read.
    """
    return {name: _settings_of(model, models) for name, model in models.items()}


def _settings_of(model: ModelConfig, models: Mapping[str, ModelConfig]) -> dict[str, Any]:
    if model.pretrained is None:
        assert model.training is not None
        return load_training(model.training, model.overrides)
    own = own_training(model, models)
    if own is not None:
        return frozen_settings(_settings_of(models[own], models))
    if model.training is not None:
        return frozen_settings(load_training(model.training, model.overrides))
    found = find_pretrained(model.pretrained)
    return frozen_settings(load_training(found.settings or found.folder / SETTINGS))


def frozen_settings(content: dict[str, Any]) -> dict[str, Any]:
    """What of a training configuration embeds: its model without other weights, and its patches.

    Of the trainer, the accelerator stays: embedding uses a GPU if the training did.
    """
    content = with_checkpoints(content, {})
    found = {section: _kept(content.get(section), keys) for section, keys in _KEPT.items()}
    model = content.get("model")
    return found | ({"model": _without_weights(model)} if isinstance(model, dict) else {})


def _kept(section: Any, keys: tuple[str, ...]) -> dict[str, Any]:
    return (
        {key: section[key] for key in keys if key in section} if isinstance(section, dict) else {}
    )


def _without_weights(section: dict[str, Any]) -> dict[str, Any]:
    """Copy in which encoders of this package fetch no weights."""
    copied = {
        key: _without_weights(value) if isinstance(value, dict) else value
        for key, value in section.items()
    }
    known = str(section.get("class_path")).removeprefix("dynaclr.models.") in _WITH_WEIGHTS
    if known and isinstance(copied.get("init_args"), dict):
        copied["init_args"].pop("pretrained", None)
    return copied


def check_pretrained(
    name: str, models: Mapping[str, ModelConfig], where: str, problems: Problems, must_exist: bool
) -> None:
    """Check that a frozen model's weights are there, and its settings named once.

    Parameters
    ----------
    name : str
        Of the frozen model.
    models : mapping
        All models of the project.
    where : str
        Its section, for messages.
    problems : Problems
        Takes the errors.
    must_exist : bool
        Whether weights that no model of the project makes must be there.
    """
    model, key = models[name], f"{where}.pretrained"
    assert model.pretrained is not None
    found = find_pretrained(model.pretrained)
    if own_training(model, models) is None:
        # What is left of an earlier run of this very model is no source of it.
        if own_checkpoint(model) in checkpoint_paths(models):
            what = f"{model.pretrained} is what a frozen model makes"
            problems.add(key, what, "Name what that model is frozen from")
            return
        if must_exist and not found.checkpoint.is_file():
            problems.add(
                key,
                f"no checkpoint {found.checkpoint}",
                "Name a checkpoint, a bundle, or a training such as results/models/<model>/seed0",
            )
            return
        has_settings = found.settings is not None
        if found.settings is not None:
            read_training(found.settings, problems)
    else:
        has_settings = True
    if has_settings and model.training is not None:
        what = f"the settings of {found.folder} are used, so `training` changes nothing"
        problems.add(where, what, "Remove it")
    elif not has_settings and model.training is None and found.checkpoint.is_file():
        what = f"{found.folder} has no {SETTINGS} that says how {found.checkpoint.name} is used"
        problems.add(where, what, "Name its `training`: encoder, patches and normalization")
