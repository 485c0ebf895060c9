"""Random affine maps, with the crop to the final size in the same resampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, TypeGuard, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaclr.transforms.base import (
    RandomTransform,
    Range,
    as_range,
    check_probability,
    uniform,
)
from dynaclr.transforms.crop import centre_crop, crop_lengths, read_size

Ranges = Range | Sequence[Range]


class RandomAffine(RandomTransform):
    """Rotate, scale, shear and shift samples about their centre, and crop, in one resampling.

    Each sample is resampled once, at its final size only. A position v of the object, relative
    to the centre, comes to lie at ``R K S v + t``: scaled by the diagonal S, sheared by the unit
    upper-triangular K, rotated by R, shifted by t. Together the three factors reach every affine
    map that does not mirror; with ``mirror`` every one.

    In two dimensions all planes of a stack move alike; in three the stack turns as a body.

    Parameters
    ----------
    rotation : float or tuple of float or sequence of ranges
        Degrees; one number r means -r to r. In two dimensions within the image, positive angles
        counter-clockwise as displayed with Y downwards. In three, one range is that about Z,
        and three ranges are those about Z, Y and X.
    scale : float or tuple of float or sequence of ranges
        Magnification, above 0; one number r means 1 - r to 1 + r. One range gives one factor
        for all axes; a sequence gives each axis, ([Z,] Y, X), a factor of its own.
    shear : float or tuple of float or sequence of ranges
        Shift along one axis per distance along another; one number r means -r to r. In two
        dimensions Y by X; in three Z by Y, Z by X and Y by X, from one range or three.
    translation : float or tuple of float or sequence of ranges
        Shift in voxels along each axis, ([Z,] Y, X), from one range or from one for each; one
        number r means -r to r.
    mirror : float
        Probability of each sample to be mirrored along X, before it is scaled. With rotations by
        any angle it does what ``RandomFlip`` does along X and Y, and costs nothing.
    p : float
        Probability of each sample to be transformed. Others are cropped without resampling.
    output_size : sequence of int or None
        (Y, X), keeping all planes, or (Z, Y, X): size of the result, about the centre voxel that
        ``CentreCrop`` takes. Extract larger patches to have image, not padding, turn in at the
        corners. In evaluation this is exactly ``CentreCrop``. None keeps the size.
    dimensions : {2, 3}
        Turn planes in themselves, or the stack as a body.
    spacing : sequence of float
        Distance of voxels along (Z, Y, X) in any unit, so that rotation and shear in three
        dimensions are those of the object where planes are farther apart than pixels.
    interpolation : {"linear", "cubic"}
        Cubic, in two dimensions only, keeps more of the finest texture, costs more, and can
        overshoot at edges.
    padding : {"reflection", "border", "zeros"}
        What lies outside the patch.

    Raises
    ------
    ValueError
        If a parameter is outside its range; when called, if patches are smaller than
        ``output_size``.
    """

    def __init__(
        self,
        rotation: Ranges = 0.0,
        scale: Ranges = 0.0,
        shear: Ranges = 0.0,
        translation: Ranges = 0.0,
        mirror: float = 0.0,
        p: float = 1.0,
        output_size: Sequence[int] | None = None,
        dimensions: Literal[2, 3] = 2,
        spacing: Sequence[float] = (1.0, 1.0, 1.0),
        interpolation: Literal["linear", "cubic"] = "linear",
        padding: Literal["reflection", "border", "zeros"] = "reflection",
    ) -> None:
        super().__init__(p)
        _check_options(dimensions, spacing, interpolation, padding)
        self.rotation = _per_axis(rotation, "rotation", _count_planes(dimensions), around=0)
        if dimensions == 3 and not _is_nested(rotation):
            self.rotation = [self.rotation[0], (0.0, 0.0), (0.0, 0.0)]
        self.scale = _per_axis(scale, "scale", dimensions, around=1)
        if min(low for low, _ in self.scale) <= 0:
            raise ValueError(f"scale must be above 0, got {scale}")
        self.one_scale = not _is_nested(scale)
        self.shear = _per_axis(shear, "shear", _count_planes(dimensions), around=0)
        self.translation = _per_axis(translation, "translation", dimensions, around=0)
        self.mirror = check_probability(mirror)
        self.output_size = None if output_size is None else read_size(output_size, "output_size")
        self.dimensions = dimensions
        self.spacing = tuple(float(distance) for distance in spacing)
        self.interpolation = interpolation
        self.padding = padding

    def evaluate(self, x_BCZYX: Tensor) -> Tensor:
        """Crop to the centre."""
        return x_BCZYX if self.output_size is None else centre_crop(x_BCZYX, self.output_size)

    def augment(self, x_BCZYX: Tensor, generator: torch.Generator | None) -> Tensor:
        """Resample the chosen samples."""
        cropped = self.evaluate(x_BCZYX)
        chosen = self.choose(x_BCZYX, generator)
        inverse, shift = self.draw_maps(x_BCZYX, generator)
        resampled = self.resample(x_BCZYX, inverse, shift)
        return resampled if self.p == 1 else torch.where(chosen, resampled, cropped)

    def draw_maps(
        self, x_BCZYX: Tensor, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor]:
        """Draw a map for each sample.

        Returns
        -------
        inverse : Tensor
            From positions in the result to those in the patch, in voxels relative to the centre:
            the inverse of ``R K S``, its S negative along X where a sample is mirrored, shape
            (B, n, n) for n dimensions in the order (Z, Y, X).
        shift : Tensor
            Translation t in voxels, shape (B, n).
        """

        def draw(ranges: Sequence[tuple[float, float]]) -> list[Tensor]:
            return [uniform((len(x_BCZYX),), r, x_BCZYX, generator) for r in ranges]

        n = self.dimensions
        angles = [torch.deg2rad(angle) for angle in draw(self.rotation)]
        factors = draw(self.scale[:1]) * n if self.one_scale else draw(self.scale)
        shears = draw(self.shear)
        shift = torch.stack(draw(self.translation), dim=1)
        if self.mirror > 0:
            [mirrored] = draw([(0.0, 1.0)])
            factors[-1] = torch.where(mirrored < self.mirror, -factors[-1], factors[-1])
        spacing = shift.new_tensor(self.spacing[-n:])
        inverse = torch.diag_embed(1 / torch.stack(factors, dim=1))
        inverse = inverse @ _inverse_shear(shears, n) @ _rotation(angles, n).mT
        return inverse * spacing / spacing[:, None], shift

    def resample(self, x_BCZYX: Tensor, inverse: Tensor, shift: Tensor) -> Tensor:
        """Sample each patch at the positions that its map gives, at the final size only.

        Parameters
        ----------
        x_BCZYX : Tensor
            Patches.
        inverse, shift : Tensor
            As from ``draw_maps``.
        """
        size = x_BCZYX.shape[2:] if self.output_size is None else self.output_size
        target = crop_lengths(x_BCZYX, tuple(size))
        if self.dimensions == 2:
            stack = centre_crop(x_BCZYX, (target[0], *x_BCZYX.shape[3:]))
            images = self._sample(stack.flatten(1, 2), target[1:], inverse, shift)
            return images.reshape(*stack.shape[:3], *target[1:])
        return self._sample(x_BCZYX, target, inverse, shift)

    def _sample(
        self, images: Tensor, target: tuple[int, ...], inverse: Tensor, shift: Tensor
    ) -> Tensor:
        """Sample images (B, C, ...) of n spatial axes at ``target`` size."""
        source = inverse.new_tensor(images.shape[2:])
        wanted = inverse.new_tensor(target)
        start = ((source - wanted) / 2).floor()
        # torch measures both images from -1 at the first edge to 1 at the last.
        linear = inverse * wanted / source[:, None]
        centre = (2 * start + wanted) / source - 1
        offset = centre - 2 * (inverse @ shift[:, :, None])[:, :, 0] / source
        # torch counts axes from the last: X before Y before Z.
        theta = torch.cat((linear.flip(1, 2), offset.flip(1)[:, :, None]), dim=2).to(images.dtype)
        grid = F.affine_grid(theta, [len(images), 1, *target], align_corners=False)
        mode = "bicubic" if self.interpolation == "cubic" else "bilinear"
        return F.grid_sample(images, grid, mode, self.padding, align_corners=False)


def _check_options(
    dimensions: int, spacing: Sequence[float], interpolation: str, padding: str
) -> None:
    """Check options that are one of a few."""
    if dimensions not in (2, 3):
        raise ValueError(f"dimensions must be 2 or 3, got {dimensions}")
    if len(spacing) != 3 or min(spacing) <= 0:
        raise ValueError(f"spacing must be three positive distances (Z, Y, X), got {spacing}")
    if interpolation not in ("linear", "cubic") or (interpolation == "cubic" and dimensions == 3):
        raise ValueError(
            "interpolation must be 'linear', or 'cubic' in two dimensions, "
            f"got {interpolation!r} in {dimensions}"
        )
    if padding not in ("reflection", "border", "zeros"):
        raise ValueError(f"padding must be 'reflection', 'border' or 'zeros', got {padding!r}")


def _count_planes(dimensions: int) -> int:
    """Number of planes, spanned by two axes each, in which one can rotate and shear."""
    return math.comb(dimensions, 2)


def _is_nested(values: Ranges) -> TypeGuard[Sequence[Range]]:
    """Whether ranges are given one by one."""
    return not isinstance(values, int | float) and not all(
        isinstance(value, int | float) for value in values
    )


def _per_axis(values: Ranges, name: str, count: int, around: float) -> list[tuple[float, float]]:
    """Read one range for each axis; a single one counts for all."""
    if not _is_nested(values):
        return [as_range(cast(Range, values), name, around=around)] * count
    if len(values) != count:
        raise ValueError(f"{name} must be one range or {count} ranges, got {values}")
    return [as_range(value, name, around=around) for value in values]


def _rotation(angles: Sequence[Tensor], n: int) -> Tensor:
    """Rotation matrices (B, n, n) from angles in radians; in 3-D about Z after Y after X."""
    planes = [(0, 1)] if n == 2 else [(1, 2), (0, 2), (0, 1)]
    matrix = torch.eye(n, device=angles[0].device).expand(len(angles[0]), n, n)
    for angle, (i, j) in zip(angles, planes, strict=True):
        turn = torch.eye(n, device=angle.device).repeat(len(angle), 1, 1)
        turn[:, i, i] = turn[:, j, j] = torch.cos(angle)
        turn[:, j, i] = torch.sin(angle)
        turn[:, i, j] = -turn[:, j, i]
        matrix = matrix @ turn
    return matrix


def _inverse_shear(shears: Sequence[Tensor], n: int) -> Tensor:
    """Inverses (B, n, n) of unit upper-triangular matrices, from their upper entries by row."""
    upper = torch.zeros(len(shears[0]), n, n, device=shears[0].device)
    rows, columns = torch.triu_indices(n, n, offset=1)
    upper[:, rows, columns] = torch.stack(list(shears), dim=1)
    # (1 + N)^-1 = 1 - N + N^2 because N^3 = 0. No general inverse: that makes a GPU wait.
    return torch.eye(n, device=upper.device) - upper + upper @ upper
