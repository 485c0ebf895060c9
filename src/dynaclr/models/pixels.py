"""Principal components of pixels, in the form of an encoder: a baseline that learns linearly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class PixelComponents(nn.Module):
    """Coordinates of patches on fitted principal components of their pixels.

    It has no trained parameters and, like an encoder, returns features and projections (here the
    same).

    Parameters
    ----------
    mean : Tensor
        Mean patch, flattened to (P,), P = C Z Y X.
    components : Tensor
        Orthonormal rows, shape (K, P).
    """

    mean: Tensor
    components: Tensor

    def __init__(self, mean: Tensor, components: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("components", components)

    @classmethod
    def fit(cls, x_BCZYX: Tensor, n_components: int, seed: int = 0) -> PixelComponents:
        """Fit to patches.

        Randomized singular value decomposition (Halko, Martinsson and Tropp, 2011, SIAM Review 53,
        217) with eight oversampled directions and four power iterations.

        Parameters
        ----------
        x_BCZYX : Tensor
            Patches, shape (B, C, Z, Y, X).
        n_components : int
            K above; fewer where B or P is smaller.
        seed : int

        Returns
        -------
        PixelComponents
        """
        flat_BP = x_BCZYX.flatten(1)
        mean_P = flat_BP.mean(0)
        centred_BP = flat_BP - mean_P
        n_components = min(n_components, *centred_BP.shape)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            n_directions = min(n_components + 8, *centred_BP.shape)
            _, _, vectors_PQ = torch.svd_lowrank(centred_BP, q=n_directions, niter=4)
        components_KP = vectors_PQ.T[:n_components].contiguous()
        # A component's sign is free: let its largest weight be positive.
        largest = components_KP.gather(1, components_KP.abs().argmax(1, keepdim=True))
        return cls(mean_P, components_KP * largest.sign())

    def feature_names(self, markers: Sequence[str]) -> list[str]:
        """Names of the features, which are of all channels together: ``pixels_00``."""
        return [f"pixels_{number:02d}" for number in range(len(self.components))]

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, K): coordinates on the components."""
        features = (x_BCZYX.flatten(1) - self.mean) @ self.components.T
        return features, features
