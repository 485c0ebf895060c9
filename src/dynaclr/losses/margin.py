"""Margin losses with the same call as the NT-Xent family."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaclr.losses.base import GatheredLoss, in_full_precision
from dynaclr.losses.distributed import gather_batch
from dynaclr.losses.pairs import check_rows, not_negative_mask, positive_mask, unit_rows


def _mean_where(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the true entries of a mask; 0, still differentiable, where there is none."""
    return values.where(mask, 0).sum() / mask.sum().clamp(min=1)


class _MarginLoss(GatheredLoss, ABC):
    """A loss of all cosine similarities of a batch, or of the batches of all ranks."""

    def __init__(self, margin: float, gather: bool, averaged_gradients: bool) -> None:
        super().__init__(gather, averaged_gradients)
        self.margin = margin

    def forward(self, embeddings: Tensor, labels: Tensor, lineages: Tensor | None = None) -> Tensor:
        """Compute the loss of a batch; arguments and errors as in ``NTXentHCL.forward``."""
        check_rows(embeddings, labels, lineages)
        with torch.autocast(embeddings.device.type, enabled=False):
            unit = unit_rows(in_full_precision(embeddings))
            batch = gather_batch(unit, labels, lineages, gather=self.gather)
            unit, rows = batch.with_own_gradient(unit), batch.rows
            loss = self.compare(
                unit @ unit.T, positive_mask(rows, rows), ~not_negative_mask(rows, rows)
            )
        return batch.scale_gradient(loss) if self.averaged_gradients else loss

    @abstractmethod
    def compare(self, cosine: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Loss of cosine similarities, with the masks of positives and negatives, all (N, N)."""


class TripletMarginLoss(_MarginLoss):
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
    gather, averaged_gradients : bool
        As in ``NTXentHCL``: compare the rows of all ranks. Every rank computes the whole matrix.

    Raises
    ------
    ValueError
        If the margin is outside its range, or ``averaged_gradients`` is given alone.
    """

    def __init__(
        self, margin: float = 0.3, *, gather: bool = False, averaged_gradients: bool = False
    ) -> None:
        super().__init__(margin, gather, averaged_gradients)
        if not 0 < margin <= 2:
            raise ValueError(f"margin must lie in (0, 2], got {margin}")

    def compare(self, cosine: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Mean over anchors."""
        farthest = 1 - cosine.masked_fill(~positive, 1).amin(1)
        nearest = 1 - cosine.masked_fill(~negative, -1).amax(1)
        complete = positive.any(1) & negative.any(1)
        return _mean_where(F.relu(self.margin + farthest - nearest), complete)


class CosineMarginLoss(_MarginLoss):
    r"""Pull positives to cosine 1, push negatives below a margin.

    The mean of :math:`1 - \cos` over positive pairs plus the mean of
    :math:`\max(0, \cos - m)` over negative pairs: ``torch.nn.CosineEmbeddingLoss`` over all
    pairs of the batch, with both kinds weighted alike, for there are about 2B times as many
    negatives. Memory is quadratic in the batch.

    Parameters
    ----------
    margin : float
        m above, in [-1, 1).
    gather, averaged_gradients : bool
        As in ``NTXentHCL``: compare the rows of all ranks. Every rank computes the whole matrix.

    Raises
    ------
    ValueError
        If the margin is outside its range, or ``averaged_gradients`` is given alone.
    """

    def __init__(
        self, margin: float = 0.0, *, gather: bool = False, averaged_gradients: bool = False
    ) -> None:
        super().__init__(margin, gather, averaged_gradients)
        if not -1 <= margin < 1:
            raise ValueError(f"margin must lie in [-1, 1), got {margin}")

    def compare(self, cosine: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        """Sum of the means over both kinds of pairs."""
        attraction = _mean_where(1 - cosine, positive)
        return attraction + _mean_where(F.relu(cosine - self.margin), negative)
