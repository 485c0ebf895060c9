"""Embedding of all cells of one experiment."""

from __future__ import annotations

import copy
import json
import logging
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import nn

from dynaclr.data import CellReader, read_statistics
from dynaclr.experiments import ExperimentConfig, UserError
from dynaclr.experiments.files import atomic_path, digest_path, read_json, read_seal, seal
from dynaclr.index import MultiExperimentIndex
from dynaclr.models import IntensityFeatures
from dynaclr.training.cli import TrainingCLI, build
from dynaclr.training.provenance import environment
from dynaclr.transforms import Normalize

log = logging.getLogger(__name__)

Embedded = tuple[NDArray[np.float32], NDArray[np.float32]]

VARIANTS = ("trained", "untrained", "intensity")


def embed(
    model_dir: Path,
    experiment_dir: Path,
    out: dict[str, Path],
    batch_size: int = 512,
    threads: int = 2,
    device: str = "auto",
) -> None:
    """Embed every observation of an experiment and write an AnnData store a variant.

    All variants see the same patches, which are read once. ``untrained`` is the encoder with the
    weights that its training started from, ``intensity`` are statistics of the same normalized
    patches: what a trained encoder must beat.

    Parameters
    ----------
    model_dir : Path
        Folder of a trained model (``config.yaml``, ``best.ckpt``).
    experiment_dir : Path
        Folder of an experiment's results (``cells.parquet``, ``summary.json``, statistics).
    out : dict of str to Path
        AnnData zarr store to write for each of some `VARIANTS`: ``X`` features float32,
        ``obsm["X_projections"]``, ``obs`` the index columns, ``uns["dynaclr"]`` the provenance as
        JSON text.
    batch_size : int
        Patches of a batch; does not change the result beyond rounding.
    threads : int
        CPU threads of torch.
    device : str
        Torch device; ``auto`` takes a GPU when there is one.

    Raises
    ------
    UserError
        When the checkpoint or the index is not the one that was written, or files are missing.
    """
    torch.set_num_threads(threads)
    cli = _build_from(model_dir)
    encoders = {variant: _encoder(cli, model_dir, variant) for variant in out}
    index = MultiExperimentIndex.from_parquet([experiment_dir])
    entry = ExperimentConfig.model_validate(read_json(experiment_dir / "summary.json")["entry"])
    data = cli.datamodule
    reader = CellReader(
        index,
        {entry.name: entry},
        read_statistics(experiment_dir.parent, [entry.name]),
        data.patches,
        data.normalization,
        data.cache_mb << 20,
    )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    modules = {variant: encoder for variant, (encoder, _) in encoders.items()}
    embedded = _run(modules, reader, len(index), batch_size, torch.device(device))
    provenance = {
        "index": read_seal(experiment_dir / "cells.parquet"),
        "statistics": read_seal(experiment_dir / "statistics.parquet"),
        "config": yaml.safe_load(cli.resolved()),
    } | environment()
    for variant, path in out.items():
        facts = provenance | {"variant": variant, "checkpoint": encoders[variant][1]}
        _write(index, *embedded[variant], facts, path)
    log.info("%s: all %d observations embedded", entry.name, len(index))


def _build_from(model_dir: Path) -> TrainingCLI:
    path = model_dir / "config.yaml"
    if not path.is_file():
        raise UserError(f"{path}: no such file. Train the model first.")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    # The trainer belongs to the training, which may have run on other hardware.
    content["trainer"] = {"logger": False, "accelerator": "cpu"}
    return build(content, str(path))


def _encoder(cli: TrainingCLI, model_dir: Path, variant: str) -> tuple[nn.Module, str | None]:
    """Encoder of a variant in evaluation mode, and the digest of its checkpoint, if it has one."""
    if variant == "intensity":
        return IntensityFeatures().eval(), None
    encoder = copy.deepcopy(cli.model.encoder).eval()
    if variant == "untrained":
        return encoder, None
    path = model_dir / "best.ckpt"
    digest = digest_path(path)
    if digest != read_seal(path):
        raise UserError(
            f"{path}: was changed after it was trained. Delete it to train again, or restore it."
        )
    weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    prefix = "encoder."
    encoder.load_state_dict(
        {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
    )
    return encoder, digest


@torch.inference_mode()
def _run(
    encoders: dict[str, nn.Module],
    reader: CellReader,
    n_rows: int,
    batch_size: int,
    device: torch.device,
) -> dict[str, Embedded]:
    """Features and projections of all rows, in their order, by every encoder."""
    normalize = Normalize()
    collected: dict[str, list[Embedded]] = {variant: [] for variant in encoders}
    for encoder in encoders.values():
        encoder.to(device)
    for number, start in enumerate(range(0, n_rows, batch_size)):
        batch = reader.read(np.arange(start, min(start + batch_size, n_rows)))
        moved = {name: value.to(device) for name, value in batch.items()}
        x_BCZYX = normalize(moved["patch"], moved["center"], moved["spread"])
        for variant, encoder in encoders.items():
            features, projections = encoder(x_BCZYX)
            collected[variant].append(
                (features.float().cpu().numpy(), projections.float().cpu().numpy())
            )
        if number % 20 == 0:
            log.info("%d of %d observations", start + len(x_BCZYX), n_rows)
    return {
        variant: tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
        for variant, batches in collected.items()
    }


def _write(
    index: MultiExperimentIndex,
    features: NDArray[np.float32],
    projections: NDArray[np.float32],
    provenance: dict[str, Any],
    out: Path,
) -> None:
    obs = index.tracks.reset_index(drop=True)
    obs.index = (
        obs["fov"].astype(str) + "/" + obs["track_id"].astype(str) + "/" + obs["t"].astype(str)
    )
    store = ad.AnnData(X=features, obs=obs)
    store.obsm["X_projections"] = projections
    store.uns["dynaclr"] = json.dumps(provenance, sort_keys=True)
    with atomic_path(out) as temporary:
        store.write_zarr(temporary)
    seal(out)
