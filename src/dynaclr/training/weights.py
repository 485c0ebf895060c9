"""Loading of the weights that an encoder starts from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from dynaclr.io.artifacts import read_json
from dynaclr.training.checkpoints import read_checkpoint

# As modules of this package store an encoder, as a channel group stores its own, as VisCy does,
# and as a bare encoder does; and as the first two store the network of a `FeatureEncoder`.
_PREFIXES = (
    "encoder.",
    "encoder.encoder.",
    "model.",
    "",
    "encoder.model.",
    "encoder.encoder.model.",
)


def summarize_checkpoint(path: str | Path) -> dict[str, str]:
    """Summary of a checkpoint, for `dynaclr info`.

    Parameters
    ----------
    path : str or Path
        ``best.ckpt`` of a model, another Lightning checkpoint, or a saved state dict.

    Returns
    -------
    dict of str to str
        Text by name.

    Raises
    ------
    UserError
        When it cannot be read, or holds anything but weights and plain values.
    """
    path = Path(path)
    content = read_checkpoint(path)
    weights = content.get("state_dict", content)
    tensors = {name: value for name, value in weights.items() if torch.is_tensor(value)}
    parts = dict.fromkeys(name.split(".")[0] for name in tensors)
    n_weights = sum(value.numel() for value in tensors.values())
    lines = {
        "weights": f"{n_weights:,} in {len(tensors)} tensors",
        "parts": ", ".join(parts),
        "trained": f"epoch {content['epoch']}, step {content['global_step']:,}"
        if "global_step" in content
        else "",
    }
    provenance = path.with_name("provenance.json")
    if provenance.is_file():
        facts = read_json(provenance)
        wanted = ("checkpoint", "index", "git_commit", "seed", "best_loss")
        lines |= {name.replace("_", " "): str(facts[name]) for name in wanted if name in facts}
    return {name: text for name, text in lines.items() if text}


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
    content = read_checkpoint(checkpoint)
    stored = content.get("state_dict", content)
    names = encoder.state_dict().keys()
    body = [name for name in names if not name.startswith("projection.")]
    # What has no projection, as an autoencoder, leaves that of the encoder as it is.
    for prefix, wanted in [(prefix, wanted) for wanted in (names, body) for prefix in _PREFIXES]:
        if wanted and all(prefix + name in stored for name in wanted):
            given = {name: stored[prefix + name] for name in wanted}
            try:
                encoder.load_state_dict(encoder.state_dict() | given)
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise ValueError(f"{checkpoint}: holds another encoder. {reason}") from None
            return
    raise ValueError(
        f"{checkpoint}: holds no encoder with weights like {next(iter(names), 'none')!r}. "
        "Give the encoder the class and arguments that it was trained with."
    )
