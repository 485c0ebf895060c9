"""Embedding of all observations of one experiment by trained encoders."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from dynaclr.config import UserError
from dynaclr.config.grammar import parse_text
from dynaclr.data import MultiExperimentDataModule
from dynaclr.inference.embedding_writer import EmbeddingOutput, write_embeddings
from dynaclr.inference.observations import Observations
from dynaclr.io.artifacts import read_digest, reading
from dynaclr.training.builder import TrainingCLI, build
from dynaclr.training.checkpoints import read_checkpoint
from dynaclr.training.hardware import torch_device


def embed(
    model_dirs: Sequence[Path],
    experiment_dir: Path,
    out_dir: Path,
    untrained: bool = False,
    batch_size: int = 256,
    threads: int = 2,
    device: str = "auto",
) -> None:
    """Embed every observation of an experiment by each seed of a model, reading it once for all.

    Parameters
    ----------
    model_dirs : sequence of Path
        Folders of trainings that crop the same patches (``config.yaml``, ``best.ckpt``): the seeds
        of a model.
    experiment_dir : Path
        Folder of an experiment's results (``cells.parquet``, ``summary.json``, statistics).
    out_dir : Path
        Gets an AnnData zarr store for each training, ``<its folder's name>/<experiment>.zarr``:
        ``X`` features float32, ``obsm["X_projections"]``, ``obs`` the index columns,
        ``uns["dynaclr"]`` the provenance as JSON text.
    untrained : bool
        Write a second store of each, ``<its folder's name>-untrained/<experiment>.zarr``, by the
        same encoder with the weights that its training started from: what training must add to.
    batch_size : int
        Most patches of a batch; does not change the result beyond rounding.
    threads : int
        CPU threads of torch.
    device : str
        Torch device; ``auto`` takes a GPU when there is one.

    Raises
    ------
    UserError
        When checkpoint, index or statistics are missing, or are not those that were written, when
        the trainings crop their patches in different ways or their folders have the same name, or
        when torch cannot use the GPU that this job was given.
    """
    _check_names(model_dirs)
    torch.set_num_threads(threads)
    outputs: list[EmbeddingOutput] = []
    data: dict[Path, MultiExperimentDataModule] = {}
    for model_dir in model_dirs:
        cli = _build_from(model_dir)
        data[model_dir] = cli.datamodule
        config = parse_text(cli.resolved())
        store = f"{experiment_dir.name}.zarr"
        encoder, checkpoint = _trained(cli, model_dir), read_digest(model_dir / "best.ckpt")
        facts = {"variant": "trained", "checkpoint": checkpoint, "config": config}
        outputs.append(EmbeddingOutput(out_dir / model_dir.name / store, encoder, facts))
        if untrained:
            facts = {"variant": "untrained", "checkpoint": None, "config": config}
            path = out_dir / f"{model_dir.name}-untrained" / store
            outputs.append(EmbeddingOutput(path, cli.model.encoder, facts))
    _check_same_patches(data)
    first = next(iter(data.values()))
    observations = Observations(experiment_dir, first.patches, first.normalization)
    write_embeddings(outputs, observations, batch_size, torch_device(device))


def _check_names(model_dirs: Sequence[Path]) -> None:
    """Stores are named after the folders of trainings: these must differ."""
    names = [model_dir.name for model_dir in model_dirs]
    if not names or len({*names, *(f"{name}-untrained" for name in names)}) < 2 * len(names):
        given = ", ".join(map(str, model_dirs)) or "none"
        raise UserError(
            f"models: {given}. Name one training, or several whose folders have different names; "
            "embed with others in a call of their own."
        )


def _check_same_patches(data: dict[Path, MultiExperimentDataModule]) -> None:
    """Refuse trainings that crop or normalize patches in different ways."""
    (first, expected), *others = data.items()
    for model_dir, other in others:
        if (other.patches, other.normalization) != (expected.patches, expected.normalization):
            raise UserError(
                f"{model_dir}: crops or normalizes patches otherwise than {first}. Embed with each "
                "in a call of its own."
            )


def _build_from(model_dir: Path) -> TrainingCLI:
    path = model_dir / "config.yaml"
    if not path.is_file():
        raise UserError(f"{path}: no such file. Train the model first.")
    with reading(path):
        content = parse_text(path.read_text(encoding="utf-8"))
        # The trainer belongs to the training, which may have run on other hardware.
        content["trainer"] = {"logger": False, "accelerator": "cpu"}
    return build(content, str(path))


def _trained(cli: TrainingCLI, model_dir: Path) -> nn.Module:
    """Encoder with the weights of the epoch that was kept."""
    checkpoint = read_checkpoint(model_dir / "best.ckpt")
    model = copy.deepcopy(cli.model)
    model.load_state_dict(checkpoint["state_dict"])
    return model.encoder
