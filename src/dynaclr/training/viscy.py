"""Conversion of checkpoints of the VisCy project."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dynaclr.config import UserError
from dynaclr.io.artifacts import reading, write_digest
from dynaclr.training.checkpoints import read_checkpoint, write_checkpoint

log = logging.getLogger(__name__)

# Beginnings of the names of what hyperparameters of VisCy hold beside plain values: paths, numbers
# of NumPy, losses, and what these are made of.
_KNOWN = (
    "builtins.getattr",
    "collections.",
    "dynaclr.",
    "jsonargparse.",
    "lightning.",
    "numpy.",
    "pathlib.",
    "pytorch_metric_learning.",
    "torch.nn.",
    "viscy",
)
# Names in the projection of this package: two linear layers, each with a batch norm.
_PROJECTION = {"0.weight", "0.bias", "3.weight", "3.bias"} | {
    f"{layer}.{name}"
    for layer in (1, 4)
    for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
}


class _Placeholder:
    """Stands for an object of which nothing is used; no code of its class runs."""

    def __new__(cls, *arguments: Any) -> _Placeholder:
        return object.__new__(cls)

    def __init__(self, *arguments: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def convert_viscy(checkpoint: Path, out: Path) -> dict[str, Any]:
    """Make a checkpoint of VisCy's ``ContrastiveModule`` one that `encoder_checkpoint` takes.

    Parameters
    ----------
    checkpoint : Path
        Lightning checkpoint whose encoder is a ``ContrastiveEncoder`` or a ``ResNet3dEncoder``.
    out : Path
        File to write: the weights, and nothing else; its digest beside it. A projection that is no
        MLP of two layers with batch norms is left out: then one with new weights is trained.

    Returns
    -------
    dict
        ``class_path`` of the encoder, and of its ``init_args`` those that weights tell.

    Raises
    ------
    UserError
        When the file cannot be read, holds objects that VisCy's do not hold, or no such encoder.
    """
    content = _read(checkpoint)
    stored = content.get("state_dict", {})
    weights = {
        name.removeprefix("model.").replace("_orig_mod.", "").replace(".backbone.", "."): value
        for name, value in stored.items()
        if name.startswith("model.")
    }
    encoder = _encoder_of(weights, checkpoint)
    start = "projection."
    projection = {name.removeprefix(start) for name in weights if name.startswith(start)}
    if projection != _PROJECTION:
        log.warning("%s: its projection is of another kind, and is left out", checkpoint)
        weights = {name: value for name, value in weights.items() if not name.startswith(start)}
    else:
        embedding_dim = len(weights["projection.0.weight"])
        projection_dim = len(weights["projection.3.weight"])
        encoder["init_args"] |= {"embedding_dim": embedding_dim, "projection_dim": projection_dim}
    kept = {"state_dict": {f"encoder.{name}": value for name, value in weights.items()}}
    counts = {name: content[name] for name in ("epoch", "global_step") if name in content}
    write_checkpoint(kept | counts, out)
    write_digest(out)
    return encoder


def _read(path: Path) -> dict[str, Any]:
    """Content of a checkpoint; objects that are no plain values are placeholders."""
    with reading(path):
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    others = sorted(name for name in names if not name.startswith(_KNOWN))
    if others:
        raise UserError(
            f"{path}: holds objects that no checkpoint of VisCy does: {', '.join(others)}. "
            "Nothing was loaded. Save its weights alone, with torch.save of its state_dict."
        )
    with torch.serialization.safe_globals([(_Placeholder, name) for name in names]):
        return read_checkpoint(path)


def _encoder_of(weights: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """Class of the encoder that has these weights, and arguments that they tell."""
    if "stem.conv.weight" in weights:
        kind, (_, channels, *kernel) = "ContrastiveEncoder", weights["stem.conv.weight"].shape
        arguments = {"in_channels": channels, "stem_kernel_size": kernel}
    elif weights.get("encoder.conv1.weight", torch.empty(0)).ndim == 5:
        kind = "ResNet3dEncoder"
        arguments = {"in_channels": weights["encoder.conv1.weight"].shape[1]}
    else:
        raise UserError(
            f"{path}: holds no ContrastiveEncoder or ResNet3dEncoder of VisCy's ContrastiveModule. "
            "Other networks start from it as it is, by `encoder_checkpoint`."
        )
    return {"class_path": f"dynaclr.models.{kind}", "init_args": arguments}
