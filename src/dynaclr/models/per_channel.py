"""An encoder of single channels, applied to each channel of a patch."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn


class PerChannel(nn.Module):
    """Embeds each channel of a patch by the same encoder, and combines the embeddings.

    So models of single grey images serve patches of any number of channels, and the embedding of a
    channel does not depend on the others.

    Parameters
    ----------
    encoder : nn.Module
        Maps patches of one channel (B, 1, Z, Y, X) to features and projections; it has the
        attributes ``feature_dim`` and ``projection_dim``.
    in_channels : int
        Channels of the patches.
    combine : {"concatenate", "average"}
        What is made of the channels' features, and of their projections.

    Attributes
    ----------
    feature_dim, projection_dim : int
        Widths of the two outputs.
    in_channels : int
        C of the patches.

    Raises
    ------
    ValueError
        If the encoder was built for several channels.
    """

    def __init__(
        self,
        encoder: nn.Module,
        in_channels: int,
        combine: Literal["concatenate", "average"] = "concatenate",
    ) -> None:
        super().__init__()
        given: Any = encoder
        if getattr(given, "in_channels", 1) != 1:
            raise ValueError(
                f"the encoder has in_channels={given.in_channels}, but sees one channel at a time; "
                "set its in_channels to 1"
            )
        copies = in_channels if combine == "concatenate" else 1
        self.encoder = encoder
        self.in_channels = in_channels
        self.combine = combine
        self.feature_dim = copies * int(given.feature_dim)
        self.projection_dim = copies * int(given.projection_dim)
        if hasattr(given, "in_stack_depth"):
            self.in_stack_depth = given.in_stack_depth

    @property
    def projection(self) -> nn.Module | None:
        """What makes projections of features, where the encoder has such a part."""
        return getattr(self.encoder, "projection", None)

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Features and projections of patches, as those of `ContrastiveEncoder.forward`.

        Those of channels are concatenated in the order of the channels.
        """
        if x_BCZYX.ndim != 5 or x_BCZYX.shape[1] != self.in_channels:
            raise ValueError(
                f"the encoder was built for in_channels={self.in_channels}, got patches of shape "
                f"{tuple(x_BCZYX.shape)}"
            )
        features, projections = self.encoder(x_BCZYX.flatten(0, 1).unsqueeze(1))
        return self._combined(features), self._combined(projections)

    def _combined(self, rows: Tensor) -> Tensor:
        rows_BCD = rows.reshape(-1, self.in_channels, rows.shape[1])
        return rows_BCD.flatten(1) if self.combine == "concatenate" else rows_BCD.mean(1)
