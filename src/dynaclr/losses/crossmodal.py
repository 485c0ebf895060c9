"""Contrast between two modalities of the same cells."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaclr.losses._pairs import check_rows, unit_rows
from dynaclr.losses._ranks import WholeBatch, whole_batch
from dynaclr.losses._temperature import TemperedLoss


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
        If the temperature is outside its range, or if ``averaged_gradients`` stands alone.
    """

    def __init__(
        self, temperature: float = 0.07, *, gather: bool = False, averaged_gradients: bool = False
    ) -> None:
        super().__init__()
        if averaged_gradients and not gather:
            raise ValueError("averaged_gradients has no effect without gather=True")
        self.temperature = temperature
        self.gather = gather
        self.averaged_gradients = averaged_gradients

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
        dtype = torch.float64 if first.dtype == torch.float64 else torch.float32
        with torch.autocast(first.device.type, enabled=False):
            first, second = (unit_rows(x.to(dtype)) for x in (first, second))
            batch = whole_batch(first, numbers, lineages, gather=self.gather)
            first, second = (batch.with_own_gradient(x) for x in (first, second))
            loss = self._of_whole(first, second, batch)
        return batch.for_averaging(loss) if self.averaged_gradients else loss

    def _of_whole(self, first: Tensor, second: Tensor, batch: WholeBatch) -> Tensor:
        similarity = first @ second.T / self.temperature
        if batch.rows.lineages is not None:
            left_out = batch.rows.lineages[:, None] == batch.rows.lineages
            similarity = similarity.masked_fill(left_out.fill_diagonal_(False), -math.inf)
        own = torch.arange(len(first), device=first.device)
        total = sum(F.cross_entropy(s, own, reduction="sum") for s in (similarity, similarity.T))
        return total / (2 * max(len(first), 1))
