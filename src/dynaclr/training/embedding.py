"""Embedding of all cells of one experiment."""

from __future__ import annotations

import copy
import json
import logging
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import torch
import yaml
from numpy.typing import NDArray
from torch import nn

from dynaclr.data import CellReader, NormalizationConfig, PatchConfig, read_statistics
from dynaclr.experiments import ExperimentConfig, UserError
from dynaclr.experiments.files import atomic_path, read_json, read_seal, seal
from dynaclr.experiments.fingerprint import verified_digest
from dynaclr.index import MultiExperimentIndex
from dynaclr.models import IntensityFeatures
from dynaclr.training.cli import TrainingCLI, build
from dynaclr.transforms import Normalize

log = logging.getLogger(__name__)

Matrices = tuple[NDArray[np.float32], NDArray[np.float32]]


def embed(
    model_dir: Path,
    experiment_dir: Path,
    out: Path,
    untrained_out: Path | None = None,
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
    untrained_out : Path, optional
        A second store, by the same encoder with the weights that its training started from: what
        training must add to. The patches are read once for both.
    batch_size : int
        Patches of a batch; does not change the result beyond rounding.
    threads : int
        CPU threads of torch.
    device : str
        Torch device; ``auto`` takes a GPU when there is one.

    Raises
    ------
    UserError
        When checkpoint, index or statistics are missing, or are not those that were written.
    """
    torch.set_num_threads(threads)
    cli = _build_from(model_dir)
    data = cli.datamodule
    encoders = {out: _trained(cli, model_dir)}
    if untrained_out is not None:
        encoders[untrained_out] = cli.model.encoder
    facts = {
        out: {"variant": "trained", "checkpoint": read_seal(model_dir / "best.ckpt")},
        untrained_out: {"variant": "untrained", "checkpoint": None},
    }
    config = {"config": yaml.safe_load(cli.resolved())}
    cells = _Cells(experiment_dir, data.patches, data.normalization, data.cache_mb << 20)
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    embedded = _run(encoders, cells, batch_size, torch.device(device))
    for path, matrices in embedded.items():
        _write(cells, matrices, facts[path] | config, path)


def embed_intensity(
    patches: PatchConfig,
    normalization: NormalizationConfig,
    experiment_dir: Path,
    out: Path,
    batch_size: int = 512,
) -> None:
    """Write intensity statistics of every observation's patch in the form of an embedding.

    It is the baseline without learning; see `dynaclr.models.IntensityFeatures`.

    Parameters
    ----------
    patches, normalization : PatchConfig, NormalizationConfig
        Those of the model that it is held against.
    experiment_dir, out, batch_size
        As in `embed`.

    Raises
    ------
    UserError
        When index or statistics are missing, or are not those that were written.
    """
    cells = _Cells(experiment_dir, patches, normalization, 256 << 20)
    (matrices,) = _run({out: IntensityFeatures()}, cells, batch_size, torch.device("cpu")).values()
    config = {"patches": asdict(patches), "normalization": asdict(normalization)}
    _write(cells, matrices, {"variant": "intensity", "checkpoint": None, "config": config}, out)


class _Cells:
    """An experiment's observations, their patches, and the digests that say which ones."""

    def __init__(
        self,
        experiment_dir: Path,
        patches: PatchConfig,
        normalization: NormalizationConfig,
        cache_bytes: int,
    ) -> None:
        self.digests = {
            name: verified_digest(experiment_dir / f"{name}.parquet")
            for name in ("cells", "statistics")
        }
        self.index = MultiExperimentIndex.from_parquet([experiment_dir])
        entry = ExperimentConfig.model_validate(read_json(experiment_dir / "summary.json")["entry"])
        self.name = entry.name
        statistics = read_statistics(experiment_dir.parent, [entry.name])
        self.reader = CellReader(
            self.index, {entry.name: entry}, statistics, patches, normalization, cache_bytes
        )


def _build_from(model_dir: Path) -> TrainingCLI:
    path = model_dir / "config.yaml"
    if not path.is_file():
        raise UserError(f"{path}: no such file. Train the model first.")
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    # The trainer belongs to the training, which may have run on other hardware.
    content["trainer"] = {"logger": False, "accelerator": "cpu"}
    return build(content, str(path))


def _trained(cli: TrainingCLI, model_dir: Path) -> nn.Module:
    """Encoder with the weights of the epoch that was kept."""
    verified_digest(model_dir / "best.ckpt")
    whole = torch.load(model_dir / "best.ckpt", map_location="cpu", weights_only=True)
    model = copy.deepcopy(cli.model)
    model.load_state_dict(whole["state_dict"])
    return model.encoder


@torch.inference_mode()
def _run(
    encoders: dict[Path, nn.Module], cells: _Cells, batch_size: int, device: torch.device
) -> dict[Path, Matrices]:
    """Features and projections of all rows, in their order, by every encoder."""
    normalize = Normalize()
    collected: dict[Path, list[Matrices]] = {path: [] for path in encoders}
    for encoder in encoders.values():
        encoder.eval().to(device)
    n_rows = len(cells.index)
    for number, start in enumerate(range(0, n_rows, batch_size)):
        batch = cells.reader.read(np.arange(start, min(start + batch_size, n_rows)))
        moved = {name: value.to(device) for name, value in batch.items()}
        x_BCZYX = normalize(moved["patch"], moved["center"], moved["spread"])
        for path, encoder in encoders.items():
            features, projections = encoder(x_BCZYX)
            collected[path].append(
                (features.float().cpu().numpy(), projections.float().cpu().numpy())
            )
        if number % 20 == 0:
            log.info("%s: %d of %d observations", cells.name, start + len(x_BCZYX), n_rows)
    return {
        path: tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
        for path, batches in collected.items()
    }


def _write(cells: _Cells, matrices: Matrices, facts: dict[str, Any], out: Path) -> None:
    obs = cells.index.tracks.reset_index(drop=True)
    obs.index = (
        obs["fov"].astype(str) + "/" + obs["track_id"].astype(str) + "/" + obs["t"].astype(str)
    )
    store = ad.AnnData(X=matrices[0], obs=obs)
    store.obsm["X_projections"] = matrices[1]
    # What ran where and when stands with the model: a store made again has the same bytes.
    provenance = facts | cells.digests | {"dynaclr": version("dynaclr")}
    store.uns["dynaclr"] = json.dumps(provenance, sort_keys=True)
    with atomic_path(out) as temporary:
        store.write_zarr(temporary)
    seal(out)
    log.info("%s: all %d observations written to %s", cells.name, len(obs), out)
