"""Numbers that tell whether an embedding is healthy while it is trained."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Mean squared distance of positive pairs on the unit sphere; 0 is best.

    Parameters
    ----------
    first, second : Tensor, shape (B, D)
        Embeddings of the two sides of each pair.

    Notes
    -----
    Wang and Isola, "Understanding contrastive representation learning through alignment and
    uniformity on the hypersphere", ICML 2020, with exponent 2.
    """
    difference = normalize(first, dim=1) - normalize(second, dim=1)
    return difference.square().sum(dim=1).mean()


def uniformity(embeddings: Tensor) -> Tensor:
    """Log of the mean Gaussian potential over all pairs; lower is more evenly spread.

    Parameters
    ----------
    embeddings : Tensor, shape (B, D)
        With one row there is no pair, and the value is 0.

    Notes
    -----
    Wang and Isola, ICML 2020, with t = 2.
    """
    if len(embeddings) < 2:
        return embeddings.new_zeros(())
    squared = torch.pdist(normalize(embeddings, dim=1)).square()
    return squared.mul(-2).exp().mean().log()


def effective_rank(features: Tensor) -> Tensor:
    """Exponential of the entropy of the normalized singular values of the centred features.

    Parameters
    ----------
    features : Tensor, shape (B, D)

    Returns
    -------
    Tensor
        Between 1 (all rows on one line: collapsed) and min(B - 1, D).

    Notes
    -----
    Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
    """
    centred = features - features.mean(dim=0)
    singular = torch.linalg.svdvals(centred)
    shares = singular / singular.sum().clamp_min(torch.finfo(singular.dtype).tiny)
    return torch.special.entr(shares).sum().exp()
