"""Gathering: the rows of all processes (ranks) of ``torch.distributed`` as one batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from dynaclr.losses.pairs import Rows


@dataclass(frozen=True)
class GatheredBatch:
    """Rows of every rank in rank order, and where this rank's own rows lie among them.

    Attributes
    ----------
    rows : Rows
        All rows of the whole batch.
    sizes : tuple of int
        Number of rows on each rank. One entry where nothing is gathered.
    rank : int
        Index of this rank in ``sizes``.
    """

    rows: Rows
    sizes: tuple[int, ...]
    rank: int

    @property
    def own(self) -> slice:
        """Where the rows of this rank lie in the whole batch."""
        start = sum(self.sizes[: self.rank])
        return slice(start, start + self.sizes[self.rank])

    def gather(self, local: Tensor) -> Tensor:
        """Concatenate a per-row tensor over ranks; no gradient passes."""
        return local if len(self.sizes) == 1 else _all_gather(local, self.sizes)

    def with_own_gradient(self, local: Tensor) -> Tensor:
        """Concatenate a per-row tensor over ranks; gradients reach this rank's own rows.

        Those are all that it has to give where every rank computes the loss of the whole batch, so
        that no gradient has to travel.
        """
        own, whole = self.own, self.gather(local.detach())
        return torch.cat([whole[: own.start], local, whole[own.stop :]])

    def scale_gradient(self, loss: Tensor) -> Tensor:
        """Multiply the gradient, not the value, by the number of ranks."""
        return loss + (len(self.sizes) - 1) * (loss - loss.detach())

    def total(self, local: Tensor) -> Tensor:
        """Sum a tensor of equal shape over ranks; no gradient passes."""
        if len(self.sizes) > 1:
            local = local.contiguous()
            dist.all_reduce(local)
        return local


def gather_batch(
    embeddings: Tensor, labels: Tensor, lineages: Tensor | None, *, gather: bool
) -> GatheredBatch:
    """Describe the batch that the loss is about: this rank's rows, or those of all ranks.

    Parameters
    ----------
    embeddings : Tensor
        Shape (N, D); only its shape and device are used.
    labels : Tensor
        Shape (N,).
    lineages : Tensor or None
        Shape (N,).
    gather : bool
        Join the rows of all ranks of the default process group, where there is one.

    Raises
    ------
    ValueError
        If ranks differ in the number of dimensions, or if only some of them pass lineages.
    """
    labels = labels.to(embeddings.device, torch.int64)
    if lineages is not None:
        lineages = lineages.to(embeddings.device, torch.int64)
    sizes: tuple[int, ...] = (len(embeddings),)
    rank = 0
    if gather and dist.is_initialized() and dist.get_world_size() > 1:
        sizes, rank = _exchange_sizes(embeddings, lineages is not None), dist.get_rank()
        labels = _all_gather(labels, sizes)
        lineages = None if lineages is None else _all_gather(lineages, sizes)
    index = torch.arange(sum(sizes), device=embeddings.device)
    return GatheredBatch(Rows(index, labels, lineages), sizes, rank)


def _exchange_sizes(embeddings: Tensor, has_lineages: bool) -> tuple[int, ...]:
    """Exchange row counts; all ranks raise the same error, so that none waits for another."""
    mine = torch.tensor([*embeddings.shape, int(has_lineages)], device=embeddings.device)
    everyone = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, mine)
    sizes, dimensions, with_lineages = torch.stack(everyone).T.tolist()
    if len(set(dimensions)) > 1:
        raise ValueError(f"embeddings have {dimensions} dimensions on ranks 0, 1, ...")
    if len(set(with_lineages)) > 1:
        absent = [rank for rank, flag in enumerate(with_lineages) if not flag]
        raise ValueError(f"lineages must be given on all ranks or on none; missing on {absent}")
    return tuple(sizes)


def _all_gather(local: Tensor, sizes: tuple[int, ...]) -> Tensor:
    """Concatenate over ranks, with padding on the way: collectives want equal shapes."""
    padded = local.new_zeros((max(sizes), *local.shape[1:]))
    padded[: len(local)] = local
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])
