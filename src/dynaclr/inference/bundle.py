"""Bundles: a trained encoder in one folder that embeds alike on any machine, without its project.

A bundle is the folder of a training (``best.ckpt``, ``config.yaml``, ``provenance.json``) and what
makes it stand alone: a model card (``README.md``), patches with their embeddings (``patches.npz``),
classes of the user's own (``code/``), the reference of an evaluation (``reference/``), and the
digests of all of these (``bundle.json``).
"""

from __future__ import annotations

import importlib.util
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dynaclr.config import UserError
from dynaclr.config.pretrained import (
    BUNDLE,
    REFERENCE,
    SETTINGS,
    find_pretrained,
    frozen_settings,
)
from dynaclr.config.training import load_training
from dynaclr.inference.model_card import model_card
from dynaclr.inference.observations import Observations
from dynaclr.inference.whole_encoder import embed_batch
from dynaclr.io.artifacts import atomic_path, read_json, reading, write_text
from dynaclr.io.code_digest import code_of
from dynaclr.io.folder_digests import read_verified_folder, write_folder_digests
from dynaclr.training.builder import TrainingCLI
from dynaclr.training.frozen import freeze, load_frozen
from dynaclr.training.provenance import environment

log = logging.getLogger(__name__)

FORMAT = 1
# Largest difference of a feature, as a share of the largest feature of the reference: CPUs and
# versions of torch round otherwise, to about 1e-6.
TOLERANCE = 1e-4
_PATCHES, _CARD, _CODE = "patches.npz", "README.md", "code"
# Patches of the reference, and most bytes of them.
_N_PATCHES, _PATCH_BYTES = 8, 20 << 20


def write_bundle(
    training_dir: Path,
    out: Path,
    experiment_dir: Path | None = None,
    evaluation_dir: Path | None = None,
) -> None:
    """Make a bundle of a training.

    Parameters
    ----------
    training_dir : Path
        Folder of a training; or anything else that `find_pretrained` finds with its settings.
    out : Path
        Folder to write, whole or not at all.
    experiment_dir : Path, optional
        Folder of the results of an experiment, of which some patches become the reference; default:
        the first one of the training's collection.
    evaluation_dir : Path, optional
        Evaluation of this model: its ``reference/`` is copied, and the model card has its scores.

    Raises
    ------
    UserError
        When anything is missing or damaged, or something else is at `out`.
    """
    if out.exists() and not (out / BUNDLE).is_file():
        raise UserError(f"{out}: is there, and no bundle. Name a folder that is not there yet.")
    found = find_pretrained(training_dir)
    content = load_training(found.settings or found.folder / SETTINGS)
    entries, experiment_dir = _training_experiments(content, experiment_dir)
    with atomic_path(out) as folder:
        freeze(training_dir, folder)
        cli = _load(folder)
        _write_patches(cli, experiment_dir, folder / _PATCHES)
        modules = _copy_code(load_training(folder / SETTINGS), folder / _CODE)
        if evaluation_dir is not None:
            if not (evaluation_dir / REFERENCE).is_dir():
                raise UserError(f"{evaluation_dir / REFERENCE}: no such folder. Evaluate it first.")
            shutil.copytree(evaluation_dir / REFERENCE, folder / REFERENCE)
        write_text(folder / _CARD, model_card(folder, out.name, entries, modules, evaluation_dir))
        facts = {"format": FORMAT, "tolerance": TOLERANCE, "modules": modules}
        write_folder_digests(folder, BUNDLE, facts | {"environment": environment()})
    log.info("%s: %.1f MB", out, sum(f.stat().st_size for f in out.rglob("*")) / 1e6)


def check_bundle(folder: Path) -> tuple[float, float]:
    """Verify the digests of a bundle, and that it embeds its reference patches as it did.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    difference : float
        Largest difference of a feature, as a share of the largest feature.
    tolerance : float
        What it may be.

    Raises
    ------
    UserError
        When a file is damaged, a module is missing, or an embedding is another.
    """
    facts = read_verified_folder(folder, BUNDLE)
    if facts.get("format") != FORMAT:
        raise UserError(f"{folder / BUNDLE}: not of format {FORMAT}. Use the version that made it.")
    for module in facts["modules"]:
        if importlib.util.find_spec(module.partition(".")[0]) is None:
            code = folder / _CODE
            raise UserError(
                f"{folder}: needs the module {module}, which lies in {code}. Read it, since it "
                f"will run, and start again with PYTHONPATH={code}."
            )
    batch = read_patches(folder)
    expected = [batch.pop(name) for name in ("features", "projections")]
    found = embed_batch(_load(folder).model.encoder, batch)
    difference, tolerance = relative_difference(found, expected), float(facts["tolerance"])
    # Not less or equal: neither is NaN.
    if not difference <= tolerance:
        raise UserError(
            f"{folder}: embeds its reference patches otherwise than when it was made: features "
            f"differ by {difference:.1e} of the largest, more than {tolerance:.0e}. Install the "
            f"versions that {BUNDLE} names."
        )
    return difference, tolerance


def relative_difference(found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
    """Largest difference of tensors, as a share of the largest value of the one expected."""
    return max(
        float((one - other).abs().max() / other.abs().max().clamp(min=1e-12))
        for one, other in zip(found, expected, strict=True)
    )


def read_patches(folder: Path) -> dict[str, torch.Tensor]:
    """Reference patches of a bundle, what normalizes them, and their embeddings."""
    with reading(folder / _PATCHES), np.load(folder / _PATCHES, allow_pickle=False) as file:
        return {name: torch.from_numpy(file[name]) for name in file.files}


def _load(folder: Path) -> TrainingCLI:
    settings = frozen_settings(load_training(folder / SETTINGS))
    return load_frozen(find_pretrained(folder), settings, str(folder / SETTINGS))


def _training_experiments(
    content: dict[str, Any], experiment_dir: Path | None
) -> tuple[list[dict[str, Any]], Path]:
    """Entries of the experiments that were trained on, if known, and the one of the reference."""
    data = content.get("data", {})
    registry = Path(str(data.get("collection"))) / "registry.json"
    entries = read_json(registry) if registry.is_file() else []
    if experiment_dir is None:
        if not entries:
            raise UserError(
                f"{registry}: no such file, so that no experiment gives reference patches. Name "
                "the folder of one's results with --experiment, or run where the training ran."
            )
        experiment_dir = Path(str(data["experiments"])) / entries[0]["name"]
    return entries, experiment_dir


def _write_patches(cli: TrainingCLI, experiment_dir: Path, file: Path) -> None:
    """Write patches from all over an experiment with their embeddings."""
    data = cli.datamodule
    observations = Observations(experiment_dir, data.patches, data.normalization)
    n = int(np.clip(_PATCH_BYTES // observations.reader.patch_bytes, 1, _N_PATCHES))
    rows = np.unique(np.linspace(0, len(observations) - 1, n, dtype=np.int64))
    batch = observations.read(rows)
    kept = ~batch.pop("unreadable")
    if not kept.any():
        raise UserError(f"{experiment_dir.name}: no chosen patch can be read. Name another one.")
    batch = {name: values[kept] for name, values in batch.items()}
    features, projections = embed_batch(cli.model.encoder, batch)
    arrays = batch | {"features": features, "projections": projections}
    with atomic_path(file) as temporary:
        arrays_out: dict[str, Any] = {name: value.numpy() for name, value in arrays.items()}
        np.savez_compressed(temporary, **arrays_out)


def _copy_code(settings: dict[str, Any], folder: Path) -> list[str]:
    """Copy modules of the user's own that the model is made of; return their names."""
    modules = code_of(config=settings["model"])
    own = {name: file for name, file in modules.items() if name.partition(".")[0] != "dynaclr"}
    for name, file in own.items():
        *parents, last = name.split(".")
        package = [*parents, last] if file.name == "__init__.py" else parents
        target = folder.joinpath(*package, file.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, target)
    return sorted(own)
