"""NT-Xent with hard negatives, exact and with memory linear in the batch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaclr.losses._pairs import (
    Rows,
    check_rows,
    key_blocks,
    not_negative_mask,
    positive_mask,
    positive_tiles,
    unit_rows,
)
from dynaclr.losses._ranks import WholeBatch, whole_batch
from dynaclr.losses._temperature import TemperedLoss

# Similarities held at once when the block size is left open. 2 MiB of float32 stay in the cache
# of a CPU core, where larger tiles were slower; other devices want few and large steps.
_CPU_TILE, _DEVICE_TILE = 2**19, 2**24
# Matrix products with fewer columns than this run below their speed.
_SMALLEST_BLOCK = 128


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

    The weights are exponential in the *similarity* ``cos / T``, as in the paper. Some code
    weights by ``exp(beta * cos)`` instead, which is this loss with beta multiplied by T: at
    T = 0.07 and beta = 0.5 that is an effective 0.035, hardly any weighting at all.

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
        super().__init__()
        if not 0 <= tau_plus < 1:
            raise ValueError(f"tau_plus must lie in [0, 1), got {tau_plus}")
        if key_block is not None and key_block < 1:
            raise ValueError(f"key_block must be a positive number of keys, got {key_block}")
        if averaged_gradients and not gather:
            raise ValueError("averaged_gradients has no effect without gather=True")
        self.temperature = temperature
        self.beta = beta
        self.tau_plus = tau_plus
        self.key_block = key_block
        self.gather = gather
        self.averaged_gradients = averaged_gradients

    @property
    def beta(self) -> float:
        """Concentration on hard negatives."""
        return self._beta

    @beta.setter
    def beta(self, value: float) -> None:
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"beta must be finite and not negative, got {value}")
        self._beta = float(value)

    def extra_repr(self) -> str:
        """Parameters in the printed form of the module."""
        return (
            f"temperature={self.temperature}, beta={self.beta}, tau_plus={self.tau_plus}, "
            f"key_block={self.key_block}, gather={self.gather}, "
            f"averaged_gradients={self.averaged_gradients}"
        )

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
        dtype = torch.float64 if embeddings.dtype == torch.float64 else torch.float32
        with torch.autocast(embeddings.device.type, enabled=False):
            unit = unit_rows(embeddings.to(dtype))
            batch = whole_batch(unit, labels, lineages, gather=self.gather)
            scale = len(batch.sizes) if self.averaged_gradients else 1
            block = self.key_block or _default_block(unit)
            options = _Options(self.temperature, self.beta, self.tau_plus, block, scale)
            return _StreamedNTXent.apply(unit, batch, options)


def _default_block(anchors: Tensor) -> int:
    """Choose how many keys to compare with all anchors at once."""
    tile = _CPU_TILE if anchors.device.type == "cpu" else _DEVICE_TILE
    return max(_SMALLEST_BLOCK, tile // max(1, len(anchors)))


@dataclass(frozen=True)
class _Options:
    """Hyperparameters of one call."""

    temperature: float
    beta: float
    tau_plus: float
    key_block: int
    gradient_scale: float


@dataclass(frozen=True)
class _Side:
    """Rows in order of label with their vectors: the anchors or the keys of the matrix."""

    rows: Rows
    vectors: Tensor

    @classmethod
    def sorted_by_label(cls, rows: Rows, vectors: Tensor) -> "_Side":
        order = torch.argsort(rows.labels, stable=True)
        return cls(rows.take(order), vectors[order])

    def take(self, which: slice) -> "_Side":
        return _Side(self.rows.take(which), self.vectors[which])


@dataclass(frozen=True)
class _Terms:
    """What forward leaves to backward, one entry for each anchor, shape (A,).

    ``log_term`` is the log of the anchor's final negative term. ``slope_negatives`` and
    ``slope_positives`` are its derivatives by the log-sum-exp ratio over negatives and by the
    log-sum-exp ``positives``; ``pull`` is the derivative of the summed loss by ``log_term``.
    """

    hard: Tensor
    weight: Tensor
    positives: Tensor | None
    log_term: Tensor
    slope_negatives: Tensor
    slope_positives: Tensor
    pull: Tensor


class _StreamedNTXent(torch.autograd.Function):
    """The loss of unit vectors; similarities are computed again, block by block, in backward."""

    @staticmethod
    def forward(ctx, unit: Tensor, batch: WholeBatch, options: _Options) -> Tensor:
        keys = _Side.sorted_by_label(batch.rows, batch.collect(unit))
        # Scaled once here, so that a product with the keys is already a similarity s.
        anchors = _Side.sorted_by_label(batch.rows.take(batch.own), unit / options.temperature)
        losses, ctx.terms = _anchor_losses(anchors, keys, options)
        pairs = _count_positives(keys, keys).sum().clamp(min=1)
        ctx.anchors, ctx.keys, ctx.pairs, ctx.batch = anchors, keys, pairs, batch
        ctx.options = options
        return batch.total(losses.sum()) / pairs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_loss: Tensor) -> tuple[Tensor, None, None]:
        anchors, keys, batch, options = ctx.anchors, ctx.keys, ctx.batch, ctx.options
        with torch.autocast(grad_loss.device.type, enabled=False):
            per_pair = grad_loss * options.gradient_scale / ctx.pairs
            to_anchors, to_keys = _similarity_gradients(anchors, keys, ctx.terms, options)
            shared = torch.empty_like(to_keys)
            shared[keys.rows.index] = to_keys * per_pair
            own = batch.total(shared)[batch.own].clone()
            own[anchors.rows.index - batch.own.start] += to_anchors * per_pair / options.temperature
        return own, None, None


def _anchor_losses(anchors: _Side, keys: _Side, options: _Options) -> tuple[Tensor, _Terms]:
    """Loss of each anchor, summed over its positives, and what backward needs."""
    hard, weight, count = _sum_negatives(anchors, keys, options)
    log_term = (hard - weight + count.log()).masked_fill_(count == 0, -math.inf)
    slopes = torch.ones_like(log_term), torch.zeros_like(log_term)
    positives = None
    if options.tau_plus > 0:
        positives = _sum_positives(anchors, keys, options)
        log_mean = positives - _count_positives(anchors, keys).to(positives.dtype).log()
        log_term, *slopes = _debias(log_term, count.log(), log_mean, options)
    losses, pull = _sum_pair_losses(anchors, keys, log_term, options)
    return losses, _Terms(hard, weight, positives, log_term, *slopes, pull)


def _count_positives(anchors: _Side, keys: _Side) -> Tensor:
    """Number of each anchor's positives; the anchor itself is among the keys."""
    first = torch.searchsorted(keys.rows.labels, anchors.rows.labels)
    last = torch.searchsorted(keys.rows.labels, anchors.rows.labels, right=True)
    return last - first - 1


def _negative_similarities(anchors: _Side, keys: _Side) -> tuple[Tensor, Tensor]:
    """Similarities (A, K), -inf where the key is no negative, and the mask of those."""
    excluded = not_negative_mask(anchors.rows, keys.rows)
    similarity = (anchors.vectors @ keys.vectors.T).masked_fill_(excluded, -math.inf)
    return similarity, excluded


def _sum_negatives(anchors: _Side, keys: _Side, options: _Options) -> tuple[Tensor, Tensor, Tensor]:
    """Log-sum-exps of (1 + beta) s and of beta s over each anchor's negatives; their number."""
    hard = anchors.vectors.new_full((len(anchors.rows),), -math.inf)
    weight = hard.clone()
    count = torch.zeros_like(hard)
    for block in key_blocks(len(keys.rows), options.key_block):
        similarity, excluded = _negative_similarities(anchors, keys.take(block))
        count += excluded.shape[1] - excluded.sum(1)
        if options.beta > 0:
            weight = torch.logaddexp(weight, torch.logsumexp(similarity * options.beta, 1))
        hard = torch.logaddexp(hard, torch.logsumexp(similarity.mul_(1 + options.beta), 1))
    # exp(0 * s) is 1 for every negative, but 0 * -inf is not a number for what is none.
    return hard, weight if options.beta > 0 else count.log(), count


def _positive_similarities(
    anchors: _Side, keys: _Side, options: _Options
) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Tiles with positives: the anchors, the keys, their similarities, what is no positive."""
    for some, block in positive_tiles(anchors.rows, keys.rows, options.key_block):
        tile, other = anchors.take(some), keys.take(block)
        yield some, block, tile.vectors @ other.vectors.T, ~positive_mask(tile.rows, other.rows)


def _sum_positives(anchors: _Side, keys: _Side, options: _Options) -> Tensor:
    """Log-sum-exp of s over each anchor's positives; -inf where there are none."""
    total = anchors.vectors.new_full((len(anchors.rows),), -math.inf)
    for some, _, similarity, other in _positive_similarities(anchors, keys, options):
        similarity.masked_fill_(other, -math.inf)
        total[some] = torch.logaddexp(total[some], torch.logsumexp(similarity, 1))
    return total


def _debias(
    log_term: Tensor, log_count: Tensor, log_mean_positive: Tensor, options: _Options
) -> tuple[Tensor, Tensor, Tensor]:
    """Take the expected false negatives out of the negative terms (Robinson et al. 2021).

    Returns the new logs and their derivatives by the old ones and by ``log_mean_positive``.
    """
    log_share = math.log(options.tau_plus) + log_count + log_mean_positive - log_term
    remaining = torch.log(-torch.expm1(log_share)) - math.log1p(-options.tau_plus)
    bound = log_count - 1 / options.temperature
    # False where a logarithm does not exist: no negatives, no positives, or more false
    # negatives expected than the whole term.
    free = log_term + remaining > bound
    slope = (-1 / torch.expm1(log_share)).where(free, 0)
    return (log_term + remaining).where(free, bound), slope, (1 - slope).where(free, 0)


def _sum_pair_losses(
    anchors: _Side, keys: _Side, log_term: Tensor, options: _Options
) -> tuple[Tensor, Tensor]:
    """Losses summed over each anchor's positives, and their derivatives by ``log_term``."""
    losses, pull = torch.zeros_like(log_term), torch.zeros_like(log_term)
    for some, _, similarity, other in _positive_similarities(anchors, keys, options):
        margin = similarity - log_term[some, None]
        losses[some] -= F.logsigmoid(margin).masked_fill_(other, 0).sum(1)
        pull[some] += torch.sigmoid(-margin).masked_fill_(other, 0).sum(1)
    return losses, pull


def _similarity_gradients(
    anchors: _Side, keys: _Side, terms: _Terms, options: _Options
) -> tuple[Tensor, Tensor]:
    """Gradients of the summed loss by the scaled anchor vectors and by the key vectors."""
    to_anchors, to_keys = torch.zeros_like(anchors.vectors), torch.zeros_like(keys.vectors)
    for block in key_blocks(len(keys.rows), options.key_block):
        gradient = _by_negatives(anchors, keys.take(block), terms, options)
        to_anchors += gradient @ keys.vectors[block]
        to_keys[block] += gradient.T @ anchors.vectors
    for some, block, similarity, other in _positive_similarities(anchors, keys, options):
        gradient = _by_positives(similarity, some, terms).masked_fill_(other, 0)
        to_anchors[some] += gradient @ keys.vectors[block]
        to_keys[block] += gradient.T @ anchors.vectors[some]
    return to_anchors, to_keys


def _by_negatives(anchors: _Side, keys: _Side, terms: _Terms, options: _Options) -> Tensor:
    """Derivatives of the summed loss by the similarities (A, K) to negatives."""
    similarity, _ = _negative_similarities(anchors, keys)
    pull = (terms.pull * terms.slope_negatives)[:, None]
    # Anchors without negatives have -inf for both sums; any finite number gives them exp(-inf).
    hard, weight = (t.masked_fill(t.isinf(), 0)[:, None] for t in (terms.hard, terms.weight))
    if options.beta == 0:
        return similarity.sub_(hard).exp_().mul_(pull)
    lowering = (similarity * options.beta).sub_(weight).exp_().mul_(-options.beta)
    raising = similarity.mul_(1 + options.beta).sub_(hard).exp_()
    return lowering.add_(raising, alpha=1 + options.beta).mul_(pull)


def _by_positives(similarity: Tensor, some: slice, terms: _Terms) -> Tensor:
    """Derivatives of the summed loss by the similarities (A, K) to positives."""
    gradient = -torch.sigmoid(terms.log_term[some, None] - similarity)
    if terms.positives is None:
        return gradient
    within = torch.exp(similarity - terms.positives[some, None])
    return gradient.addcmul_((terms.pull * terms.slope_positives)[some, None], within)
