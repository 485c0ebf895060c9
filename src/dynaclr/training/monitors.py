"""Measures of the health of an embedding during training."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

_RANKED_ROWS = 128
# Spread of features around their mean, by their length, below which they differ by no more than
# rounding: bf16 keeps 8 bits.
_ONE_POINT = 1e-3


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
        The first 128 rows are used: for all of them, in every step of a training, a GPU
        could need as long as for the step itself.

    Returns
    -------
    Tensor
        Float32, between 1 (all rows on one line: collapsed) and min(127, B - 1, D). It is 1 as well
        where the rows are one point but for rounding, whose own rank would be high.

    Notes
    -----
    Roy and Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007.
    """
    ranked = features[:_RANKED_ROWS].double()
    centred = ranked - ranked.mean(dim=0)
    # Of the square of a matrix: several times faster, and in float64 exact enough.
    singular = torch.linalg.eigvalsh(centred @ centred.T).clamp_min(0).sqrt()
    shares = singular / singular.sum().clamp_min(torch.finfo(singular.dtype).tiny)
    rank = torch.special.entr(shares).sum().exp().float()
    return rank.where(centred.norm() > _ONE_POINT * ranked.norm(), 1.0)


def negative_mask(n: int, lineages: Tensor | None, device: torch.device) -> Tensor:
    """Which of a batch's other pairs are negatives: those of another lineage, boolean (n, n)."""
    if lineages is None:
        return ~torch.eye(n, dtype=torch.bool, device=device)
    return lineages[:, None] != lineages


def similarity_margins(
    first: Tensor, second: Tensor, lineages: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """How much more similar the two sides of a pair are than one side and that of another pair.

    Parameters
    ----------
    first, second : Tensor, shape (B, D)
        Embeddings of the two sides of each pair.
    lineages : Tensor, shape (B,), optional
        Pairs of equal lineage are not compared.

    Returns
    -------
    mean, hardest : Tensor
        Mean cosine of positives minus that of all negatives, and minus that of each anchor's most
        similar negative; from -2 to 2. 0 where no anchor has a negative.
    """
    cosine = normalize(first, dim=1) @ normalize(second, dim=1).T
    negative = negative_mask(len(first), lineages, first.device)
    compared = negative.any(dim=1)
    n_compared = compared.sum().clamp_min(1)
    positive = cosine.diagonal().where(compared, 0).sum() / n_compared
    mean = cosine.where(negative, 0).sum() / negative.sum().clamp_min(1)
    nearest = cosine.masked_fill(~negative, -1).amax(dim=1).where(compared, 0).sum() / n_compared
    return positive - mean, positive - nearest


def same_lineage_negatives(lineages: Tensor) -> Tensor:
    """Share of a batch's other pairs that are of the anchor's own lineage.

    They are negatives of a loss that does not know the lineages, and left out by one that does.

    Parameters
    ----------
    lineages : Tensor, shape (B,)
        With one pair there is no other, and the value is 0.
    """
    n = len(lineages)
    same = (lineages[:, None] == lineages).sum() - n
    return same / max(n * (n - 1), 1)


def retrieval(first: Tensor, second: Tensor, lineages: Tensor | None = None) -> Tensor:
    """Share of rows whose most similar row on the other side is their own (recall at 1).

    Parameters
    ----------
    first, second : Tensor, shape (B, D)
        Embeddings of the two sides of each pair, at least one.
    lineages : Tensor, shape (B,), optional
        Pairs of equal lineage do not compete.
    """
    cosine = normalize(first, dim=1) @ normalize(second, dim=1).T
    competing = negative_mask(len(first), lineages, first.device)
    rivals = cosine.masked_fill(~competing, -torch.inf).amax(dim=1)
    return (cosine.diagonal() > rivals).float().mean()
