"""Texture and shape of patches, in the form of an encoder: the strongest baseline made by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor, nn

from dynaclr.models.intensity import IntensityFeatures, names_by_marker

_SIGMAS = (1.0, 2.0, 4.0)
_RADII = (1, 2)
_RINGS = 6
_BINS = 64
# Neighbours of a pixel in the order of a circle.
_CIRCLE = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
_SMALLEST = 1e-6
# Pixels that are taken at once: what is computed on the way takes 30 times their memory.
_PIXELS_AT_ONCE = 1 << 19

Columns = dict[str, Tensor]


class TextureFeatures(nn.Module):
    """Intensity, texture and shape of each channel of a patch, as numbers with names.

    Beside `IntensityFeatures` they are, of the whole patch and of the object in its middle: local
    contrast, gradient and Laplacian of Gaussian at three scales, and local binary patterns at two
    (Ojala, Pietikäinen and Mäenpää, 2002, IEEE Transactions on Pattern Analysis and Machine
    Intelligence 24, 971). Mean and spread in rings around the centre; area, axes, outline and
    contrast of the object. Amounts are logarithms, so that a linear classifier sees ratios. Of a
    stack they are means over its planes.

    Turned by 90 degrees or mirrored, a patch has the same features, and none but those of intensity
    depends on an offset of all pixels. It has no parameters and, like an encoder, returns features
    and projections (here the same).
    """

    def __init__(self) -> None:
        super().__init__()
        self._intensity = IntensityFeatures()

    def feature_names(self, markers: Sequence[str]) -> list[str]:
        """Names of the features: ``<feature>:<marker>``."""
        names = [*self._intensity.names, *_columns(torch.zeros(1, 8, 8))]
        return names_by_marker(names, markers)

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, F C) of normalized patches of 8 x 8 pixels or more, channel by channel."""
        b, c, z = x_BCZYX.shape[:3]
        n_planes = max(1, _PIXELS_AT_ONCE // x_BCZYX[0, 0, 0].numel())
        parts = torch.split(x_BCZYX.flatten(0, 2), n_planes)
        of_planes = torch.cat([torch.stack([*_columns(p).values()], dim=1) for p in parts])
        of_stacks = of_planes.view(b, c, z, -1).mean(2)
        of_intensity = self._intensity(x_BCZYX)[0].view(b, c, -1)
        features = torch.cat([of_intensity, of_stacks], dim=2).flatten(1)
        return features, features


def _columns(x_NYX: Tensor) -> Columns:
    """Every feature of planes but those of intensity, each (N,)."""
    # No offset matters, and without one there is less rounding: an even patch is zero.
    x_NYX = x_NYX - x_NYX.amin(dim=(1, 2), keepdim=True)
    y, x = (torch.arange(n, device=x_NYX.device) - (n - 1) / 2 for n in x_NYX.shape[1:])
    radius_YX = torch.hypot(y[:, None], x)
    middle_YX = torch.exp(-0.5 * (radius_YX / (min(x_NYX.shape[1:]) / 5)) ** 2)
    bright_NYX = _above_otsu(x_NYX)
    object_NYX = _object_in_the_middle(bright_NYX, middle_YX)
    # Without an object: of the middle.
    weights = {"": torch.ones_like(x_NYX), "_object": object_NYX + _SMALLEST * middle_YX}
    return (
        _contrast(x_NYX, weights)
        | _binary_patterns(x_NYX, weights)
        | _rings(x_NYX, radius_YX)
        | _object_shape(object_NYX, radius_YX)
        | _object_contrast(x_NYX, bright_NYX, object_NYX)
    )


def _log(amount: Tensor) -> Tensor:
    return amount.clamp_min(_SMALLEST).log()


def _mean(values_NYX: Tensor, weights_NYX: Tensor) -> Tensor:
    total = torch.einsum("nyx,nyx->n", values_NYX.to(weights_NYX.dtype), weights_NYX)
    return total / weights_NYX.sum(dim=(1, 2)).clamp_min(_SMALLEST**2)


def _contrast(x_NYX: Tensor, weights: Columns) -> Columns:
    """Root mean squares of what smoothing takes away, of gradient and Laplacian, by scale."""
    columns = {}
    for sigma in _SIGMAS:
        (sy, dy, ddy), (sx, dx, ddx) = (_gaussian(n, sigma, x_NYX) for n in x_NYX.shape[1:])
        along_y, along_x = dy @ x_NYX @ sx.T, sy @ x_NYX @ dx.T
        squares = {
            "contrast": (x_NYX - sy @ x_NYX @ sx.T) ** 2,
            "gradient": sigma**2 * (along_y**2 + along_x**2),
            "laplacian": sigma**4 * (ddy @ x_NYX @ sx.T + sy @ x_NYX @ ddx.T) ** 2,
        }
        for suffix, weights_NYX in weights.items():
            for name, values in squares.items():
                columns[f"{name}_{sigma:g}{suffix}"] = _log(_mean(values, weights_NYX)) / 2
    return columns


def _gaussian(n: int, sigma: float, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices (n, n) that smooth along an axis, and its first and second differences.

    On a CPU they are faster than torch's convolutions, by far.
    """
    position = torch.arange(n, device=like.device, dtype=like.dtype)
    distance = (position[:, None] - position).abs() / sigma
    # Smaller weights would be denormal numbers, which take a CPU ten times as long.
    kernel = torch.exp(-0.5 * distance**2).where(distance <= 4, 0)
    smooth = kernel / kernel.sum(1, keepdim=True)
    padded = torch.cat([smooth[:1], smooth, smooth[-1:]])
    return smooth, (padded[2:] - padded[:-2]) / 2, padded[2:] - 2 * smooth + padded[:-2]


def _binary_patterns(x_NYX: Tensor, weights: Columns) -> Columns:
    """Shares of pixels by how many of 8 neighbours are brighter; 9: not in one run of them."""
    columns: Columns = {}
    for radius in _RADII:
        along_y, along_x = (_gaussian(n, radius / 2, x_NYX)[0] for n in x_NYX.shape[1:])
        smooth = along_y @ x_NYX @ along_x.T
        inner = (..., slice(radius, -radius), slice(radius, -radius))
        higher = torch.stack(
            [
                (smooth.roll((-radius * dy, -radius * dx), (1, 2)) > smooth)[inner]
                for dy, dx in _CIRCLE
            ]
        )
        changes = (higher ^ higher.roll(1, 0)).sum(0)
        # Numbered from 10 on in the second patch, and so on: one count gives the shares of all.
        pattern = higher.sum(0).where(changes <= 2, 9)
        pattern += 10 * torch.arange(len(pattern), device=pattern.device)[:, None, None]
        for suffix, weights_NYX in weights.items():
            own = weights_NYX[inner].flatten()
            share_NK = torch.bincount(pattern.flatten(), own, 10 * len(pattern)).view(-1, 10)
            share_NK = share_NK / share_NK.sum(1, keepdim=True)
            names = (f"lbp{radius}_{number:02d}{suffix}" for number in range(10))
            columns |= dict(zip(names, share_NK.unbind(1), strict=True))
    return columns


def _rings(x_NYX: Tensor, radius_YX: Tensor) -> Columns:
    """Mean, relative to the patch, and standard deviation in rings of equal width."""
    ring_P = (radius_YX / radius_YX.max() * _RINGS).long().clamp_max(_RINGS - 1).flatten()
    weights_PR = F.one_hot(ring_P, _RINGS).to(x_NYX.dtype)
    weights_PR = weights_PR / weights_PR.sum(0).clamp_min(1)
    x_NP = (x_NYX - x_NYX.mean(dim=(1, 2), keepdim=True)).flatten(1)
    mean_NR = x_NP @ weights_PR
    variance_NR = x_NP**2 @ weights_PR - mean_NR**2
    columns = {f"ring_mean_{ring}": mean_NR[:, ring] for ring in range(_RINGS)}
    return columns | {f"ring_std_{ring}": _log(variance_NR[:, ring]) / 2 for ring in range(_RINGS)}


def _object_shape(object_NYX: Tensor, radius_YX: Tensor) -> Columns:
    """Area, place, second moments and outline of the object; without one, as of a single pixel."""
    mask = object_NYX.to(radius_YX.dtype)
    n_pixels = mask.sum(dim=(1, 2)).clamp_min(1)
    y, x = (torch.arange(n, device=mask.device, dtype=mask.dtype) for n in mask.shape[1:])
    rows, columns = mask.sum(2) / n_pixels[:, None], mask.sum(1) / n_pixels[:, None]
    y_mean, x_mean = rows @ y, columns @ x
    yy, xx = rows @ y**2 - y_mean**2, columns @ x**2 - x_mean**2
    xy = torch.einsum("nyx,y,x->n", mask, y, x) / n_pixels - y_mean * x_mean
    # A pixel has an extent, and so a moment of 1/12.
    middle, half = (yy + xx) / 2 + 1 / 12, torch.hypot((yy - xx) / 2, xy)
    long, short = middle + half, (middle - half).clamp_min(1 / 12)
    edges = mask.diff(dim=1).abs().sum(dim=(1, 2)) + mask.diff(dim=2).abs().sum(dim=(1, 2))
    return {
        "object_area": n_pixels.log(),
        "object_distance": _mean(radius_YX.expand_as(mask), mask),
        "object_long_axis": long.log() / 2,
        "object_short_axis": short.log() / 2,
        "object_eccentricity": (1 - short / long).clamp_min(0).sqrt(),
        # 1 of an ellipse, more where the object is hollow or ragged.
        "object_extent": 4 * torch.pi * (long * short).sqrt() / n_pixels,
        "object_outline": edges / n_pixels.sqrt(),
    }


def _object_contrast(x_NYX: Tensor, bright_NYX: Tensor, object_NYX: Tensor) -> Columns:
    """How much brighter the object is than what is dark, and how even."""
    mask, dark = object_NYX.to(x_NYX.dtype), (~bright_NYX).to(x_NYX.dtype)
    inside = _mean(x_NYX, mask)
    variance = _mean((x_NYX - inside[:, None, None]) ** 2, mask)
    found = object_NYX.flatten(1).any(1)
    return {
        "bright_area": 1 - dark.mean(dim=(1, 2)),
        "object_contrast": _log((inside - _mean(x_NYX, dark)) * found),
        "object_std": _log(variance) / 2,
    }


def _above_otsu(x_NYX: Tensor) -> Tensor:
    """Whether each pixel is above its patch's threshold; none of an even patch.

    N. Otsu (1979), IEEE Transactions on Systems, Man and Cybernetics 9, 62.
    """
    lowest, highest = x_NYX.amin(dim=(1, 2), keepdim=True), x_NYX.amax(dim=(1, 2), keepdim=True)
    scaled = (x_NYX - lowest) / (highest - lowest).clamp_min(_SMALLEST)
    bin_NP = (scaled * _BINS).long().clamp_max(_BINS - 1).flatten(1)
    counts = scaled.new_zeros(len(x_NYX), _BINS)
    counts.scatter_add_(1, bin_NP, torch.ones_like(bin_NP, dtype=counts.dtype))
    below = counts.cumsum(1)[:, :-1] / bin_NP.shape[1]
    sums = (counts * torch.arange(_BINS, device=x_NYX.device)).cumsum(1) / bin_NP.shape[1]
    between = (sums[:, -1:] * below - sums[:, :-1]) ** 2 / (below * (1 - below)).clamp_min(
        _SMALLEST
    )
    return (bin_NP > between.argmax(1, keepdim=True)).view_as(x_NYX)


def _object_in_the_middle(bright_NYX: Tensor, middle_YX: Tensor) -> Tensor:
    """The connected object that fills most of the middle; none where none does."""
    # Pixels of one plane touch, planes do not.
    touching = np.zeros((3, 3, 3), bool)
    touching[1] = True
    labels, _ = ndimage.label(bright_NYX.cpu().numpy(), touching)
    weights = np.broadcast_to(middle_YX.cpu().numpy(), labels.shape)
    filled = np.bincount(labels.ravel(), weights.ravel())
    filled[0] = 0
    labels_NP = labels.reshape(len(labels), -1)
    chosen_N1 = np.take_along_axis(labels_NP, filled[labels_NP].argmax(axis=1)[:, None], axis=1)
    chosen = torch.from_numpy((labels_NP == chosen_N1).reshape(labels.shape))
    return chosen.to(bright_NYX.device) & bright_NYX
