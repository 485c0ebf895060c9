"""Decoders from feature maps back to stacks, which several architectures share.

Parameter names are those of the VisCy project, so that weights trained there load.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn


def init_for_shuffle(convolution: nn.Module, scale: int) -> None:
    """Let a convolution before a pixel shuffle start without a checkerboard (Aitken et al. 2017).

    The pixels of a block, ``scale`` a side, begin with the same kernel.
    """
    weight = convolution.weight
    assert isinstance(weight, Tensor)
    with torch.no_grad():
        kernels = nn.init.kaiming_normal_(torch.empty_like(weight[:: scale**2]))
        weight.copy_(kernels.repeat_interleave(scale**2, dim=0))


def pixel_shuffle(scale: int, smooth: bool = False) -> nn.Module:
    """Upsampling that turns channels into pixels, averaged over the pixels of a block if smooth."""
    shuffle = nn.PixelShuffle(scale)
    if not smooth:
        return shuffle
    pad = nn.ConstantPad2d((scale - 1, 0, scale - 1, 0), 0.0)
    return nn.Sequential(shuffle, pad, nn.AvgPool2d(scale, stride=1))


class _UpStage(nn.Module):
    """Upsample, join with the encoder's map of that size, convolve."""

    def __init__(
        self, in_channels: int, out_channels: int, conv_blocks: int, pre_conv: bool
    ) -> None:
        super().__init__()
        mid_channels, skip_channels = in_channels // 4, in_channels // 2
        stage = _convnext_stage(mid_channels + skip_channels, out_channels, conv_blocks)
        self.conv = stage
        self.upsample = pixel_shuffle(2)
        if pre_conv:
            before = nn.Conv2d(in_channels, mid_channels * 4, 3, padding=1)
            init_for_shuffle(before, 2)
            layers = nn.Sequential(OrderedDict(conv_block=before, shuffle=self.upsample))
            self.upsample = nn.Sequential(OrderedDict(pixelshuffle=layers))
        else:
            init_for_shuffle(stage.blocks[-1].mlp.fc2, 2)

    def forward(self, x_BCYX: Tensor, skip_BCYX: Tensor) -> Tensor:
        out_BCYX: Tensor = self.conv(torch.cat([self.upsample(x_BCYX), skip_BCYX], dim=1))
        return out_BCYX


class UNeXt2Decoder(nn.Module):
    """Stages of ConvNeXt V2 blocks from the smallest feature map up, each with a skip connection.

    Parameters
    ----------
    channels : sequence of int
        Of the feature maps, small to large, each twice the size of the one before; the last number
        is that of the output.
    conv_blocks : int
        Blocks in each stage.
    pre_conv : bool
        Convolve before a pixel shuffle.
    """

    def __init__(
        self, channels: Sequence[int], conv_blocks: int = 1, pre_conv: bool = False
    ) -> None:
        super().__init__()
        self.decoder_stages = nn.ModuleList(
            _UpStage(n_in, n_out, conv_blocks, pre_conv) for n_in, n_out in pairwise(channels)
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Decode feature maps (B, C_i, Y_i, X_i), small to large, into one of the largest size."""
        x_BCYX, *skips = maps
        for stage, skip_BCYX in zip(self.decoder_stages, skips, strict=True):
            x_BCYX = stage(x_BCYX, skip_BCYX)
        return x_BCYX


class PixelToVoxelHead(nn.Module):
    """Feature maps to stacks, at four times the size: shuffle, convolve in 3-D, shuffle.

    Parameters
    ----------
    in_channels : int
        Of the feature maps.
    out_channels, out_stack_depth : int
        C and Z of the stacks.
    expansion_ratio : int
        Widens the convolution.
    pool : bool
        Smooth the first shuffle.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        out_stack_depth: int,
        expansion_ratio: int,
        pool: bool,
    ) -> None:
        super().__init__()
        # The 3-D convolution takes a plane from each end.
        self.depth = out_stack_depth + 2
        width = out_channels * expansion_ratio * 4
        last = nn.Conv3d(width, out_channels * 4, 1)
        init_for_shuffle(last, 2)
        norm_and_activation = OrderedDict(N=nn.InstanceNorm3d(width), A=nn.PReLU())
        first = OrderedDict(
            conv=nn.Conv3d(in_channels // 4 // self.depth, width, 3, padding=(0, 1, 1)),
            adn=nn.Sequential(norm_and_activation),
        )
        self.upsample = pixel_shuffle(2, smooth=pool)
        self.conv = nn.Sequential(nn.Sequential(first), last)
        self.out = nn.PixelShuffle(2)

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """Stacks (B, out_channels, out_stack_depth, 4 Y, 4 X) of maps (B, in_channels, Y, X)."""
        x_BCYX = self.upsample(x_BCYX)
        n, channels, height, width = x_BCYX.shape
        x_BCZYX = self.conv(x_BCYX.reshape(n, channels // self.depth, self.depth, height, width))
        stacks: Tensor = self.out(x_BCZYX.transpose(1, 2)).transpose(1, 2)
        return stacks


class PixelToVoxelShuffleHead(nn.Module):
    """Feature maps to stacks without weights: channels become planes and pixels.

    Parameters
    ----------
    out_channels, out_stack_depth : int
        C and Z of the stacks.
    scale : int
        Factor in height and width; feature maps have C Z scale^2 channels.
    """

    def __init__(self, out_channels: int, out_stack_depth: int, scale: int) -> None:
        super().__init__()
        self.shape = (out_channels, out_stack_depth)
        self.upsample = pixel_shuffle(scale, smooth=True)

    def forward(self, x_BCYX: Tensor) -> Tensor:
        """Stacks (B, C, Z, scale Y, scale X) of feature maps (B, C Z scale^2, Y, X)."""
        x_BCYX = self.upsample(x_BCYX)
        return x_BCYX.reshape(len(x_BCYX), *self.shape, *x_BCYX.shape[-2:])


def _convnext_stage(in_channels: int, out_channels: int, depth: int) -> Any:
    """Blocks of ConvNeXt V2 (Woo et al. 2023) at one size."""
    from timm.layers import LayerNorm, LayerNorm2d
    from timm.models.convnext import ConvNeXtStage

    stage = ConvNeXtStage(
        in_channels,
        out_channels,
        stride=1,
        depth=depth,
        ls_init_value=None,  # type: ignore[arg-type]
        conv_mlp=True,
        use_grn=True,
        norm_layer=LayerNorm2d,
        norm_layer_cl=LayerNorm,
    )
    return stage.apply(init_convnext)


def init_convnext(module: nn.Module) -> None:
    """Initial weights of ConvNeXt: normal with a standard deviation of 0.02, no bias."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
