"""Stages of the 2.5-D variational autoencoder: from stacks to the latent, and back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

from torch import Tensor, nn

from dynaclr.models.backbones import create_backbone
from dynaclr.models.contrastive import StemDepthToChannels
from dynaclr.models.decoders import pixel_shuffle

UpsampleMode = Literal["pixelshuffle", "deconv"]
# The convolution over pixels of those families of timm that this is made for.
_FIRST_LAYERS = {"convnext": "stem_0", "resnet": "conv1"}


def monai_blocks() -> Any:
    """MONAI's module of blocks, which only some architectures are built of.

    Raises
    ------
    ImportError
        If MONAI is not installed.
    """
    try:
        from monai.networks import blocks
    except ImportError as error:
        raise ImportError(
            "this architecture is built of MONAI, which is not installed. Install it with "
            "`pip install 'dynaclr[monai]'`"
        ) from error
    return blocks


class VaeEncoder(nn.Module):
    """From stacks to mean and logarithm of the variance, both (B, D)."""

    def __init__(
        self,
        backbone: str,
        in_channels: int,
        in_stack_depth: int,
        latent_dim: int,
        size: tuple[int, int],
        stem_kernel_size: tuple[int, int, int],
        stem_stride: tuple[int, int, int],
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        first = [name for kind, name in _FIRST_LAYERS.items() if kind in backbone]
        if not first:
            raise ValueError(f"backbone {backbone!r} is neither a ConvNeXt nor a ResNet; take one")
        maps: Any = create_backbone(backbone, features_only=True, drop_path_rate=drop_path_rate)
        maps[first[0]] = nn.Identity()
        widths = maps.feature_info.channels()
        self.width = widths[-1]
        self.stem = StemDepthToChannels(
            in_channels, in_stack_depth, widths[0], stem_kernel_size, stem_stride
        )
        self.encoder = maps
        smallest = [
            length // step // 2 ** (len(widths) - 1)
            for length, step in zip(size, stem_stride[1:], strict=True)
        ]
        self.side = smallest[0]
        self.fc = nn.Linear(self.width * smallest[0] * smallest[1], latent_dim)
        self.fc_mu = nn.Linear(latent_dim, latent_dim)
        self.fc_logvar = nn.Linear(latent_dim, latent_dim)

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Encode stacks (B, C, Z, Y, X)."""
        hidden = self.fc(self.encoder(self.stem(x_BCZYX))[-1].flatten(1))
        return self.fc_mu(hidden), self.fc_logvar(hidden)


class VaeDecoder(nn.Module):
    """From latents (B, D) to stacks."""

    head: nn.Module

    def __init__(
        self,
        widths: Sequence[int],
        latent_dim: int,
        side: int,
        mode: UpsampleMode,
        conv_blocks: int,
        norm: str,
    ) -> None:
        super().__init__()
        channels = latent_dim // side**2
        if channels == 0:
            raise ValueError(
                f"latent_dim={latent_dim} is less than the {side} x {side} pixels of the smallest "
                "feature map; enlarge it"
            )
        self.shape = (channels, side, side)
        self.latent_reshape = nn.Linear(latent_dim, channels * side**2)
        self.latent_proj = nn.Conv2d(channels, widths[0], 1)
        self.decoder_stages = nn.ModuleList(
            _UpStage(n_in, n_out, mode, conv_blocks, norm) for n_in, n_out in pairwise(widths)
        )

    def forward(self, latent: Tensor) -> Tensor:
        """Decode latents (B, D) to stacks (B, C, Z, Y, X)."""
        x_BCYX = self.latent_proj(self.latent_reshape(latent).reshape(-1, *self.shape))
        for stage in self.decoder_stages:
            x_BCYX = stage(x_BCYX)
        stacks: Tensor = self.head(x_BCYX)
        return stacks


class _UpStage(nn.Module):
    """Doubles the size, then convolves."""

    def __init__(
        self, in_channels: int, out_channels: int, mode: UpsampleMode, conv_blocks: int, norm: str
    ) -> None:
        super().__init__()
        blocks = monai_blocks()
        unit = blocks.ResidualUnit
        self.upsample: nn.Module
        if mode == "deconv":
            self.upsample = blocks.dynunet_block.get_conv_layer(
                2, in_channels, out_channels, 2, 2, norm=norm, is_transposed=True
            )
            self.conv = nn.Sequential(
                unit(2, out_channels, out_channels, norm=norm),
                nn.Conv2d(out_channels, out_channels, 1),
            )
        else:
            self.upsample = pixel_shuffle(2)
            inputs = [in_channels // 4] + [out_channels] * (conv_blocks - 1)
            self.conv = nn.Sequential(*(unit(2, n, out_channels, norm=norm) for n in inputs))

    def forward(self, x_BCYX: Tensor) -> Tensor:
        out_BCYX: Tensor = self.conv(self.upsample(x_BCYX))
        return out_BCYX
