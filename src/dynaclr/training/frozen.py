"""Frozen models: weights that are there, in the form that a training would have left."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from dynaclr.config import UserError
from dynaclr.config.grammar import dump_yaml, parse_text
from dynaclr.config.pretrained import (
    BUNDLE,
    CHECKPOINT,
    FACTS,
    SETTINGS,
    Pretrained,
    find_pretrained,
    frozen_settings,
)
from dynaclr.config.training import load_training, with_checkpoints
from dynaclr.io.artifacts import atomic_path, read_json, write_digest, write_json, write_text
from dynaclr.io.folder_digests import read_verified_folder
from dynaclr.training.builder import ON_ANY_MACHINE, TrainingCLI, build, with_data
from dynaclr.training.checkpoints import read_checkpoint, write_checkpoint

# Where a frozen model's data lie is said by whoever embeds them.
_NO_DATA = ("collection", "experiments")


def freeze(pretrained: Path, out_dir: Path, training: dict[str, Any] | None = None) -> None:
    """Write the folder of a training for weights that are there, so that they can embed.

    Parameters
    ----------
    pretrained : Path
        Folder of a training, bundle, or checkpoint.
    out_dir : Path
        Gets ``best.ckpt`` with its digest, ``config.yaml`` and ``provenance.json``. The checkpoint
        of a training or bundle keeps its bytes.
    training : dict, optional
        Training configuration, for a checkpoint that has none beside it.

    Raises
    ------
    UserError
        When weights or settings are missing or damaged, or do not fit each other.
    """
    found = find_pretrained(pretrained)
    if not found.checkpoint.is_file():
        raise UserError(f"{found.checkpoint}: no such file. Correct `pretrained`.")
    if found.settings is None and training is None:
        raise UserError(
            f"{found.folder}: has no {SETTINGS}. Name a training configuration with the encoder, "
            "patches and normalization of this checkpoint."
        )
    if found.settings is not None and (found.folder / BUNDLE).is_file():
        read_verified_folder(found.folder, BUNDLE)
    content = load_training(found.settings) if found.settings else training or {}
    settings = frozen_settings(content)
    cli = load_frozen(found, settings, str(found.settings or "training"))
    target = out_dir / CHECKPOINT
    if found.settings is None:
        write_checkpoint({"state_dict": cli.model.state_dict()}, target)
    else:
        with atomic_path(target) as temporary:
            shutil.copyfile(found.checkpoint, temporary)
    facts = read_json(found.folder / FACTS) if found.settings else {}
    write_json(out_dir / FACTS, facts | {"checkpoint": write_digest(target), "seed": found.seed})
    resolved = frozen_settings(parse_text(cli.resolved())) | {"trainer": settings["trainer"]}
    write_text(out_dir / SETTINGS, dump_yaml(with_data(resolved, *_NO_DATA, found.seed)))


def load_frozen(found: Pretrained, settings: dict[str, Any], where: str) -> TrainingCLI:
    """Build a frozen model with its weights.

    Parameters
    ----------
    found : Pretrained
    settings : dict
        As `dynaclr.config.pretrained.frozen_settings` gives them.
    where : str
        What to call them in a message.

    Raises
    ------
    UserError
        When the settings are not sound, or the weights are of another encoder.
    """
    # Embedding sees to its devices itself.
    settings = settings | {"trainer": {"logger": False} | ON_ANY_MACHINE}
    if found.settings is None:
        # A module knows how its encoder begins with weights that other software may have saved.
        settings = with_checkpoints(settings, {"encoder_checkpoint": str(found.checkpoint)})
        return build(with_data(settings, *_NO_DATA, found.seed), where)
    cli = build(with_data(settings, *_NO_DATA, found.seed), where)
    stored = read_checkpoint(found.checkpoint)
    try:
        cli.model.load_state_dict(stored["state_dict"])
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{found.checkpoint}: holds weights of another model than {where} describes "
            f"({reason}). Restore both from the same training."
        ) from error
    return cli
