"""The encoding part of an autoencoder, or of a network from stacks to stacks, as an encoder."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class FeatureEncoder(nn.Module):
    """An encoder whose features are what another network embeds patches as.

    Parameters
    ----------
    network : nn.Module
        Has a method ``embed`` from patches (B, C, Z, Y, X) to features (B, feature_dim), and the
        attributes ``feature_dim``, ``in_channels``, ``in_stack_depth`` and ``decoding`` (how names
        of parameters begin that embed nothing), as all autoencoders and U-Nets of this package.
    projection_dim : int, optional
        Width of projections for a contrastive loss. Without it features and projections are the
        same. With it, what embeds nothing keeps its weights.
    embedding_dim : int
        Width of the hidden layer of the projection MLP.

    Attributes
    ----------
    feature_dim, projection_dim : int
        Widths of the two outputs.
    in_channels, in_stack_depth : int
        C and Z of the patches.
    """

    def __init__(
        self, network: nn.Module, projection_dim: int | None = None, embedding_dim: int = 256
    ) -> None:
        super().__init__()
        given: Any = network
        # So a checkpoint of VisCy, too, calls what its module trains.
        self.model = given
        self.feature_dim = int(given.feature_dim)
        self.projection_dim = projection_dim or self.feature_dim
        self.in_channels = given.in_channels
        self.in_stack_depth = given.in_stack_depth
        self.projection: nn.Module = nn.Identity()
        if projection_dim is not None:
            for name, parameter in given.named_parameters():
                # Several processes wait for the gradient of every weight that can train.
                parameter.requires_grad &= not name.startswith(given.decoding)
            self.projection = nn.Sequential(
                nn.Linear(self.feature_dim, embedding_dim),
                nn.LayerNorm(embedding_dim),
                nn.SiLU(),
                nn.Linear(embedding_dim, projection_dim),
            )

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Features and projections of patches, as those of `ContrastiveEncoder.forward`."""
        features = self.model.embed(x_BCZYX)
        return features, self.projection(features)
