"""Backbones of timm, with weights from a file or from the user's cache."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any


def create_backbone(name: str, pretrained: bool | Path = False, **options: Any) -> Any:
    """Build a model of timm without its classifier.

    Parameters
    ----------
    name : str
        Of a timm model (``timm.list_models()``), with a tag (``name.tag``) where its weights have
        several.
    pretrained : bool or Path
        Published weights, from timm's cache or from the network, or those of a file: a state dict
        (``.safetensors``, or what ``torch.load`` reads with ``weights_only``) of this model with
        or without its classifier. timm adapts the first layer to the number of channels, and
        position embeddings to the size of the image.
    **options
        Of ``timm.create_model``; those with the value None are left out.

    Returns
    -------
    nn.Module

    Raises
    ------
    ValueError
        If there is no such model, or no such weights.
    """
    import timm  # slow to import, and not needed by the other encoders

    if not timm.is_model(name):
        near = ", ".join(get_close_matches(name, timm.list_models())) or "none"
        raise ValueError(f"timm has no model {name!r}; those of similar names: {near}")
    if isinstance(pretrained, bool):
        try:
            return timm.create_model(name, pretrained, num_classes=0, **options)
        except (OSError, RuntimeError) as error:
            if not pretrained:
                raise
            raise ValueError(_no_weights(name, error)) from error
    file = Path(pretrained)
    if not file.is_file():
        raise ValueError(f"pretrained: {file}: no such file. Give a file of weights of {name!r}.")
    return _with_weights_of(file, name, options)


def _with_weights_of(file: Path, name: str, options: dict[str, Any]) -> Any:
    import timm
    from timm.models import load_state_dict

    config: Any = timm.get_pretrained_cfg(name)
    classifiers = config.classifier if isinstance(config.classifier, tuple) else [config.classifier]
    try:
        weights = load_state_dict(str(file))
        # timm ignores absent weights where the number of classes differs from the one declared:
        # the classifier is therefore built as it is stored, and taken off afterwards.
        stored = [weights[f"{c}.weight"] for c in classifiers if f"{c}.weight" in weights]
        n_classes = len(stored[0]) if stored else 0
        declared = {"state_dict": weights, "num_classes": n_classes, "label_offset": 0}
        model: Any = timm.create_model(
            name, True, pretrained_cfg_overlay=declared, num_classes=n_classes, **options
        )
    except Exception as error:  # unpickling, safetensors and torch raise errors of many kinds
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"pretrained: {file}: holds no weights of {name!r}: {reason}") from error
    if n_classes:
        model.reset_classifier(0)
    return model


def _no_weights(name: str, error: Exception) -> str:
    import timm

    source = timm.get_pretrained_cfg(name)
    where = source and (source.hf_hub_id or source.url)
    if not where:
        return f"timm publishes no weights of {name!r}; set pretrained to false, or to a file"
    reason = " ".join(str(error).split())[:120]
    return (
        f"the weights of {name!r} are neither in the cache nor can they be downloaded ({reason}). "
        f"Run once with a network, or copy the file of weights of {where} from the "
        "Hugging Face hub here and name it: `pretrained: <file>`"
    )
