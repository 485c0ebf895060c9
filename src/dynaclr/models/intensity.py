"""Intensity statistics of patches, in the form of an encoder: the baseline without learning."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


class IntensityFeatures(nn.Module):
    """Mean, standard deviation and quantiles of each channel of a patch.

    It has no parameters and, like an encoder, returns features and projections (here the same).
    """

    names = (
        "intensity_mean",
        "intensity_std",
        *(f"intensity_p{q * 100:02.0f}" for q in _QUANTILES),
    )

    def feature_names(self, markers: Sequence[str]) -> list[str]:
        """Names of the features: ``<statistic>:<marker>``."""
        return names_by_marker(self.names, markers)

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, 9 C): per channel mean, std and the 1, 5, 25, 50, 75, 95, 99 percentiles."""
        x_BCP = x_BCZYX.flatten(2)
        quantiles_QBC = torch.quantile(x_BCP, x_BCP.new_tensor(_QUANTILES), dim=2)
        statistics = [x_BCP.mean(2), x_BCP.std(2, correction=0), *quantiles_QBC]
        features = torch.stack(statistics, dim=2).flatten(1)
        return features, features


def names_by_marker(names: Sequence[str], markers: Sequence[str]) -> list[str]:
    """Names of features that come channel by channel.

    A bag of channels has one channel and no markers: there the names stay as they are.
    """
    return [f"{name}:{marker}" for marker in markers for name in names] or list(names)
