"""Embedding of all cells of one experiment."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Literal

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

Variant = Literal["trained", "untrained", "intensity"]


def embed(
    model_dir: Path,
    experiment_dir: Path,
    out: Path,
    variant: Variant = "trained",
    batch_size: int = 512,
    threads: int = 2,
    device: str = "auto",
) -> None:
    """Embed every observation of an experiment and write an AnnData store.

    Parameters
    ----------
    model_dir : Path
        Folder of a trained model (``config.yaml``, ``best.ckpt``).
    experiment_dir : Path
        Folder of an experiment's results (``cells.parquet``, ``summary.json``, statistics).
    out : Path
        AnnData zarr store to write: ``X`` features float32, ``obsm["X_projections"]``, ``obs``
        the index columns, ``uns["dynaclr"]`` the provenance as JSON text.
    variant : {'trained', 'untrained', 'intensity'}
        The trained encoder; the same encoder with the weights it started from; or intensity
        statistics of the same normalized patches. The latter two are what a trained one must beat.
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
    encoder, weights = _encoder(cli, model_dir, variant)
    index = MultiExperimentIndex.from_parquet([experiment_dir / "cells.parquet"])
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
    features, projections = _run(encoder, reader, len(index), batch_size, torch.device(device))
    provenance = {
        "variant": variant,
        "checkpoint": weights,
        "index": read_seal(experiment_dir / "cells.parquet"),
        "statistics": read_seal(experiment_dir / "statistics.parquet"),
        "config": yaml.safe_load(cli.resolved()),
    } | environment()
    _write(index, features, projections, provenance, out)
    log.info("%s: %d of %d observations embedded", entry.name, len(features), len(index))


def _build_from(model_dir: Path) -> TrainingCLI:
    path = model_dir / "config.yaml"
    if not path.is_file():
        raise UserError(f"{path}: no such file. Train the model first.")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    # Loggers and callbacks belong to the training; embedding wants none of them.
    content["trainer"] = {"logger": False, "enable_checkpointing": False, "accelerator": "cpu"}
    return build(content, str(path), enable_model_summary=False)


def _encoder(cli: TrainingCLI, model_dir: Path, variant: Variant) -> tuple[nn.Module, str | None]:
    """Encoder of a variant in evaluation mode, and the digest of its checkpoint, if it has one."""
    if variant == "intensity":
        return IntensityFeatures().eval(), None
    if variant == "untrained":
        return cli.model.encoder.eval(), None
    path = model_dir / "best.ckpt"
    digest = digest_path(path)
    if digest != read_seal(path):
        raise UserError(
            f"{path}: was changed after it was trained. Delete it to train again, or restore it."
        )
    weights = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    cli.model.load_state_dict(weights)
    return cli.model.encoder.eval(), digest


@torch.inference_mode()
def _run(
    encoder: nn.Module, reader: CellReader, n_rows: int, batch_size: int, device: torch.device
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Features and projections of all rows, in their order."""
    encoder.to(device)
    normalize = Normalize()
    collected: list[tuple[NDArray, NDArray]] = []
    for start in range(0, n_rows, batch_size):
        batch = reader.read(np.arange(start, min(start + batch_size, n_rows)))
        moved = {name: value.to(device) for name, value in batch.items()}
        x_BCZYX = normalize(moved["patch"], moved["center"], moved["spread"])
        collected.append(tuple(part.float().cpu().numpy() for part in encoder(x_BCZYX)))
        if start // batch_size % 20 == 0:
            log.info("%d of %d observations", start + len(x_BCZYX), n_rows)
    return tuple(np.concatenate(parts) for parts in zip(*collected, strict=True))


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
