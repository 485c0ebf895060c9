"""Fully convolutional masked autoencoder: stacks filled in where they are hidden."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from dynaclr.models.checks import check_divisible, check_patches
from dynaclr.models.decoders import (
    PixelToVoxelHead,
    PixelToVoxelShuffleHead,
    UNeXt2Decoder,
    init_convnext,
)


class MaskedReconstruction(NamedTuple):
    """What a masked autoencoder makes of patches.

    Attributes
    ----------
    reconstruction : Tensor
        Shape (B, out_channels, Z, Y, X).
    mask : Tensor or None
        True where patches were hidden, in all channels and planes, shape (B, 1, Y, X); None where
        nothing was.
    """

    reconstruction: Tensor
    mask: Tensor | None


class FullyConvolutionalMAE(nn.Module):
    """A masked autoencoder of ConvNeXt V2 blocks.

    Woo et al. 2023 (*ConvNeXt V2: co-designing and scaling ConvNets with masked autoencoders*),
    with a stem for stacks and the decoder of UNeXt2. Parameter names are those of
    ``FullyConvolutionalMAE`` in the VisCy project (``encoder.stem``, ``encoder.stages``,
    ``decoder.*``, ``head.*``), so that weights trained there load with ``load_state_dict`` given
    the same arguments.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the patches, and of the reconstruction.
    encoder_blocks, dims : sequence of int
        Blocks, and channels, of each stage; each stage has half the resolution of the one before.
    encoder_drop_path_rate : float
        Probability with which a residual branch is left out in training.
    stem_kernel_size : sequence of int
        Of the first convolution, in voxels along (Z, Y, X); also its stride. Of patches of a
        single plane another convolution is used, without Z.
    in_stack_depth : int
        Planes of the patches and of the reconstruction.
    decoder_conv_blocks : int
        Blocks of each stage of the decoder.
    head_conv : bool
        Let convolutions make the reconstruction of the decoder's output, not a shuffle alone.
    head_conv_expansion_ratio, head_conv_pool
        As in `PixelToVoxelHead`.

    Attributes
    ----------
    in_channels, in_stack_depth : int
        C and Z of the patches.
    feature_dim : int
        Width of what `embed` returns: channels of the smallest feature map.

    Raises
    ------
    ValueError
        If stem and depth do not fit the channels of the first stage.
    """

    decoding: ClassVar = ("decoder.", "head.")

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        encoder_blocks: Sequence[int] = (3, 3, 9, 3),
        dims: Sequence[int] = (96, 192, 384, 768),
        encoder_drop_path_rate: float = 0.0,
        stem_kernel_size: Sequence[int] = (5, 4, 4),
        in_stack_depth: int = 5,
        decoder_conv_blocks: int = 1,
        head_conv: bool = False,
        head_conv_expansion_ratio: int = 4,
        head_conv_pool: bool = True,
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.in_stack_depth = in_stack_depth
        self.feature_dim = dims[-1]
        self.encoder = MaskedMultiscaleEncoder(
            in_channels,
            encoder_blocks,
            dims,
            encoder_drop_path_rate,
            stem_kernel_size,
            in_stack_depth,
        )
        scale = stem_kernel_size[-1]
        last = out_channels * in_stack_depth * scale**2
        if head_conv:
            last = (in_stack_depth + 2) * in_channels * 4 * head_conv_expansion_ratio
        self.decoder = UNeXt2Decoder([*dims[:0:-1], last], decoder_conv_blocks)
        self.head: nn.Module
        if head_conv:
            self.head = PixelToVoxelHead(
                last, out_channels, in_stack_depth, head_conv_expansion_ratio, head_conv_pool
            )
        else:
            self.head = PixelToVoxelShuffleHead(out_channels, in_stack_depth, scale)

    def forward(self, x_BCZYX: Tensor, mask_ratio: float = 0.0) -> MaskedReconstruction:
        """Reconstruct patches of which a share is hidden.

        Parameters
        ----------
        x_BCZYX : Tensor
            Normalized patches, floating point, shape (B, C, Z, Y, X).
        mask_ratio : float
            Share of each patch that is hidden, in squares of the encoder's total stride.

        Returns
        -------
        MaskedReconstruction

        Raises
        ------
        TypeError, ValueError
            If the patches are not what the network was built for.
        """
        maps, mask = self._encode(x_BCZYX, mask_ratio)
        return MaskedReconstruction(self.head(self.decoder(maps[::-1])), mask)

    def embed(self, x_BCZYX: Tensor) -> Tensor:
        """Features (B, feature_dim) of whole patches: the mean over the smallest feature map."""
        return self._encode(x_BCZYX, 0.0)[0][-1].mean(dim=(2, 3))

    def _encode(self, x_BCZYX: Tensor, mask_ratio: float) -> tuple[list[Tensor], Tensor | None]:
        check_patches(x_BCZYX, self.in_channels, self.in_stack_depth)
        check_divisible(x_BCZYX, self.encoder.total_stride)
        encoded: tuple[list[Tensor], Tensor | None] = self.encoder(x_BCZYX, mask_ratio)
        return encoded


class MaskedMultiscaleEncoder(nn.Module):
    """The encoder: a stem and stages that see only what is not hidden.

    Parameters
    ----------
    in_channels, stage_blocks, dims, drop_path_rate, stem_kernel_size, in_stack_depth
        As in `FullyConvolutionalMAE`.

    Attributes
    ----------
    total_stride : int
        Of the smallest feature map, in pixels.
    """

    def __init__(
        self,
        in_channels: int,
        stage_blocks: Sequence[int],
        dims: Sequence[int],
        drop_path_rate: float,
        stem_kernel_size: Sequence[int],
        in_stack_depth: int,
    ) -> None:
        super().__init__()
        self.stem = _Stem(in_channels, dims[0], stem_kernel_size, in_stack_depth)
        inputs = [dims[0], *dims[:-1]]
        self.stages = nn.ModuleList(
            _Stage(n_in, n_out, 1 if i == 0 else 2, blocks, drop_path_rate)
            for i, (n_in, n_out, blocks) in enumerate(zip(inputs, dims, stage_blocks, strict=True))
        )
        self.total_stride = stem_kernel_size[1] * 2 ** (len(dims) - 1)
        self.apply(init_convnext)

    def forward(
        self, x_BCZYX: Tensor, mask_ratio: float = 0.0
    ) -> tuple[list[Tensor], Tensor | None]:
        """Feature maps (B, dims[i], Y_i, X_i), large to small, and the mask (B, 1, Y, X)."""
        mask = seen = None
        if mask_ratio > 0:
            coarse = random_mask(x_BCZYX, self.total_stride, mask_ratio)
            mask, seen = _enlarged(coarse, x_BCZYX.shape[-2]), ~coarse
        x_BCYX = self.stem(x_BCZYX)
        maps = []
        for stage in self.stages:
            x_BCYX = stage(x_BCYX, seen)
            maps.append(x_BCYX)
        return maps, mask


def random_mask(x_BCZYX: Tensor, stride: int, ratio: float) -> Tensor:
    """Choose which squares of patches are hidden, equally many in each.

    Parameters
    ----------
    x_BCZYX : Tensor
        Patches, shape (B, C, Z, Y, X).
    stride : int
        Side of a square in pixels.
    ratio : float
        Share of the squares that is hidden, rounded down.

    Returns
    -------
    Tensor
        True where hidden, shape (B, 1, Y / stride, X / stride).
    """
    height, width = (length // stride for length in x_BCZYX.shape[-2:])
    hidden = int(height * width * ratio)
    order = torch.rand(len(x_BCZYX), height * width, device=x_BCZYX.device).argsort(1)
    return (order < hidden).reshape(-1, 1, height, width)


def _enlarged(mask_B1YX: Tensor, height: int) -> Tensor:
    """A mask at the size of a map of this height."""
    scale = height // mask_B1YX.shape[-2]
    return mask_B1YX.repeat_interleave(scale, dim=-2).repeat_interleave(scale, dim=-1)


def _on_seen(layers: Any, x_BCYX: Tensor, seen_B1YX: Tensor | None) -> Tensor:
    """Apply layers of (B, 1, L, C) to the L pixels that are seen; the others become 0."""
    x_BYXC = x_BCYX.permute(0, 2, 3, 1)
    if seen_B1YX is None:
        whole: Tensor = layers(x_BYXC)
        return whole.permute(0, 3, 1, 2)
    seen_BYX = _enlarged(seen_B1YX, x_BCYX.shape[-2])[:, 0]
    n, channels = len(x_BYXC), x_BYXC.shape[-1]
    made = layers(x_BYXC[seen_BYX].reshape(n, 1, -1, channels))
    out_BYXC = torch.zeros_like(x_BYXC, dtype=made.dtype)
    out_BYXC[seen_BYX] = made.reshape(-1, channels)
    return out_BYXC.permute(0, 3, 1, 2)


class _Stem(nn.Module):
    """Non-overlapping convolution of stacks, or of single planes, and a norm of what is seen."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: Sequence[int], depth: int
    ) -> None:
        super().__init__()
        z, y, x = kernel_size
        planes = max(depth // z, 1)
        if out_channels % planes:
            raise ValueError(
                f"in_stack_depth={depth} with a stem of depth {z} leaves {planes} planes, which do "
                f"not divide dims[0]={out_channels}; change one of the three"
            )
        self.conv3d = nn.Conv3d(in_channels, out_channels // planes, (z, y, x), (z, y, x))
        self.conv2d = nn.Conv2d(in_channels, out_channels, (y, x), (y, x))
        # Only one of them is used, and several processes wait for every weight that can train.
        (self.conv2d if depth > 1 else self.conv3d).requires_grad_(False)
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x_BCZYX: Tensor, seen: Tensor | None = None) -> Tensor:
        if x_BCZYX.shape[2] > 1:
            x_BCYX = self.conv3d(x_BCZYX).flatten(1, 2)
        else:
            x_BCYX = self.conv2d(x_BCZYX.squeeze(2))
        return _on_seen(self.norm, x_BCYX, seen)


class _Stage(nn.Module):
    """Blocks at one size, after a convolution that halves it."""

    def __init__(
        self, in_channels: int, out_channels: int, stride: int, blocks: int, drop_path: float
    ) -> None:
        from timm.layers import LayerNorm2d

        super().__init__()
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(
                LayerNorm2d(in_channels), nn.Conv2d(in_channels, out_channels, stride, stride)
            )
        self.blocks = nn.ModuleList(_Block(out_channels, drop_path) for _ in range(blocks))

    def forward(self, x_BCYX: Tensor, seen: Tensor | None) -> Tensor:
        x_BCYX = self.downsample(x_BCYX)
        for block in self.blocks:
            x_BCYX = block(x_BCYX, seen)
        return x_BCYX


class _Block(nn.Module):
    """A ConvNeXt V2 block whose depthwise convolution sees zeros where pixels are hidden."""

    def __init__(self, channels: int, drop_path: float) -> None:
        from timm.layers import DropPath, GlobalResponseNormMlp

        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels, bias=False)
        self.layernorm = nn.LayerNorm(channels)
        self.mlp = GlobalResponseNormMlp(channels, 4 * channels, channels)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x_BCYX: Tensor, seen: Tensor | None) -> Tensor:
        if seen is not None:
            x_BCYX = x_BCYX * _enlarged(seen, x_BCYX.shape[-2])
        branch = _on_seen(lambda rows: self.mlp(self.layernorm(rows)), self.dwconv(x_BCYX), seen)
        out_BCYX: Tensor = x_BCYX + self.drop_path(branch)
        return out_BCYX
