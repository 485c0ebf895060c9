"""Baselines that a trained encoder must beat: features made by hand, and components of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dynaclr.config import UserError
from dynaclr.data import NormalizationConfig, PatchConfig, at_common_size
from dynaclr.inference.embedding_writer import EmbeddingOutput, write_embeddings
from dynaclr.inference.observations import Observations
from dynaclr.io.artifacts import atomic_path, reading, verified_digest, write_digest
from dynaclr.models import IntensityFeatures, PixelComponents, TextureFeatures
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
        Those of the model that the baseline is compared with.
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
        observations = Observations(directory, patches, normalization)
        chosen = rng.permutation(len(observations))[: max(1, max_patches // len(experiment_dirs))]
        batch = observations.read(np.sort(chosen))
        x_BCZYX = normalize(at_common_size(batch), batch["center"], batch["spread"])
        parts.append(x_BCZYX[~batch["unreadable"]])
    readable = torch.cat(parts)
    if not len(readable):
        names = ", ".join(Path(directory).name for directory in experiment_dirs)
        raise UserError(f"{names}: no chosen patch can be read. Copy the plates again.")
    fitted = PixelComponents.fit(readable, n_components, seed)
    with atomic_path(out) as temporary:
        np.savez(temporary, mean=fitted.mean.numpy(), components=fitted.components.numpy())
    write_digest(out)


def embed_baselines(
    patches: PatchConfig,
    normalization: NormalizationConfig,
    experiment_dir: Path,
    out_dir: Path,
    components: Path | None = None,
    batch_size: int = 256,
) -> None:
    """Write baselines without a network in the form of embeddings.

    They are intensity statistics of every observation's patch (`dynaclr.models.IntensityFeatures`),
    its texture and shape (`dynaclr.models.TextureFeatures`) and, where they were fitted, principal
    components of its pixels. The patches are read once.

    Parameters
    ----------
    patches, normalization : PatchConfig, NormalizationConfig
        Those of the model that they are compared with.
    experiment_dir, batch_size
        As in `embed`.
    out_dir : Path
        Gets ``intensity/<experiment>.zarr``, ``texture/<experiment>.zarr`` and, with components,
        ``pixels/<experiment>.zarr``.
    components : Path, optional
        What `fit_pixels` wrote.

    Raises
    ------
    UserError
        When index, statistics or components are missing, or are not those that were written.
    """
    encoders: dict[str, tuple[Any, str | None]] = {
        "intensity": (IntensityFeatures(), None),
        "texture": (TextureFeatures(), None),
    }
    if components is not None:
        digest = verified_digest(components)
        with reading(components), np.load(components, allow_pickle=False) as file:
            arrays = (torch.from_numpy(file[name]) for name in ("mean", "components"))
            encoders["pixels"] = (PixelComponents(*arrays), digest)
    facts = {"config": {"patches": asdict(patches), "normalization": asdict(normalization)}}
    markers = () if patches.bag_of_channels else patches.markers
    outputs = [
        EmbeddingOutput(
            out_dir / variant / f"{experiment_dir.name}.zarr",
            encoder,
            facts | {"variant": variant, "checkpoint": digest},
            encoder.feature_names(markers),
        )
        for variant, (encoder, digest) in encoders.items()
    ]
    observations = Observations(experiment_dir, patches, normalization)
    write_embeddings(outputs, observations, batch_size, torch.device("cpu"))
