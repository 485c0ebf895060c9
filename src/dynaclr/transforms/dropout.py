"""Leaving out channels or blocks of voxels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynaclr.transforms.base import RandomTransform, Range, as_range, check_patches, uniform
from dynaclr.transforms.intensity import IntensityTransform, channel_mask, read_channels


class ChannelDropout(RandomTransform):
    """Set whole channels of single samples to zero, never all channels of a sample.

    An encoder trained with it can embed cells of which a channel was not recorded. Remaining
    channels are not scaled up.

    Parameters
    ----------
    channels : sequence of int
        Channels that may be dropped.
    p : float
        Probability of each of them to be dropped, independently for each sample. Where all
        channels of the patches would go, one of them, any with the same probability, stays. A
        channel that was not imaged, as the caller may say, counts as gone already.

    Raises
    ------
    ValueError
        If ``p`` is no probability, or channels are negative, repeated or none; in training, if
        a channel does not exist in the patches or if they have a single channel.
    """

    def __init__(self, channels: Sequence[int], p: float = 0.5) -> None:
        super().__init__(p)
        self.channels = read_channels(channels)

    def forward(
        self,
        x_BCZYX: Tensor,
        generator: torch.Generator | None = None,
        present_BC: Tensor | None = None,
    ) -> Tensor:
        """Drop channels; arguments and errors as in ``RandomTransform``.

        Parameters
        ----------
        x_BCZYX : Tensor
            Patches, shape (B, C, Z, Y, X).
        generator : torch.Generator or None
            Source of all random numbers.
        present_BC : Tensor or None
            Whether a channel of a sample was imaged, boolean, shape (B, C); default: all were.
        """
        check_patches(x_BCZYX)
        if not self.training:
            return x_BCZYX
        if x_BCZYX.shape[1] == 1:
            raise ValueError("ChannelDropout needs more than one channel: one always stays")
        drawn = uniform((*x_BCZYX.shape[:2], 1, 1, 1), (0.0, 1.0), x_BCZYX, generator)
        dropped = (drawn < self.p) & channel_mask(self.channels, x_BCZYX)
        present = torch.ones_like(dropped)
        if present_BC is not None:
            present = present_BC[:, :, None, None, None]
        kept = drawn.where(present, -1).argmax(1, keepdim=True)
        highest = torch.zeros_like(dropped).scatter(1, kept, True)
        empty = (dropped | ~present).all(1, keepdim=True)
        return x_BCZYX.masked_fill(dropped & ~(empty & highest), 0)


class RandomMask(IntensityTransform):
    """Set random blocks of voxels to zero.

    Parameters
    ----------
    fraction : tuple of float or float
        Range of the expected fraction of blocks that are masked; one number means just that.
    block : sequence of int
        Size (Z, Y, X) of a block in voxels. Blocks start at the first voxel; those at the far
        edges may be smaller.
    p, channels, per_channel
        As in ``IntensityTransform``. Without ``per_channel`` all channels of a sample are masked
        at the same positions.
    """

    def __init__(
        self,
        fraction: Range = (0.0, 0.3),
        block: Sequence[int] = (1, 1, 1),
        p: float = 0.5,
        channels: Sequence[int] | None = None,
        per_channel: bool = True,
    ) -> None:
        super().__init__(p, channels, per_channel)
        self.fraction = as_range(fraction, "fraction", lowest=0)
        if self.fraction[1] > 1:
            raise ValueError(f"fraction must not exceed 1, got {fraction}")
        self.block = tuple(int(length) for length in block)
        if len(self.block) != 3 or min(self.block) < 1:
            raise ValueError(f"block must be (Z, Y, X) in voxels, got {block}")

    def change(self, x_BCZYX: Tensor, chosen: Tensor, generator: torch.Generator | None) -> Tensor:
        """Mask blocks."""
        lengths = x_BCZYX.shape[2:]
        blocks = [-(-n // size) for n, size in zip(lengths, self.block, strict=True)]
        fraction = self.draw_where(chosen, self.fraction, 0.0, x_BCZYX, generator)
        masked = uniform((*fraction.shape[:2], *blocks), (0.0, 1.0), x_BCZYX, generator) < fraction
        for axis, size in enumerate(self.block, start=2):
            masked = masked.repeat_interleave(size, dim=axis).narrow(axis, 0, x_BCZYX.shape[axis])
        return x_BCZYX.masked_fill(masked, 0)
