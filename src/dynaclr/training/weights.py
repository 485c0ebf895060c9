"""Weights that an encoder starts from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

# As modules of this package store an encoder, as a channel group stores its own, as VisCy does,
# and as a bare encoder does.
_PREFIXES = ("encoder.", "encoder.encoder.", "model.", "")


def load_encoder(encoder: nn.Module, checkpoint: Path) -> None:
    """Give an encoder the weights of an earlier training.

    Parameters
    ----------
    encoder : nn.Module
        Gets the weights in place.
    checkpoint : Path
        ``best.ckpt`` of a model, another Lightning checkpoint, or a saved state dict.

    Raises
    ------
    ValueError
        When there is no such file, or it holds no encoder with these weights.
    """
    if not Path(checkpoint).is_file():
        raise ValueError(f"{checkpoint}: no such file. Train the model first.")
    content = torch.load(checkpoint, map_location="cpu", weights_only=True)
    stored = content.get("state_dict", content)
    names = encoder.state_dict().keys()
    for prefix in _PREFIXES:
        if all(prefix + name in stored for name in names):
            try:
                encoder.load_state_dict({name: stored[prefix + name] for name in names})
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise ValueError(f"{checkpoint}: holds another encoder. {reason}") from None
            return
    raise ValueError(
        f"{checkpoint}: holds no encoder with weights like {next(iter(names), 'none')!r}. "
        "Give the encoder the class and arguments that it was trained with."
    )
