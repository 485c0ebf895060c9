"""What all transforms share: checks, modes, and random numbers for each sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from inspect import signature

import torch
from torch import Tensor, nn

Range = float | tuple[float, float]


def check_patches(x_BCZYX: Tensor) -> None:
    """Check that patches are floating point with five axes.

    Raises
    ------
    TypeError
        If the patches are integers: camera counts are to be normalized first.
    ValueError
        If the number of axes is not five.
    """
    if x_BCZYX.ndim != 5:
        raise ValueError(f"patches must have axes (B, C, Z, Y, X), got {tuple(x_BCZYX.shape)}")
    if not x_BCZYX.is_floating_point():
        raise TypeError(
            f"patches must be floating point, got {x_BCZYX.dtype}; apply Normalize first"
        )


def check_probability(p: float) -> float:
    """Return a probability, or raise ValueError."""
    if not 0 <= p <= 1:
        raise ValueError(f"p must be a probability in [0, 1], got {p}")
    return float(p)


def as_range(
    values: Range, name: str, *, around: float | None = None, lowest: float = -math.inf
) -> tuple[float, float]:
    """Read a range of a parameter.

    Parameters
    ----------
    values : float or tuple of float
        (low, high), or one number r: ``around - r`` to ``around + r``, or r itself where
        ``around`` is None.
    name : str
        Name of the parameter, for messages.
    around : float or None
        Centre of ranges that are given as one number.
    lowest : float
        Smallest value that makes sense.

    Raises
    ------
    ValueError
        If it is no range, or goes below ``lowest``.
    """
    if isinstance(values, int | float):
        low, high = (values, values) if around is None else (around - values, around + values)
    elif len(values) == 2:
        low, high = values
    else:
        raise ValueError(f"{name} must be a number or a range (low, high), got {values}")
    if not lowest <= low <= high < math.inf:
        bound = f", low >= {lowest}" if lowest > -math.inf else ""
        raise ValueError(f"{name} must have finite low <= high{bound}, got {values}")
    return float(low), float(high)


def uniform(
    shape: Sequence[int],
    bounds: tuple[float, float],
    like: Tensor,
    generator: torch.Generator | None,
) -> Tensor:
    """Draw float32 numbers in [low, high) on the device of ``like``.

    They are drawn on the generator's own device: a generator on the CPU gives the same numbers
    whatever device the patches are on.
    """
    low, high = bounds
    device = like.device if generator is None else generator.device
    drawn = torch.rand(tuple(shape), generator=generator, device=device).to(like.device)
    return low + (high - low) * drawn


def normal(shape: Sequence[int], like: Tensor, generator: torch.Generator | None) -> Tensor:
    """Draw standard normal float32 numbers on the device of ``like``; see ``uniform``."""
    device = like.device if generator is None else generator.device
    return torch.randn(tuple(shape), generator=generator, device=device).to(like.device)


class RandomTransform(nn.Module):
    """Base of all random transforms: ``forward(x_BCZYX, generator=None)``.

    In training mode every sample of the batch is transformed with probability ``p``, each with
    its own parameters. In evaluation mode nothing happens, except that transforms that crop keep
    the centre. All randomness comes from the generator, or from torch's default generator of the
    device if none is given. Device and floating-point dtype are kept; half precision is computed
    in float32.

    Parameters
    ----------
    p : float
        Probability of each sample to be transformed.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = check_probability(p)

    def forward(self, x_BCZYX: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Transform a batch.

        Parameters
        ----------
        x_BCZYX : Tensor
            Normalized patches, floating point, shape (B, C, Z, Y, X); never changed in place.
        generator : torch.Generator or None
            Source of all random numbers.

        Returns
        -------
        Tensor
            Patches of the same dtype on the same device.

        Raises
        ------
        TypeError
            If the patches are not floating point.
        ValueError
            If they do not have five axes, or do not fit the transform's parameters.
        """
        check_patches(x_BCZYX)
        if not self.training:
            return self.evaluate(x_BCZYX)
        half = x_BCZYX.dtype.itemsize < 4
        with torch.autocast(x_BCZYX.device.type, enabled=False):
            work = x_BCZYX.float() if half else x_BCZYX
            return self.augment(work, generator).to(x_BCZYX.dtype)

    def evaluate(self, x_BCZYX: Tensor) -> Tensor:
        """Return what evaluation sees; here the patches themselves."""
        return x_BCZYX

    def augment(self, x_BCZYX: Tensor, generator: torch.Generator | None) -> Tensor:
        """Transform patches of at least single precision, sample by sample."""
        raise NotImplementedError

    def choose(self, x_BCZYX: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw which samples to transform: boolean, shape (B, 1, 1, 1, 1)."""
        drawn = uniform((len(x_BCZYX), 1, 1, 1, 1), (0.0, 1.0), x_BCZYX, generator)
        return drawn < self.p


class Compose(nn.Module):
    """Transforms one after another, with one generator.

    Parameters
    ----------
    transforms : sequence of nn.Module
        Each with ``forward(x_BCZYX, generator=None)``.

    Examples
    --------
    Anchor and positive are augmented independently by two calls:

    >>> from dynaclr.transforms import Compose, RandomAffine, RandomFlip
    >>> augment = Compose([RandomAffine(rotation=180, output_size=(8, 8)), RandomFlip()])
    >>> generator = torch.Generator().manual_seed(0)
    >>> patches = torch.randn(2, 1, 1, 12, 12)
    >>> anchor, positive = augment(patches, generator), augment(patches, generator)
    >>> anchor.shape
    torch.Size([2, 1, 1, 8, 8])
    >>> bool((augment.eval()(patches) == patches[..., 2:10, 2:10]).all())
    True
    """

    def __init__(self, transforms: Sequence[nn.Module]) -> None:
        super().__init__()
        self.transforms = nn.ModuleList(transforms)

    def forward(
        self,
        x_BCZYX: Tensor,
        generator: torch.Generator | None = None,
        present_BC: Tensor | None = None,
    ) -> Tensor:
        """Apply all transforms in order; arguments and errors as in ``RandomTransform``.

        ``present_BC``, whether a channel of a sample was imaged, goes to those that ask for it.
        """
        check_patches(x_BCZYX)
        for transform in self.transforms:
            asks = "present_BC" in signature(transform.forward).parameters
            facts = {"present_BC": present_BC} if asks else {}
            x_BCZYX = transform(x_BCZYX, generator, **facts)
        return x_BCZYX
