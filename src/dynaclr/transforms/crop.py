"""Crops, flips and shifts along Z: whole voxels, no interpolation."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dynaclr.transforms.base import RandomTransform, check_patches, uniform

AXES = {"Z": 2, "Y": 3, "X": 4}


def read_size(size: Sequence[int], name: str = "size") -> tuple[int, ...]:
    """Read a crop size in voxels, (Y, X) or (Z, Y, X).

    Raises
    ------
    ValueError
        If it does not hold two or three positive numbers.
    """
    size = tuple(int(length) for length in size)
    if len(size) not in (2, 3) or min(size) < 1:
        raise ValueError(f"{name} must be (Y, X) or (Z, Y, X) in voxels, got {size}")
    return size


def crop_lengths(x_BCZYX: Tensor, size: tuple[int, ...]) -> tuple[int, int, int]:
    """Lengths (Z, Y, X) after the crop; a size of two numbers keeps all planes.

    Raises
    ------
    ValueError
        If the patches are smaller than the crop.
    """
    lengths = tuple(x_BCZYX.shape[2:5])
    depth, height, width = (*lengths[: 3 - len(size)], *size)
    target = depth, height, width
    if any(wanted > length for wanted, length in zip(target, lengths, strict=True)):
        raise ValueError(f"cannot crop {target} voxels (Z, Y, X) out of patches of {lengths}")
    return target


def centre_crop(x_BCZYX: Tensor, size: tuple[int, ...]) -> Tensor:
    """Crop to the centre; where lengths differ by an odd number, the earlier half keeps less."""
    target = crop_lengths(x_BCZYX, size)
    for axis, length in zip(AXES.values(), target, strict=True):
        x_BCZYX = x_BCZYX.narrow(axis, (x_BCZYX.shape[axis] - length) // 2, length)
    return x_BCZYX


class CentreCrop(nn.Module):
    """Crop to the centre, in training and in evaluation alike.

    Parameters
    ----------
    size : sequence of int
        (Y, X), keeping all planes, or (Z, Y, X), in voxels. Voxel ``(length - size) // 2`` is the
        first that is kept.

    Raises
    ------
    ValueError
        If the size does not hold two or three positive numbers.
    """

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__()
        self.size = read_size(size)

    def forward(self, x_BCZYX: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Crop patches (B, C, Z, Y, X); the generator is not used.

        Raises
        ------
        TypeError, ValueError
            If the patches are not floating point of five axes, or are smaller than the crop.
        """
        check_patches(x_BCZYX)
        return centre_crop(x_BCZYX, self.size)


class RandomCrop(RandomTransform):
    """Crop to a box whose position is drawn for each sample; to the centre in evaluation.

    Parameters
    ----------
    size : sequence of int
        (Y, X), keeping all planes, or (Z, Y, X), in voxels. All positions are equally likely.

    Raises
    ------
    ValueError
        If the size does not hold two or three positive numbers.
    """

    def __init__(self, size: Sequence[int]) -> None:
        super().__init__(p=1.0)
        self.size = read_size(size)

    def evaluate(self, x_BCZYX: Tensor) -> Tensor:
        """Crop to the centre."""
        return centre_crop(x_BCZYX, self.size)

    def augment(self, x_BCZYX: Tensor, generator: torch.Generator | None) -> Tensor:
        """Crop each sample to one box."""
        target = crop_lengths(x_BCZYX, self.size)
        chosen = []
        for axis, length in zip(AXES.values(), target, strict=True):
            n_starts = x_BCZYX.shape[axis] - length + 1
            start_B = uniform((len(x_BCZYX), 1), (0, n_starts), x_BCZYX, generator).long()
            # Rounding can bring a number just below the upper end up to it.
            start_B.clamp_(max=n_starts - 1)
            chosen.append(start_B + torch.arange(length, device=x_BCZYX.device))
        z, y, x = chosen
        sample = torch.arange(len(x_BCZYX), device=x_BCZYX.device)[:, None, None, None]
        cropped_BZYXC = x_BCZYX[
            sample, :, z[:, :, None, None], y[:, None, :, None], x[:, None, None]
        ]
        return cropped_BZYXC.movedim(-1, 1).contiguous()


class RandomFlip(RandomTransform):
    """Mirror samples, each along each axis with probability ``p``.

    Parameters
    ----------
    axes : str
        Axes along which to flip, out of Z, Y and X.
    p : float
        Probability of each sample to be flipped along an axis, independently of other axes.

    Raises
    ------
    ValueError
        If an axis is unknown or repeated, or ``p`` is no probability.
    """

    def __init__(self, axes: str = "YX", p: float = 0.5) -> None:
        super().__init__(p)
        if not axes or set(axes) - set(AXES) or len(set(axes)) < len(axes):
            raise ValueError(f"axes must be some of 'ZYX', each once, got {axes!r}")
        self.axes = axes

    def augment(self, x_BCZYX: Tensor, generator: torch.Generator | None) -> Tensor:
        """Flip the chosen samples."""
        for axis in self.axes:
            chosen = self.choose(x_BCZYX, generator)
            x_BCZYX = torch.where(chosen, x_BCZYX.flip(AXES[axis]), x_BCZYX)
        return x_BCZYX


class RandomZShift(RandomTransform):
    """Move the stack up or down by whole planes, as focus drift does.

    Planes that come in from outside repeat the outermost one. All channels of a sample move
    together.

    Parameters
    ----------
    max_shift : int
        Largest shift in planes; all shifts from ``-max_shift`` to ``max_shift``, 0 included, are
        equally likely.
    p : float
        Probability of each sample to be shifted.

    Raises
    ------
    ValueError
        If ``max_shift`` is not positive or ``p`` is no probability; in training, if the stack
        has a single plane, of which no shift could be seen.
    """

    def __init__(self, max_shift: int, p: float = 0.5) -> None:
        super().__init__(p)
        if max_shift < 1:
            raise ValueError(f"max_shift must be at least one plane, got {max_shift}")
        self.max_shift = int(max_shift)

    def augment(self, x_BCZYX: Tensor, generator: torch.Generator | None) -> Tensor:
        """Shift the chosen samples."""
        planes = x_BCZYX.shape[2]
        if planes == 1:
            raise ValueError("RandomZShift needs patches with more than one plane (axis Z)")
        shape = (len(x_BCZYX), 1, 1, 1, 1)
        bounds = (-self.max_shift, self.max_shift + 1)
        shift = uniform(shape, bounds, x_BCZYX, generator).floor().clamp_(max=self.max_shift)
        shift = shift.where(self.choose(x_BCZYX, generator), 0).long()
        plane = torch.arange(planes, device=x_BCZYX.device)[None, None, :, None, None]
        source = (plane - shift).clamp_(0, planes - 1)
        return x_BCZYX.gather(2, source.expand_as(x_BCZYX))
