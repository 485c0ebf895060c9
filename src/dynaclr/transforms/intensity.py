"""Changes of intensity, noise and blur."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dynaclr.transforms.base import RandomTransform, Range, as_range, normal, uniform


class IntensityTransform(RandomTransform):
    """Base of transforms that change values, not positions.

    Parameters
    ----------
    p : float
        Probability of each sample to be transformed; with ``per_channel``, of each channel of
        each sample.
    channels : sequence of int or None
        Channels that may change; None for all. Others stay as they are.
    per_channel : bool
        Draw choice and strength for each channel of a sample, not once for all its channels:
        right for channels that are recorded by separate detectors or dyes.

    Raises
    ------
    ValueError
        If ``p`` is no probability, or channels are negative, repeated or none; in training, if a
        channel does not exist in the patches.
    """

    def __init__(
        self, p: float, channels: Sequence[int] | None = None, per_channel: bool = True
    ) -> None:
        super().__init__(p)
        self.channels = None if channels is None else read_channels(channels)
        self.per_channel = per_channel

    def augment(self, x_BCZYX: Tensor, generator: torch.Generator | None) -> Tensor:
        """Change the chosen channels of the chosen samples."""
        return self.change(x_BCZYX, self.choose(x_BCZYX, generator), generator)

    def change(self, x_BCZYX: Tensor, chosen: Tensor, generator: torch.Generator | None) -> Tensor:
        """Change the patches where they are chosen, each with strengths of its own.

        Parameters
        ----------
        x_BCZYX : Tensor
        chosen : Tensor
            Boolean, as from `choose`.
        generator : torch.Generator or None
        """
        raise NotImplementedError

    def choose(self, x_BCZYX: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draw which channels of which samples change: boolean, shape (B, C, 1, 1, 1)."""
        chosen = self.draw((0.0, 1.0), x_BCZYX, generator) < self.p
        if self.channels is None:
            return chosen
        return chosen & channel_mask(self.channels, x_BCZYX)

    def draw(
        self, bounds: tuple[float, float], x_BCZYX: Tensor, generator: torch.Generator | None
    ) -> Tensor:
        """Draw numbers of shape (B, C, 1, 1, 1), or (B, 1, 1, 1, 1) if channels share them."""
        channels = x_BCZYX.shape[1] if self.per_channel else 1
        drawn = uniform((len(x_BCZYX), channels, 1, 1, 1), bounds, x_BCZYX, generator)
        return drawn.to(x_BCZYX.dtype)

    def draw_where(
        self,
        chosen: Tensor,
        bounds: tuple[float, float],
        neutral: float,
        x_BCZYX: Tensor,
        generator: torch.Generator | None,
    ) -> Tensor:
        """Draw strengths, with the one that changes nothing where a sample is not chosen.

        So patches are passed over once, not a second time to take back what was not chosen.
        """
        return self.draw(bounds, x_BCZYX, generator).where(chosen, neutral)


def read_channels(channels: Sequence[int]) -> tuple[int, ...]:
    """Read channel numbers.

    Raises
    ------
    ValueError
        If there are none, or if one is negative or repeated.
    """
    channels = tuple(int(channel) for channel in channels)
    if not channels or min(channels) < 0 or len(set(channels)) < len(channels):
        raise ValueError(f"channels must be different channel numbers from 0 on, got {channels}")
    return channels


def channel_mask(channels: tuple[int, ...], x_BCZYX: Tensor) -> Tensor:
    """Boolean (1, C, 1, 1, 1), true at the given channels.

    Raises
    ------
    ValueError
        If the patches lack one of the channels.
    """
    present = x_BCZYX.shape[1]
    if max(channels) >= present:
        raise ValueError(f"channels {channels} do not all exist: patches have {present} channels")
    mask = torch.zeros(1, present, 1, 1, 1, dtype=torch.bool)
    mask[:, list(channels)] = True
    return mask.to(x_BCZYX.device)


class RandomGamma(IntensityTransform):
    """Bend contrast by a power law between each channel's own minimum and maximum.

    With u the values scaled to [0, 1] over the (Z, Y, X) of one channel of one sample, u becomes
    u ** gamma; minimum and maximum stay. A constant channel stays as it is.

    Parameters
    ----------
    gamma : float or tuple of float
        Range of the exponent; one number r means 1 - r to 1 + r. Above 1 darkens the mid-tones.
    p, channels, per_channel
        As in ``IntensityTransform``.

    Raises
    ------
    ValueError
        As ``IntensityTransform``; if the exponent could be 0, which would leave no contrast.
    """

    def __init__(
        self,
        gamma: Range = (0.7, 1.5),
        p: float = 0.5,
        channels: Sequence[int] | None = None,
        per_channel: bool = True,
    ) -> None:
        super().__init__(p, channels, per_channel)
        self.gamma = as_range(gamma, "gamma", around=1)
        if self.gamma[0] <= 0:
            raise ValueError(f"gamma must be greater than 0, got {gamma}")

    def change(self, x_BCZYX: Tensor, chosen: Tensor, generator: torch.Generator | None) -> Tensor:
        """Bend the contrast."""
        low, high = x_BCZYX.amin((2, 3, 4), keepdim=True), x_BCZYX.amax((2, 3, 4), keepdim=True)
        span = (high - low).clamp_min(torch.finfo(x_BCZYX.dtype).tiny)
        gamma = self.draw(self.gamma, x_BCZYX, generator)
        bent = low + ((x_BCZYX - low) / span).pow(gamma) * (high - low)
        return torch.where(chosen, bent, x_BCZYX)


class RandomIntensityScale(IntensityTransform):
    """Multiply by a factor.

    Parameters
    ----------
    factor : float or tuple of float
        Range of the factor; one number r means 1 - r to 1 + r.
    p, channels, per_channel
        As in ``IntensityTransform``.
    """

    def __init__(
        self,
        factor: Range = (0.7, 1.3),
        p: float = 0.5,
        channels: Sequence[int] | None = None,
        per_channel: bool = True,
    ) -> None:
        super().__init__(p, channels, per_channel)
        self.factor = as_range(factor, "factor", around=1, lowest=0)

    def change(self, x_BCZYX: Tensor, chosen: Tensor, generator: torch.Generator | None) -> Tensor:
        """Multiply."""
        return x_BCZYX * self.draw_where(chosen, self.factor, 1.0, x_BCZYX, generator)


class RandomIntensityShift(IntensityTransform):
    """Add an offset.

    Parameters
    ----------
    offset : float or tuple of float
        Range of the offset in normalized intensity units; one number r means -r to r.
    p, channels, per_channel
        As in ``IntensityTransform``.
    """

    def __init__(
        self,
        offset: Range = 0.3,
        p: float = 0.5,
        channels: Sequence[int] | None = None,
        per_channel: bool = True,
    ) -> None:
        super().__init__(p, channels, per_channel)
        self.offset = as_range(offset, "offset", around=0)

    def change(self, x_BCZYX: Tensor, chosen: Tensor, generator: torch.Generator | None) -> Tensor:
        """Add."""
        return x_BCZYX + self.draw_where(chosen, self.offset, 0.0, x_BCZYX, generator)


class RandomGaussianNoise(IntensityTransform):
    """Add Gaussian noise, independent in every voxel of every sample.

    Parameters
    ----------
    std : tuple of float or float
        Range of the noise's standard deviation in normalized intensity units; one number means
        just that.
    p, channels, per_channel
        As in ``IntensityTransform``.
    """

    def __init__(
        self,
        std: Range = (0.0, 0.2),
        p: float = 0.5,
        channels: Sequence[int] | None = None,
        per_channel: bool = True,
    ) -> None:
        super().__init__(p, channels, per_channel)
        self.std = as_range(std, "std", lowest=0)

    def change(self, x_BCZYX: Tensor, chosen: Tensor, generator: torch.Generator | None) -> Tensor:
        """Add noise."""
        std = self.draw_where(chosen, self.std, 0.0, x_BCZYX, generator)
        return torch.addcmul(x_BCZYX, std, normal(x_BCZYX.shape, x_BCZYX, generator))


class RandomGaussianSmooth(IntensityTransform):
    """Blur with a Gaussian of a width of its own.

    Weights are the sampled Gaussian, scaled to sum 1 over the voxels inside the patch: nothing
    is invented beyond its border, and a constant stays constant.

    Parameters
    ----------
    sigma : tuple of float or float
        Range of the standard deviation along Y and X in pixels; one number means just that.
    sigma_z : tuple of float or float
        The same along Z in planes; 0 leaves planes apart.
    p, channels, per_channel
        As in ``IntensityTransform``.
    """

    def __init__(
        self,
        sigma: Range = (0.25, 1.0),
        sigma_z: Range = 0.0,
        p: float = 0.5,
        channels: Sequence[int] | None = None,
        per_channel: bool = True,
    ) -> None:
        super().__init__(p, channels, per_channel)
        self.sigma = as_range(sigma, "sigma", lowest=0)
        self.sigma_z = as_range(sigma_z, "sigma_z", lowest=0)

    def change(self, x_BCZYX: Tensor, chosen: Tensor, generator: torch.Generator | None) -> Tensor:
        """Blur along X, Y and Z, one after the other."""
        sigma = self.draw_where(chosen, self.sigma, 0.0, x_BCZYX, generator)
        # Patches are narrow, so that a product with a full matrix of weights is faster than a
        # convolution with another kernel for each sample and channel.
        height, width = x_BCZYX.shape[3:]
        along_x = _gaussian_weights(sigma, width)
        along_y = along_x if height == width else _gaussian_weights(sigma, height)
        x_BCZYX = along_y @ (x_BCZYX @ along_x.mT)
        if self.sigma_z[1] > 0 and x_BCZYX.shape[2] > 1:
            sigma_z = self.draw_where(chosen, self.sigma_z, 0.0, x_BCZYX, generator)
            along_z = _gaussian_weights(sigma_z, x_BCZYX.shape[2])[:, :, 0]
            x_BCZYX = (along_z @ x_BCZYX.flatten(3)).reshape(x_BCZYX.shape)
        return x_BCZYX


def _gaussian_weights(sigma: Tensor, length: int) -> Tensor:
    """Weights (..., length, length) that blur along an axis, from sigma of shape (..., 1, 1)."""
    distance = torch.arange(1 - length, length, device=sigma.device, dtype=sigma.dtype)
    # Far below a pixel the Gaussian is one sample; a sigma of 0 would be 0 / 0.
    exponent = 0.5 * (distance / sigma[..., 0].clamp_min(1e-2)).square()
    # What is below rounding becomes zero: products with denormal numbers are many times slower.
    kernel = torch.exp(-exponent.clamp_max(40)).masked_fill(exponent > 40, 0)
    # Row i of the weights is the kernel moved by i.
    weights = kernel.unfold(-1, length, 1).flip(-2)
    return weights / weights.sum(-1, keepdim=True)
