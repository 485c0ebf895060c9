"""Prediction of markers from others, as another way to an embedding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure

from dynaclr.config import UserError
from dynaclr.training.autoencoder import ReconstructingModule
from dynaclr.training.multimodal import ChannelGroup, channel_indices

# Weights of the scales, fine to coarse, of Wang et al. 2003.
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
# Side of the window that structure is compared in, in pixels.
_WINDOW = 11


class L1AndStructure(nn.Module):
    """Absolute difference, mixed with what is missing of structural similarity.

    The mixture of Zhao et al. 2017 (*Loss functions for image restoration with neural networks*)
    with the multi-scale similarity of Wang et al. 2003, plane by plane. Small planes have fewer of
    its five scales.

    Parameters
    ----------
    structure : float
        Weight of the dissimilarity, from 0 to 1; the absolute difference has the rest.
    data_range : float
        Range of pixels in units of the normalized patches; bounds what counts as no contrast.

    Raises
    ------
    ValueError
        If a number is outside of its range.
    """

    def __init__(self, structure: float = 0.5, data_range: float = 6.0) -> None:
        super().__init__()
        if not 0 <= structure <= 1 or data_range <= 0:
            raise ValueError(
                f"structure is {structure} and data_range {data_range}; the first must be from 0 "
                "to 1, the second positive"
            )
        self.structure = structure
        self.data_range = data_range

    def forward(self, made: Tensor, wanted: Tensor) -> Tensor:
        """Loss, a scalar, of stacks (B, C, Z, Y, X), Y and X 11 pixels or more."""
        with torch.autocast(made.device.type, enabled=False):
            made, wanted = made.float(), wanted.float()
            loss = (1 - self.structure) * (made - wanted).abs().mean()
            if self.structure == 0:
                return loss
            similarity: Any = multiscale_structural_similarity_index_measure(
                made.transpose(1, 2).flatten(0, 1),
                wanted.transpose(1, 2).flatten(0, 1),
                kernel_size=_WINDOW,
                data_range=self.data_range,
                betas=_scales_of(min(made.shape[-2:])),
                normalize="relu",
            )
            return loss + self.structure * (1 - similarity)


def _scales_of(side: int) -> tuple[float, ...]:
    """Weights of those scales at which planes of this side, in pixels, are larger than a window."""
    n = 1
    while n < len(_SCALES) and side // max(n**2, 2**n) >= _WINDOW:
        n += 1
    return tuple(weight / sum(_SCALES[:n]) for weight in _SCALES[:n])


class TranslationModule(ReconstructingModule):
    """Predicts markers from others, such as a reporter from phase; its bottleneck embeds a cell.

    The network sees the source markers alone. Patches in which a source or a target marker was not
    imaged are left out. Where the network predicts fewer planes than a patch has, these are the
    middle ones.

    Parameters
    ----------
    network : nn.Module
        From stacks to stacks: `UNeXt2`, `Unet2d`, `Unet25d`, or one with the same methods.
    source, target : list of int or str
        Channels that are seen, and predicted, by index in the patch or by marker.
    markers : list of str
        Markers of a patch's channels; in a configuration always those of `data.patches.markers`.
    loss : nn.Module
        Called with what is predicted and what is there; default `L1AndStructure`.
    learning_rate, weight_decay, warmup_fraction, compile_encoder, encoder_checkpoint
        As in `ReconstructingModule`.

    Raises
    ------
    ValueError
        When the channels do not fit the network or the markers.
    """

    encoder: ChannelGroup

    def __init__(
        self,
        network: nn.Module,
        source: list[int | str],
        target: list[int | str],
        markers: list[str] | None = None,
        loss: nn.Module | None = None,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_fraction: float = 0.1,
        compile_encoder: bool = False,
        encoder_checkpoint: Path | None = None,
    ) -> None:
        super().__init__(
            network,
            learning_rate,
            weight_decay,
            warmup_fraction,
            compile_encoder,
            encoder_checkpoint,
        )
        self.encoder = ChannelGroup(self.encoder, channel_indices(source, markers))
        self.target = channel_indices(target, markers)
        if markers is not None and max(self.target, default=-1) >= len(markers):
            raise ValueError(f"target is {target}, but patches have {len(markers)} channels")
        self.loss = loss if loss is not None else L1AndStructure()

    @property
    def network(self) -> Any:
        """What is trained."""
        return self.encoder.encoder.model

    def try_losses(self) -> dict[str, Any]:
        """Call the loss on two small patches."""
        patches = torch.zeros(2, 1, 1, 2 * _WINDOW, 2 * _WINDOW)
        return {"loss": self.loss(patches, patches)}

    def monitored(self, x_BCZYX: Tensor, present_BC: Tensor) -> dict[str, Tensor]:
        """Loss, and mean correlation of what is predicted and what is there."""
        whole = self.encoder.imaged(present_BC) & present_BC[:, self.target].all(dim=1)
        predicted = self.network(x_BCZYX[:, self.encoder.channels])
        wanted = x_BCZYX[:, self.target]
        if predicted.shape[1] != wanted.shape[1]:
            raise UserError(
                f"model.network predicts {predicted.shape[1]} channels, but target names "
                f"{wanted.shape[1]}. Make them equal."
            )
        first = (wanted.shape[2] - predicted.shape[2]) // 2
        wanted = wanted[:, :, first : first + predicted.shape[2]]
        if not whole.any():
            return {"loss": 0 * predicted.sum(), "correlation": predicted.new_zeros(())}
        predicted, wanted = predicted[whole], wanted[whole]
        return {
            "loss": self.loss(predicted, wanted),
            "correlation": _correlation(predicted.detach(), wanted),
        }


def _correlation(made: Tensor, wanted: Tensor) -> Tensor:
    """Pearson correlation of the voxels of each row and channel, its mean."""
    first, second = (
        stacks.float().flatten(2) - stacks.float().mean(dim=(2, 3, 4)).unsqueeze(2)
        for stacks in (made, wanted)
    )
    return nn.functional.cosine_similarity(first, second, dim=2).mean()
