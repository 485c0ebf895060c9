"""Export of an encoder with its normalization, for software that has torch but not this package."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from dynaclr.config import UserError
from dynaclr.config.pretrained import SETTINGS, find_pretrained, frozen_settings
from dynaclr.config.training import load_training
from dynaclr.data import MultiExperimentDataModule
from dynaclr.inference.bundle import TOLERANCE, relative_difference
from dynaclr.inference.whole_encoder import WholeEncoder
from dynaclr.io.artifacts import atomic_path, digest_path, reading, reason_of
from dynaclr.training.frozen import load_frozen

log = logging.getLogger(__name__)

# File within the exported one that says what its inputs are.
FACTS_FILE = "dynaclr.json"
_MOST_PATCHES = 65_536


def export_encoder(training_dir: Path, out: Path) -> float:
    """Write an encoder with its normalization as a program of `torch.export` (``.pt2``).

    It maps pixels as stored, float32 of shape (B, C, Z, Y, X), and the center and spread of their
    surroundings, float32 of shape (B, C), to features (B, D) and projections (B, P), for any number
    B of patches. ``dynaclr.json`` inside says which markers, sizes and statistics these are.

    Parameters
    ----------
    training_dir : Path
        Folder of a training, or bundle.
    out : Path
        File to write (``.pt2``), whole or not at all, and only if it gives the same features.

    Returns
    -------
    float
        As `check_export`.

    Raises
    ------
    UserError
        When weights or settings are missing or damaged, or the encoder cannot be exported.
    """
    encoder, data, checkpoint = _load(training_dir)
    given = _random_patches(data, 2)
    batch = torch.export.Dim("batch", min=1, max=_MOST_PATCHES)
    try:
        program = torch.export.export(
            encoder, given, dynamic_shapes=({0: batch}, {0: batch}, {0: batch})
        )
    except Exception as error:
        # An encoder of the user's own may do anything, and torch raises many classes of errors.
        raise UserError(
            f"{training_dir}: its encoder cannot be exported ({reason_of(error)}). Embed with "
            "`dynaclr embed` instead."
        ) from error
    facts = {
        "dynaclr": version("dynaclr"),
        "checkpoint": checkpoint,
        "patches": asdict(data.patches),
        "normalization": asdict(data.normalization),
        "inputs": ["patch (B, C, Z, Y, X)", "center (B, C)", "spread (B, C)"],
        "outputs": ["features (B, D)", "projections (B, P)"],
    }
    with atomic_path(out) as temporary:
        text = json.dumps(facts, sort_keys=True)
        torch.export.save(program, temporary, extra_files={FACTS_FILE: text})
        difference = _difference(temporary, encoder, data, training_dir)
    log.info("%s: %.1f MB", out, out.stat().st_size / 1e6)
    return difference


def check_export(training_dir: Path, file: Path) -> float:
    """Compare an exported encoder with the one that it was made of, on random patches.

    Parameters
    ----------
    training_dir : Path
        Folder of a training, or bundle.
    file : Path
        What `export_encoder` wrote.

    Returns
    -------
    float
        Largest difference of a feature, as a share of the largest feature.

    Raises
    ------
    UserError
        When the file cannot be read, or gives other features.
    """
    encoder, data, _ = _load(training_dir)
    return _difference(file, encoder, data, training_dir)


def _difference(
    file: Path, encoder: WholeEncoder, data: MultiExperimentDataModule, training_dir: Path
) -> float:
    with reading(file):
        program = torch.export.load(file).module()
    given = _random_patches(data, 3)
    with torch.inference_mode():
        difference = relative_difference(program(*given), encoder(*given))
    if not difference <= TOLERANCE:
        raise UserError(
            f"{file}: gives other features than {training_dir}, by {difference:.1e} of the "
            "largest. Export it again."
        )
    return difference


def _load(training_dir: Path) -> tuple[WholeEncoder, MultiExperimentDataModule, str]:
    found = find_pretrained(training_dir)
    settings = frozen_settings(load_training(found.settings or found.folder / SETTINGS))
    cli = load_frozen(found, settings, str(found.folder / SETTINGS))
    return WholeEncoder(cli.model.encoder).eval(), cli.datamodule, digest_path(found.checkpoint)


def _random_patches(data: MultiExperimentDataModule, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Patches like those of the data, with what normalizes them."""
    patches = data.patches
    channels = 1 if patches.bag_of_channels else len(patches.markers)
    depth = patches.depth if patches.projection == "none" else 1
    random = torch.Generator().manual_seed(0)
    shape = (n, channels, depth, *patches.size)
    patch_BCZYX = 100 + 20 * torch.randn(shape, generator=random)
    return patch_BCZYX, torch.full((n, channels), 100.0), torch.full((n, channels), 20.0)
