"""A small residual encoder that trains on a few CPU cores."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynaclr.models.checks import check_patches


class SmallEncoder(nn.Module):
    """Residual network of a few hundred thousand weights for small patches.

    Planes are folded into channels, a strided convolution and four residual stages follow, each
    at half the resolution of the one before. Mean and standard deviation over the image of every
    stage's channels, fine to coarse, make up the features: they describe texture wherever
    its elements lie. No layer uses batch statistics, so that the embedding of a cell never
    depends on the other cells of its batch.

    Parameters
    ----------
    in_channels : int
        Channels of the patches.
    in_stack_depth : int
        Planes of the patches.
    embedding_dim : int
        Width of the features.
    projection_dim : int
        Width of the projections.
    width : int
        Channels of the first stage, a multiple of 8; each later stage has twice as many.

    Attributes
    ----------
    feature_dim, projection_dim : int
        Widths of the two outputs.
    in_channels, in_stack_depth : int
        C and Z of the patches.

    Raises
    ------
    ValueError
        If ``width`` is not a positive multiple of 8.
    """

    def __init__(
        self,
        in_channels: int = 2,
        in_stack_depth: int = 1,
        embedding_dim: int = 64,
        projection_dim: int = 32,
        width: int = 16,
    ) -> None:
        super().__init__()
        if width < 8 or width % 8:
            raise ValueError(f"width must be a positive multiple of 8, got {width}")
        self.in_channels = in_channels
        self.in_stack_depth = in_stack_depth
        self.feature_dim = embedding_dim
        self.projection_dim = projection_dim
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.stem = nn.Conv2d(in_channels * in_stack_depth, width, 5, stride=2, padding=2)
        self.stages = nn.ModuleList(_ResidualBlock(a, b) for a, b in pairwise(widths))
        pooled = 2 * sum(widths[1:])
        self.head = nn.Sequential(nn.LayerNorm(pooled), nn.Linear(pooled, embedding_dim))
        self.projection = nn.Sequential(
            nn.Linear(embedding_dim, 2 * embedding_dim),
            nn.LayerNorm(2 * embedding_dim),
            nn.SiLU(),
            nn.Linear(2 * embedding_dim, projection_dim),
        )

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Features and projections of patches, as those of `ContrastiveEncoder.forward`."""
        check_patches(x_BCZYX, self.in_channels, self.in_stack_depth)
        x_BCYX = x_BCZYX.flatten(1, 2).contiguous(memory_format=torch.channels_last)
        x_BCYX = self.stem(x_BCYX)
        pooled = []
        for stage in self.stages:
            x_BCYX = stage(x_BCYX)
            pooled.append(_mean_and_deviation(x_BCYX))
        features = self.head(torch.cat(pooled, dim=1))
        return features, self.projection(features)


def _mean_and_deviation(x_BCYX: Tensor) -> Tensor:
    """Mean and standard deviation over the image, shape (B, 2C)."""
    # Float32: variances of half-precision activations overflow. The floor keeps the gradient of
    # the root finite where a channel is constant.
    # Two passes: on a CPU, channels last, they take half the time of torch.var_mean.
    x_BCYX = x_BCYX.float()
    mean_BC11 = x_BCYX.mean(dim=(2, 3), keepdim=True)
    variance = (x_BCYX - mean_BC11).square().mean(dim=(2, 3))
    return torch.cat((mean_BC11.flatten(1), (variance + 1e-5).sqrt()), dim=1)


class _ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions, each after normalization; halves the image when it widens it."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        stride = 1 if in_channels == out_channels else 2
        self.norm1 = nn.GroupNorm(in_channels // 8, in_channels)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(out_channels // 8, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Identity() if stride == 1 else _halve(in_channels, out_channels)

    def forward(self, x_BCYX: Tensor) -> Tensor:
        branch = self.conv1(F.silu(self.norm1(x_BCYX)))
        out_BCYX: Tensor = self.shortcut(x_BCYX) + self.conv2(F.silu(self.norm2(branch)))
        return out_BCYX


def _halve(in_channels: int, out_channels: int) -> nn.Module:
    """Average pairs of pixels, then mix channels; odd edges round up as strided kernels do."""
    pool = nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False)
    return nn.Sequential(pool, nn.Conv2d(in_channels, out_channels, 1, bias=False))
