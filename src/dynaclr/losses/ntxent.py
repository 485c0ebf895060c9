"""NT-Xent with hard negatives, exact and with memory linear in the batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dynaclr.losses.base import TemperedLoss, in_full_precision
from dynaclr.losses.distributed import gather_batch
from dynaclr.losses.pairs import check_rows, unit_rows
from dynaclr.losses.streaming import Options, default_block, streamed_loss


class NTXentHCL(TemperedLoss):
    r"""Normalized-temperature cross entropy with hard-negative weights.

    Rows with equal ``labels`` are positives of each other. Every ordered pair (anchor i,
    positive p) contributes

    .. math:: \ell_{ip} = -\log \frac{e^{s_{ip}}}{e^{s_{ip}} + R_i},
              \qquad s_{ij} = \cos(z_i, z_j) / T,

    and the loss is the mean over all such pairs, 0 if there are none. With the n rows that are
    neither of the anchor's label nor of its lineage as negatives, the negative term is

    .. math:: R_i = n \frac{\sum_j e^{(1 + \beta) s_{ij}}}{\sum_j e^{\beta s_{ij}}},

    that is, each negative weighted by :math:`e^{\beta s_{ij}}`, the weights scaled to a mean
    of 1 over the anchor's own negatives (Robinson et al. 2021, "Contrastive learning with hard
    negative samples", the importance-sampled objective). ``beta=0`` is NT-Xent: same call and
    same value as ``pytorch_metric_learning.losses.NTXentLoss``, with several positives per
    anchor too. An anchor without negatives contributes 0 for each of its positives.

    The weights are exponential in the *similarity* ``cos / T``, as in the paper. ``NTXentHCL`` of
    the VisCy project weights by ``exp(beta * cos)`` instead, which is this loss with the same T and
    its beta multiplied by T: T = 0.07 and beta = 0.5 there are ``temperature=0.07, beta=0.035``
    here, hardly any weighting at all.

    With ``tau_plus > 0`` negatives are debiased: a share ``tau_plus`` of them is taken to be
    of the anchor's own class, and

    .. math:: R_i \leftarrow \max\Bigl(
              \frac{R_i - \tau^+ n\, \overline{e^{s_{ip}}}}{1 - \tau^+},\; n e^{-1/T} \Bigr),

    the bar being the mean over the anchor's positives (Chuang et al. 2020, "Debiased
    contrastive learning", for several positives; Robinson et al. 2021 for one). The bound is
    the smallest value that the estimated quantity can take.

    Everything is computed in logarithms from float32 similarities (float64 for float64
    embeddings), so that no positive, however hard, loses its gradient to an underflow. The
    similarity matrix is visited in blocks of keys, forward and backward: memory is
    proportional to the number of rows, for any labels. Only first derivatives are defined.

    Parameters
    ----------
    temperature : float
        T above, positive.
    beta : float
        Concentration on hard negatives, not negative.
    tau_plus : float
        Prior share of false negatives, in [0, 1).
    key_block : int or None
        Keys in one block of the similarity matrix; None chooses by the number of anchors. It
        changes memory and speed, and the result by rounding only.
    gather : bool
        Contrast against the rows of all ranks of the default ``torch.distributed`` process
        group. Labels and lineages must then mean the same on all ranks (row numbers of one
        index, say, not positions in the local batch). The value, equal on all ranks, and the
        gradients are those of one process that holds the concatenated batch; local batches may
        differ in size. All ranks must call forward, and backward, equally often. Without a
        process group this changes nothing.
    averaged_gradients : bool
        Set it where parameter gradients are afterwards *averaged* over ranks, as
        ``DistributedDataParallel`` does. Gathered gradients are then multiplied by the number
        of ranks, so that the average equals the gradient of one process. Otherwise each rank's
        embeddings receive exactly their part of the one-process gradient.

    Attributes
    ----------
    temperature, beta : float
        May be set at any time, for a schedule over epochs (see ``cosine_schedule``).

    Raises
    ------
    ValueError
        If a parameter is outside its range.

    Examples
    --------
    >>> embeddings = torch.eye(4)
    >>> criterion = NTXentHCL(temperature=1.0, beta=0.0)
    >>> round(criterion(embeddings, torch.tensor([0, 0, 1, 1])).item(), 4)
    1.0986
    """

    def __init__(
        self,
        temperature: float = 0.07,
        beta: float = 0.5,
        tau_plus: float = 0.0,
        key_block: int | None = None,
        *,
        gather: bool = False,
        averaged_gradients: bool = False,
    ) -> None:
        super().__init__(gather, averaged_gradients)
        if not 0 <= tau_plus < 1:
            raise ValueError(f"tau_plus must lie in [0, 1), got {tau_plus}")
        if key_block is not None and key_block < 1:
            raise ValueError(f"key_block must be a positive number of keys, got {key_block}")
        self.temperature = temperature
        self.beta = beta
        self.tau_plus = tau_plus
        self.key_block = key_block

    @property
    def beta(self) -> float:
        """Concentration on hard negatives."""
        return self._beta

    @beta.setter
    def beta(self, value: float) -> None:
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"beta must be finite and not negative, got {value}")
        self._beta = float(value)

    def forward(self, embeddings: Tensor, labels: Tensor, lineages: Tensor | None = None) -> Tensor:
        """Compute the loss of a batch.

        Parameters
        ----------
        embeddings : Tensor
            Shape (2B, D), or any number of rows; any floating-point dtype, any length: rows
            are scaled to unit length here.
        labels : Tensor
            Integers, shape (2B,). Equal labels are positives.
        lineages : Tensor or None
            Integers, shape (2B,). Rows of one lineage with different labels are neither
            positives nor negatives of each other.

        Returns
        -------
        Tensor
            Scalar, float32 (float64 for float64 embeddings).

        Raises
        ------
        TypeError, ValueError
            If the inputs do not describe the same rows; with ``gather``, if ranks disagree on
            the number of dimensions or on whether lineages are given.
        """
        check_rows(embeddings, labels, lineages)
        with torch.autocast(embeddings.device.type, enabled=False):
            unit = unit_rows(in_full_precision(embeddings))
            batch = gather_batch(unit, labels, lineages, gather=self.gather)
            scale = len(batch.sizes) if self.averaged_gradients else 1
            block = self.key_block or default_block(unit)
            options = Options(self.temperature, self.beta, self.tau_plus, block, scale)
            return streamed_loss(unit, batch, options)
