"""Normalization by statistics that come with the batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    """Subtract and divide, with numbers of each sample and channel.

    Which statistics they are is the caller's choice: mean and standard deviation, median and
    interquartile range, a percentile and a percentile range; of the field of view, of the frame
    or of the experiment. It does the same in training and in evaluation.

    Parameters
    ----------
    smallest_divisor : float
        Divisors below this count as 1: a constant image has no contrast to be scaled.

    Raises
    ------
    ValueError
        If ``smallest_divisor`` is not positive.
    """

    def __init__(self, smallest_divisor: float = 1e-6) -> None:
        super().__init__()
        if smallest_divisor <= 0:
            raise ValueError(f"smallest_divisor must be positive, got {smallest_divisor}")
        self.smallest_divisor = smallest_divisor

    def forward(self, x_BCZYX: Tensor, subtrahend_BC: Tensor, divisor_BC: Tensor) -> Tensor:
        """Normalize a batch.

        Parameters
        ----------
        x_BCZYX : Tensor
            Patches of any real dtype, camera counts included, shape (B, C, Z, Y, X).
        subtrahend_BC, divisor_BC : Tensor
            Shape (B, C), or (1, C) or (B, 1) for numbers that samples or channels share. In the
            units of the patches.

        Returns
        -------
        Tensor
            Float32 (float64 for float64 patches). The difference is taken in that precision, so
            that unsigned counts below the subtrahend become negative and do not wrap around.

        Raises
        ------
        ValueError
            If shapes do not fit.
        """
        if x_BCZYX.ndim != 5:
            raise ValueError(f"patches must have axes (B, C, Z, Y, X), got {tuple(x_BCZYX.shape)}")
        dtype = torch.float64 if x_BCZYX.dtype == torch.float64 else torch.float32
        subtrahend = self._expand(subtrahend_BC, "subtrahend", x_BCZYX, dtype)
        divisor = self._expand(divisor_BC, "divisor", x_BCZYX, dtype)
        divisor = divisor.where(divisor >= self.smallest_divisor, 1)
        return (x_BCZYX.to(dtype) - subtrahend) / divisor

    @staticmethod
    def _expand(values_BC: Tensor, name: str, x_BCZYX: Tensor, dtype: torch.dtype) -> Tensor:
        """Bring statistics to the patches' device and to shape (B, C, 1, 1, 1)."""
        values_BC = torch.as_tensor(values_BC)
        batch, channels = x_BCZYX.shape[:2]
        shape = tuple(values_BC.shape)
        if len(shape) != 2 or shape[0] not in (1, batch) or shape[1] not in (1, channels):
            raise ValueError(
                f"{name} must have shape (samples, channels) = ({batch}, {channels}), got {shape}"
            )
        return values_BC.to(x_BCZYX.device, dtype)[:, :, None, None, None]
