"""Margin losses with the same call as the NT-Xent family."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynaclr.losses._pairs import check_rows, not_negative_mask, positive_mask
from dynaclr.losses._ranks import whole_batch


def _cosines(
    embeddings: Tensor, labels: Tensor, lineages: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Cosine similarities (N, N) of a batch, the mask of positives and that of negatives."""
    check_rows(embeddings, labels, lineages)
    dtype = torch.float64 if embeddings.dtype == torch.float64 else torch.float32
    with torch.autocast(embeddings.device.type, enabled=False):
        unit = F.normalize(embeddings.to(dtype), dim=1)
        cosine = unit @ unit.T
    rows = whole_batch(unit, labels, lineages, gather=False).rows
    return cosine, positive_mask(rows, rows), ~not_negative_mask(rows, rows)


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the true entries of a mask; 0, still differentiable, where there is none."""
    return values.where(mask, 0).sum() / mask.sum().clamp(min=1)


class TripletMarginLoss(nn.Module):
    r"""Triplet loss with the hardest positive and the hardest negative of each anchor.

    For each row that has a positive and a negative in the batch,

    .. math:: \max(0,\; m + \max_p (1 - \cos_{ip}) - \min_j (1 - \cos_{ij})),

    averaged over those rows ("batch hard", Hermans et al. 2017, "In defense of the triplet
    loss for person re-identification", with cosine distances). Memory is quadratic in the
    batch.

    Parameters
    ----------
    margin : float
        m above, in units of cosine distance; positive, at most 2.

    Raises
    ------
    ValueError
        If the margin is outside its range.
    """

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        if not 0 < margin <= 2:
            raise ValueError(f"margin must lie in (0, 2], got {margin}")
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor, lineages: Tensor | None = None) -> Tensor:
        """Compute the loss of a batch; arguments and errors as in ``NTXentHCL.forward``."""
        cosine, positive, negative = _cosines(embeddings, labels, lineages)
        farthest = 1 - cosine.masked_fill(~positive, 1).amin(1)
        nearest = 1 - cosine.masked_fill(~negative, -1).amax(1)
        complete = positive.any(1) & negative.any(1)
        return _mean_where(F.relu(self.margin + farthest - nearest), complete)


class CosineMarginLoss(nn.Module):
    r"""Pull positives to cosine 1, push negatives below a margin.

    The mean of :math:`1 - \cos` over positive pairs plus the mean of
    :math:`\max(0, \cos - m)` over negative pairs: ``torch.nn.CosineEmbeddingLoss`` over all
    pairs of the batch, with both kinds weighted alike, for there are about 2B times as many
    negatives. Memory is quadratic in the batch.

    Parameters
    ----------
    margin : float
        m above, in [-1, 1).

    Raises
    ------
    ValueError
        If the margin is outside its range.
    """

    def __init__(self, margin: float = 0.0) -> None:
        super().__init__()
        if not -1 <= margin < 1:
            raise ValueError(f"margin must lie in [-1, 1), got {margin}")
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor, lineages: Tensor | None = None) -> Tensor:
        """Compute the loss of a batch; arguments and errors as in ``NTXentHCL.forward``."""
        cosine, positive, negative = _cosines(embeddings, labels, lineages)
        attraction = _mean_where(1 - cosine, positive)
        return attraction + _mean_where(F.relu(cosine - self.margin), negative)
