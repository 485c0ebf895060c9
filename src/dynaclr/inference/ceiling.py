"""A supervised ceiling: what the same encoder reaches when it is trained on a task's labels."""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from dynaclr.config import UserError
from dynaclr.config.grammar import parse_text
from dynaclr.data import MultiExperimentDataModule, at_common_size
from dynaclr.inference.embedding_writer import EmbeddingOutput, write_embeddings
from dynaclr.inference.observations import Observations
from dynaclr.io.artifacts import verified_digest, write_digest
from dynaclr.training.builder import TrainingCLI, build, with_data
from dynaclr.training.checkpoints import read_checkpoint, write_checkpoint
from dynaclr.training.hardware import torch_device
from dynaclr.training.heads import feature_dim_of
from dynaclr.training.schedule import WarmupCosine
from dynaclr.transforms import Normalize

log = logging.getLogger(__name__)

# The budget: patches that are seen, each augmented anew, and how often one is at most.
N_SEEN = 256_000
N_PASSES = 100
# Patches are kept in memory, for each is seen several times; of more, some are drawn.
PATCH_BYTES = 1 << 30
_BLOCK = 256

# Classes of an experiment's observations: names, None where unknown.
LabelsOf = Callable[[pd.DataFrame], NDArray[np.object_]]


@dataclass(frozen=True)
class _Labelled:
    """Labelled patches in memory, n of them.

    Attributes
    ----------
    x_NCZYX : Tensor
        Normalized, of the extraction size.
    present_NC : Tensor
        Whether a channel was imaged.
    codes_N : numpy.ndarray
        Number of the class of each.
    classes : list of str
        K names.
    """

    x_NCZYX: Tensor
    present_NC: Tensor
    codes_N: NDArray[np.int64]
    classes: list[str]


def train_ceiling(
    training: dict[str, Any],
    experiment_dirs: Sequence[Path],
    labels_of: LabelsOf,
    out: Path,
    seed: int = 0,
    threads: int = 2,
    device: str = "auto",
) -> None:
    """Train a model's encoder and a linear head on labels of training experiments.

    The encoder starts as that of the model does, and sees the same patches and augmentations. Every
    class is drawn as often. There is no validation: the budget is fixed and small, and what counts
    are experiments that are held out.

    Parameters
    ----------
    training : dict
        Training configuration of the model: ``model`` and ``data``.
    experiment_dirs : sequence of Path
        Folders of the training experiments' results.
    labels_of : callable
        Classes of the observations of one experiment (names, None where unknown or of no interest),
        given their table.
    out : Path
        Checkpoint to write: the weights of the encoder; its digest beside it.
    seed : int
        Of the encoder's first weights, of augmentation and of the draws.
    threads : int
        CPU threads of torch.
    device : str
        Torch device; ``auto`` takes a GPU when there is one.

    Raises
    ------
    UserError
        When index or statistics are missing, or fewer than two classes are labelled.
    """
    torch.set_num_threads(threads)
    cli = _build(training, seed)
    labelled = _read_labelled(cli, experiment_dirs, labels_of, seed)
    encoder = cli.model.encoder.requires_grad_(True).to(torch_device(device))
    _fit(encoder, labelled, cli, seed)
    write_checkpoint({"state_dict": encoder.cpu().state_dict(), "classes": labelled.classes}, out)
    write_digest(out)


def embed_ceilings(
    training: dict[str, Any],
    checkpoints: Mapping[str, Path],
    experiment_dir: Path,
    out_dir: Path,
    seed: int = 0,
    threads: int = 2,
    device: str = "auto",
    batch_size: int = 256,
) -> None:
    """Embed every observation of an experiment by the ceilings of several tasks, reading it once.

    Parameters
    ----------
    training, seed, threads, device
        As in `train_ceiling`.
    checkpoints : mapping
        Task to what `train_ceiling` wrote.
    experiment_dir, batch_size
        As in `dynaclr.inference.embed`.
    out_dir : Path
        Gets ``ceiling-<task>/<experiment>.zarr`` of each task.

    Raises
    ------
    UserError
        When checkpoint, index or statistics are missing, or are not those that were written.
    """
    torch.set_num_threads(threads)
    cli = _build(training, seed)
    config, outputs = parse_text(cli.resolved()), []
    for task, checkpoint in checkpoints.items():
        encoder = copy.deepcopy(cli.model.encoder)
        encoder.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
        facts = {"variant": "ceiling", "checkpoint": verified_digest(checkpoint), "config": config}
        path = out_dir / f"ceiling-{task}" / f"{experiment_dir.name}.zarr"
        outputs.append(EmbeddingOutput(path, encoder, facts))
    data = cli.datamodule
    observations = Observations(experiment_dir, data.patches, data.normalization)
    write_embeddings(outputs, observations, batch_size, torch_device(device))


def _build(training: dict[str, Any], seed: int) -> TrainingCLI:
    """Encoder, patches and augmentations of a model; its trainer and collection are not used."""
    content = with_data(training, "", "", seed)
    return build(
        content | {"trainer": {"logger": False, "accelerator": "cpu"}}, "training configuration"
    )


def _read_labelled(
    cli: TrainingCLI, experiment_dirs: Sequence[Path], labels_of: LabelsOf, seed: int
) -> _Labelled:
    data = cli.datamodule
    experiments, rows, labels = [], [], []
    for number, directory in enumerate(experiment_dirs):
        given = (directory, data.patches, data.normalization, data.extraction_size)
        experiments.append(Observations(*given))
        of_rows = labels_of(experiments[-1].table().reset_index(drop=True))
        known = np.flatnonzero([label is not None for label in of_rows])
        rows.append(np.stack([np.full(len(known), number), known], axis=1))
        labels.append(of_rows[known].astype(str))
    classes, codes = np.unique(np.concatenate(labels), return_inverse=True)
    if len(classes) < 2:
        found = f"only {str(classes[0])!r} is labelled" if len(classes) else "nothing is labelled"
        raise UserError(
            f"ceiling: in the training experiments {found}. Label observations of two classes, or "
            "set `evaluation.ceiling: false`."
        )
    chosen = _choose(codes, PATCH_BYTES // _patch_bytes(data), seed)
    x_NCZYX, present_NC, readable_N = _read(experiments, np.concatenate(rows)[chosen])
    codes = codes[chosen][readable_N]
    counts = ", ".join(f"{(codes == n).sum()} {name}" for n, name in enumerate(classes))
    log.info("training on %d labelled patches: %s", len(codes), counts)
    return _Labelled(x_NCZYX, present_NC, codes, list(map(str, classes)))


def _patch_bytes(data: MultiExperimentDataModule) -> int:
    """Size of a patch as it is augmented."""
    n_channels = 1 if data.patches.bag_of_channels else len(data.patches.markers)
    n_planes = data.patches.depth if data.patches.projection == "none" else 1
    return 4 * n_channels * n_planes * math.prod(data.extraction_size)


def _choose(codes: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Positions of at most so many rows, ascending: as many of each class, as far as it goes."""
    order = np.random.default_rng(seed).permutation(len(codes))
    rank = pd.Series(codes[order]).groupby(codes[order]).cumcount().to_numpy()
    return np.sort(order[np.argsort(rank, kind="stable")[:most]])


def _read(
    experiments: Sequence[Observations], rows: NDArray[np.int64]
) -> tuple[Tensor, Tensor, NDArray[np.bool_]]:
    """Normalized patches of (experiment, row) that can be read, and which those are."""
    normalize, patches, present, readable = Normalize(), [], [], []
    for number, experiment in enumerate(experiments):
        own = rows[rows[:, 0] == number, 1]
        for start in range(0, len(own), _BLOCK):
            batch = experiment.read(own[start : start + _BLOCK])
            x_BCZYX = normalize(at_common_size(batch), batch["center"], batch["spread"])
            here = ~batch["unreadable"]
            patches.append(x_BCZYX[here])
            present.append(batch["present"][here])
            readable.append(here)
    return torch.cat(patches), torch.cat(present), torch.cat(readable).numpy()


def _fit(encoder: nn.Module, labelled: _Labelled, cli: TrainingCLI, seed: int) -> None:
    device = next(encoder.parameters()).device
    data, module = cli.datamodule, cli.model
    torch.manual_seed(seed)
    head = nn.Linear(feature_dim_of(encoder), len(labelled.classes)).to(device)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(
        parameters, lr=module.learning_rate, weight_decay=module.weight_decay
    )
    n_rows = len(labelled.codes_N)
    size = min(data.batch_size, n_rows)
    n_steps = max(1, min(N_SEEN, N_PASSES * n_rows) // size)
    schedule = WarmupCosine(n_steps // 10, n_steps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    shares = 1 / np.bincount(labelled.codes_N)[labelled.codes_N]
    rng = np.random.default_rng(seed)
    encoder.train()
    for step in range(n_steps):
        rows = rng.choice(n_rows, size, p=shares / shares.sum())
        x_BCZYX = labelled.x_NCZYX[rows].to(device)
        x_BCZYX = data.augment(x_BCZYX, 0, step, 0, labelled.present_NC[rows].to(device))
        features, _ = encoder(x_BCZYX)
        loss = F.cross_entropy(head(features), torch.from_numpy(labelled.codes_N[rows]).to(device))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        scheduler.step()
        if step % 50 == 0:
            log.info("step %d of %d: loss %.3f", step, n_steps, loss.item())
