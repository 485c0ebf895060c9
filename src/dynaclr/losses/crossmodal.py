"""Contrast between two modalities of the same cells."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaclr.losses.base import TemperedLoss, in_full_precision
from dynaclr.losses.distributed import GatheredBatch, gather_batch
from dynaclr.losses.pairs import check_rows, unit_rows


class CrossModalInfoNCE(TemperedLoss):
    r"""Symmetric cross entropy between two modalities; negatives are of the other modality only.

    Row i of ``first`` and row i of ``second`` show the same cell. With
    :math:`s_{ij} = \cos(u_i, v_j) / T` the loss is

    .. math:: -\frac{1}{2N} \sum_i \left( \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}}
              + \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ji}}} \right)

    (Radford et al. 2021, "Learning transferable visual models from natural language
    supervision", section 2.3, with a fixed temperature). Rows of equal lineage but of different
    number are left out of both sums. Memory is quadratic in the batch.

    Parameters
    ----------
    temperature : float
        T above, positive.
    gather, averaged_gradients : bool
        As in ``NTXentHCL``: contrast with the rows of all ranks; value and gradients are those of
        one process with the concatenated batch. Every rank computes the whole matrix.

    Raises
    ------
    ValueError
        If the temperature is outside its range, or ``averaged_gradients`` is given alone.
    """

    def __init__(
        self, temperature: float = 0.07, *, gather: bool = False, averaged_gradients: bool = False
    ) -> None:
        super().__init__(gather, averaged_gradients)
        self.temperature = temperature

    def forward(self, first: Tensor, second: Tensor, lineages: Tensor | None = None) -> Tensor:
        """Compute the loss of a batch.

        Parameters
        ----------
        first, second : Tensor
            Shape (N, D), of any length: rows are scaled to unit length here. N may be 0.
        lineages : Tensor or None
            Integers, shape (N,).

        Returns
        -------
        Tensor
            Scalar, float32 (float64 for float64 embeddings); 0 if there are no rows.

        Raises
        ------
        TypeError, ValueError
            If the inputs do not describe the same rows.
        """
        if first.shape != second.shape:
            raise ValueError(
                "both modalities must have the same shape, got "
                f"{tuple(first.shape)} and {tuple(second.shape)}"
            )
        numbers = torch.arange(len(first), device=first.device)
        for embeddings in (first, second):
            check_rows(embeddings, numbers, lineages)
        with torch.autocast(first.device.type, enabled=False):
            first, second = (unit_rows(in_full_precision(x)) for x in (first, second))
            batch = gather_batch(first, numbers, lineages, gather=self.gather)
            first, second = (batch.with_own_gradient(x) for x in (first, second))
            loss = self._of_whole(first, second, batch)
        return batch.scale_gradient(loss) if self.averaged_gradients else loss

    def _of_whole(self, first: Tensor, second: Tensor, batch: GatheredBatch) -> Tensor:
        similarity = first @ second.T / self.temperature
        if batch.rows.lineages is not None:
            left_out = batch.rows.lineages[:, None] == batch.rows.lineages
            similarity = similarity.masked_fill(left_out.fill_diagonal_(False), -math.inf)
        own = torch.arange(len(first), device=first.device)
        total = F.cross_entropy(similarity, own, reduction="sum")
        total = total + F.cross_entropy(similarity.T, own, reduction="sum")
        return total / (2 * max(len(first), 1))
