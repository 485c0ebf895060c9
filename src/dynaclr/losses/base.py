"""Base class of the losses: gathering over processes, precision, and the temperature."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class GatheredLoss(nn.Module):
    """A loss of the rows of one process, or of those of all processes that train together.

    Parameters
    ----------
    gather : bool
        Whether to compare the rows of all ranks.
    averaged_gradients : bool
        Whether parameter gradients are averaged over ranks afterwards.

    Raises
    ------
    ValueError
        If ``averaged_gradients`` is given without ``gather``.
    """

    def __init__(self, gather: bool, averaged_gradients: bool) -> None:
        super().__init__()
        if averaged_gradients and not gather:
            raise ValueError("averaged_gradients has no effect without gather=True")
        self.gather = gather
        self.averaged_gradients = averaged_gradients


class TemperedLoss(GatheredLoss):
    """A loss with a temperature, checked whenever it is set."""

    @property
    def temperature(self) -> float:
        """Divisor of the cosine similarities; may be set at any time, for a schedule."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"temperature must be positive and finite, got {value}")
        self._temperature = float(value)


def in_full_precision(embeddings: Tensor) -> Tensor:
    """Return embeddings as float64 if they are that, else as float32."""
    return embeddings.to(torch.float64 if embeddings.dtype == torch.float64 else torch.float32)
