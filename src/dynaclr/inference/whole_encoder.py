"""An encoder with its normalization: from pixels as a plate stores them to features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from dynaclr.data import at_common_size
from dynaclr.transforms import Normalize


class WholeEncoder(nn.Module):
    """An encoder that normalizes patches itself.

    Parameters
    ----------
    encoder : nn.Module
        Maps normalized patches (B, C, Z, Y, X) to features (B, D) and projections (B, P).
    """

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.normalize = Normalize()

    def forward(
        self, patch_BCZYX: Tensor, center_BC: Tensor, spread_BC: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Embed patches.

        Parameters
        ----------
        patch_BCZYX : Tensor
            Pixels as stored, at the size that the encoder was trained on; zeros where a channel was
            not imaged.
        center_BC, spread_BC : Tensor
            Statistics of the pixels around them, of the kinds that the encoder was trained with, in
            the same units; 0 and 1 where a channel was not imaged.

        Returns
        -------
        features : Tensor
            Shape (B, D).
        projections : Tensor
            Shape (B, P).
        """
        features, projections = self.encoder(self.normalize(patch_BCZYX, center_BC, spread_BC))
        return features, projections


@torch.inference_mode()
def embed_batch(encoder: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Features and projections of patches as `Observations.read` gives them."""
    return WholeEncoder(encoder).eval()(at_common_size(batch), batch["center"], batch["spread"])
