"""The NT-Xent loss with hard negatives, block by block of the similarity matrix.

Forward and backward visit the matrix in blocks of keys and keep nothing of the size of the matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dynaclr.losses.distributed import GatheredBatch
from dynaclr.losses.pairs import (
    Rows,
    key_blocks,
    not_negative_mask,
    positive_mask,
    positive_tiles,
)

# Similarities held at once when the block size is left open. 2 MiB of float32 stay in the cache
# of a CPU core, where larger tiles were slower; other devices want few and large steps.
_CPU_TILE, _DEVICE_TILE = 2**19, 2**24
# Matrix products with fewer columns than this run below their speed.
_SMALLEST_BLOCK = 128


def default_block(anchors: Tensor) -> int:
    """Choose how many keys to compare with all anchors at once."""
    tile = _CPU_TILE if anchors.device.type == "cpu" else _DEVICE_TILE
    return max(_SMALLEST_BLOCK, tile // max(1, len(anchors)))


@dataclass(frozen=True)
class Options:
    """Hyperparameters of one call; all but the last two as in `dynaclr.losses.NTXentHCL`.

    Attributes
    ----------
    temperature, beta, tau_plus : float
    key_block : int
        Keys in one block of the similarity matrix.
    gradient_scale : float
        Factor on the gradient.
    """

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
    def sorted_by_label(cls, rows: Rows, vectors: Tensor) -> _Side:
        order = torch.argsort(rows.labels, stable=True)
        return cls(rows.take(order), vectors[order])

    def take(self, which: slice) -> _Side:
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
    def forward(ctx: Any, unit: Tensor, batch: GatheredBatch, options: Options) -> Tensor:
        keys = _Side.sorted_by_label(batch.rows, batch.gather(unit))
        # Scaled once here, so that a product with the keys is already a similarity s.
        anchors = _Side.sorted_by_label(batch.rows.take(batch.own), unit / options.temperature)
        losses, ctx.terms = _anchor_losses(anchors, keys, options)
        pairs = _count_positives(keys, keys).sum().clamp(min=1)
        ctx.anchors, ctx.keys, ctx.pairs, ctx.batch = anchors, keys, pairs, batch
        ctx.options = options
        return batch.total(losses.sum()) / pairs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_loss: Tensor) -> tuple[Tensor, None, None]:
        anchors, keys, batch, options = ctx.anchors, ctx.keys, ctx.batch, ctx.options
        with torch.autocast(grad_loss.device.type, enabled=False):
            per_pair = grad_loss * options.gradient_scale / ctx.pairs
            to_anchors, to_keys = _similarity_gradients(anchors, keys, ctx.terms, options)
            shared = torch.empty_like(to_keys)
            shared[keys.rows.index] = to_keys * per_pair
            own = batch.total(shared)[batch.own].clone()
            own[anchors.rows.index - batch.own.start] += to_anchors * per_pair / options.temperature
        return own, None, None


def streamed_loss(unit: Tensor, batch: GatheredBatch, options: Options) -> Tensor:
    """Return the loss of a batch; gradients reach this rank's rows.

    Parameters
    ----------
    unit : Tensor
        This rank's rows at unit length, shape (N, D).
    batch : GatheredBatch
        The rows of all ranks.
    options : Options

    Returns
    -------
    Tensor
        Scalar.
    """
    loss: Tensor = _StreamedNTXent.apply(unit, batch, options)  # type: ignore[no-untyped-call]
    return loss


def _anchor_losses(anchors: _Side, keys: _Side, options: Options) -> tuple[Tensor, _Terms]:
    """Loss of each anchor, summed over its positives, and what backward needs."""
    hard, weight, count = _sum_negatives(anchors, keys, options)
    log_term = (hard - weight + count.log()).masked_fill_(count == 0, -math.inf)
    by_negatives, by_positives = torch.ones_like(log_term), torch.zeros_like(log_term)
    positives = None
    if options.tau_plus > 0:
        positives = _sum_positives(anchors, keys, options)
        log_mean = positives - _count_positives(anchors, keys).to(positives.dtype).log()
        log_term, by_negatives, by_positives = _debias(log_term, count.log(), log_mean, options)
    losses, pull = _sum_pair_losses(anchors, keys, log_term, options)
    return losses, _Terms(hard, weight, positives, log_term, by_negatives, by_positives, pull)


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


def _sum_negatives(anchors: _Side, keys: _Side, options: Options) -> tuple[Tensor, Tensor, Tensor]:
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
    anchors: _Side, keys: _Side, options: Options
) -> Iterator[tuple[slice, slice, Tensor, Tensor]]:
    """Tiles with positives: the anchors, the keys, their similarities, what is no positive."""
    for some, block in positive_tiles(anchors.rows, keys.rows, options.key_block):
        tile, other = anchors.take(some), keys.take(block)
        yield some, block, tile.vectors @ other.vectors.T, ~positive_mask(tile.rows, other.rows)


def _sum_positives(anchors: _Side, keys: _Side, options: Options) -> Tensor:
    """Log-sum-exp of s over each anchor's positives; -inf where there are none."""
    total = anchors.vectors.new_full((len(anchors.rows),), -math.inf)
    for some, _, similarity, other in _positive_similarities(anchors, keys, options):
        similarity.masked_fill_(other, -math.inf)
        total[some] = torch.logaddexp(total[some], torch.logsumexp(similarity, 1))
    return total


def _debias(
    log_term: Tensor, log_count: Tensor, log_mean_positive: Tensor, options: Options
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
    anchors: _Side, keys: _Side, log_term: Tensor, options: Options
) -> tuple[Tensor, Tensor]:
    """Losses summed over each anchor's positives, and their derivatives by ``log_term``."""
    losses, pull = torch.zeros_like(log_term), torch.zeros_like(log_term)
    for some, _, similarity, other in _positive_similarities(anchors, keys, options):
        margin = similarity - log_term[some, None]
        losses[some] -= F.logsigmoid(margin).masked_fill_(other, 0).sum(1)
        pull[some] += torch.sigmoid(-margin).masked_fill_(other, 0).sum(1)
    return losses, pull


def _similarity_gradients(
    anchors: _Side, keys: _Side, terms: _Terms, options: Options
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


def _by_negatives(anchors: _Side, keys: _Side, terms: _Terms, options: Options) -> Tensor:
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
