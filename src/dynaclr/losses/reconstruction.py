"""Losses of autoencoders: how well patches are reconstructed, at which cost."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def squared_error(made: Tensor, wanted: Tensor, counted: Tensor | None = None) -> Tensor:
    """Mean squared difference over the voxels that count, in float32.

    Parameters
    ----------
    made, wanted : Tensor
        Shape (B, C, Z, Y, X), in units of the normalized patches.
    counted : Tensor, optional
        Which voxels count: booleans that broadcast to that shape; default: all.

    Returns
    -------
    Tensor
        Scalar; 0, still differentiable, where none counts.
    """
    squared = (made.float() - wanted.float()).square()
    if counted is None:
        return squared.mean()
    counted = counted.expand_as(squared)
    return squared.where(counted, 0).sum() / counted.sum().clamp_min(1)


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of normal distributions from the standard one.

    Parameters
    ----------
    mean, log_variance : Tensor
        Of independent normal distributions, shape (B, D).

    Returns
    -------
    Tensor
        Scalar: nats a row, summed over D, in float32.
    """
    mean, log_variance = mean.float(), log_variance.float()
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()


class VariationalLoss(nn.Module):
    """Squared error and weighted divergence of a variational autoencoder, by voxel.

    With ``beta=1`` it is the negative evidence lower bound by voxel, without its constant, where
    pixels have normal noise of variance 1/2 (Kingma and Welling 2014, *Auto-encoding variational
    Bayes*); larger weights are those of Higgins et al. 2017 (*beta-VAE*).

    Parameters
    ----------
    beta : float
        Weight of the divergence, not negative.

    Attributes
    ----------
    beta : float
        May be set at any time, for a schedule over epochs.

    Raises
    ------
    ValueError
        If ``beta`` is negative.
    """

    def __init__(self, beta: float = 1.0) -> None:
        super().__init__()
        self.beta = beta

    @property
    def beta(self) -> float:
        """Weight of the divergence."""
        return self._beta

    @beta.setter
    def beta(self, value: float) -> None:
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"beta must be finite and not negative, got {value}")
        self._beta = float(value)

    def forward(
        self,
        made: Tensor,
        wanted: Tensor,
        mean: Tensor,
        log_variance: Tensor,
        counted: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss of a batch.

        Parameters
        ----------
        made, wanted, counted
            As in `squared_error`.
        mean, log_variance
            As in `divergence`.

        Returns
        -------
        Tensor
            Scalar, float32.
        """
        with torch.autocast(made.device.type, enabled=False):
            by_voxel = divergence(mean, log_variance) / wanted[0].numel()
            return squared_error(made, wanted, counted) + self.beta * by_voxel
