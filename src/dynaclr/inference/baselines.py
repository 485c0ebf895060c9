"""Baselines that a trained encoder must beat: intensities, and principal components of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dynaclr.config import UserError
from dynaclr.data import NormalizationConfig, PatchConfig, at_common_size
from dynaclr.inference.embedding_writer import embed_into
from dynaclr.inference.observations import Cells
from dynaclr.io.artifacts import atomic_path, verified_digest, write_digest
from dynaclr.models import IntensityFeatures, PixelComponents
from dynaclr.transforms import Normalize


def fit_pixels(
    patches: PatchConfig,
    normalization: NormalizationConfig,
    experiment_dirs: Sequence[Path],
    out: Path,
    n_components: int = 32,
    max_patches: int = 2000,
    seed: int = 0,
) -> None:
    """Fit principal components of pixels on the patches of training experiments.

    Parameters
    ----------
    patches, normalization : PatchConfig, NormalizationConfig
        Those of the model that the baseline is held against.
    experiment_dirs : sequence of Path
        Folders of the training experiments' results; each gives as many patches.
    out : Path
        ``.npz`` file to write: ``mean`` and ``components``; its digest beside it.
    n_components : int
    max_patches : int
        Of all experiments together.
    seed : int
        Chooses the patches.

    Raises
    ------
    UserError
        As for `embed_baselines`, and when no patch can be read.
    """
    rng, parts, normalize = np.random.default_rng(seed), [], Normalize()
    for directory in experiment_dirs:
        cells = Cells(directory, patches, normalization)
        chosen = rng.permutation(len(cells))[: max(1, max_patches // len(experiment_dirs))]
        batch = cells.read(np.sort(chosen))
        x_BCZYX = normalize(at_common_size(batch), batch["center"], batch["spread"])
        parts.append(x_BCZYX[~batch["lost"]])
    known = torch.cat(parts)
    if not len(known):
        names = ", ".join(Path(directory).name for directory in experiment_dirs)
        raise UserError(f"{names}: no chosen patch can be read. Copy the plates again.")
    fitted = PixelComponents.fit(known, n_components, seed)
    with atomic_path(out) as temporary:
        np.savez(temporary, mean=fitted.mean.numpy(), components=fitted.components.numpy())
    write_digest(out)


def embed_baselines(
    patches: PatchConfig,
    normalization: NormalizationConfig,
    experiment_dir: Path,
    out: Path,
    pixels: Path | None = None,
    pixels_out: Path | None = None,
    batch_size: int = 256,
) -> None:
    """Write baselines without a network in the form of embeddings.

    They are intensity statistics of every observation's patch (`dynaclr.models.IntensityFeatures`)
    and, where they were fitted, principal components of its pixels. The patches are read once.

    Parameters
    ----------
    patches, normalization : PatchConfig, NormalizationConfig
        Those of the model that they are held against.
    experiment_dir, out, batch_size
        As in `dynaclr.training.embed`; `out` gets the intensity statistics.
    pixels, pixels_out : Path, optional
        Components that `fit_pixels` wrote, and the store for the coordinates on them.

    Raises
    ------
    UserError
        When index, statistics or components are missing, or are not those that were written.
    """
    cells = Cells(experiment_dir, patches, normalization)
    encoders: dict[Path, nn.Module] = {out: IntensityFeatures()}
    facts: dict[Path, dict[str, Any]] = {out: {"variant": "intensity", "checkpoint": None}}
    if pixels is not None and pixels_out is not None:
        facts[pixels_out] = {"variant": "pixels", "checkpoint": verified_digest(pixels)}
        with np.load(pixels, allow_pickle=False) as stored:
            arrays = (torch.from_numpy(stored[name]) for name in ("mean", "components"))
            encoders[pixels_out] = PixelComponents(*arrays)
    config = {"config": {"patches": asdict(patches), "normalization": asdict(normalization)}}
    facts = {path: own | config for path, own in facts.items()}
    embed_into(encoders, facts, cells, batch_size, torch.device("cpu"))
