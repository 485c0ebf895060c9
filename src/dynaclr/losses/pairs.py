"""Positive, negative and ignored pairs of a batch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

# Rows shorter than this have no direction.
_NO_LENGTH = 1e-12


def check_rows(embeddings: Tensor, labels: Tensor, lineages: Tensor | None) -> None:
    """Check that embeddings, labels and lineages describe the same rows.

    Parameters
    ----------
    embeddings : Tensor
        Floating point, shape (N, D).
    labels : Tensor
        Integers, shape (N,).
    lineages : Tensor or None
        Integers, shape (N,).

    Raises
    ------
    TypeError
        If embeddings are not floating point or labels or lineages are not integers.
    ValueError
        If a shape differs from the above.
    """
    if embeddings.ndim != 2:
        raise ValueError(
            f"embeddings must have shape (rows, dimensions), got {tuple(embeddings.shape)}"
        )
    if not embeddings.is_floating_point():
        raise TypeError(f"embeddings must be floating point, got {embeddings.dtype}")
    for name, values in (("labels", labels), ("lineages", lineages)):
        if values is None:
            continue
        if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
            raise TypeError(f"{name} must be integers, got {values.dtype}")
        if values.shape != embeddings.shape[:1]:
            raise ValueError(
                f"{name} must have one entry for each of the {len(embeddings)} rows of "
                f"embeddings, got shape {tuple(values.shape)}"
            )


def unit_rows(embeddings: Tensor) -> Tensor:
    """Scale rows (N, D) to unit length; one without length stays 0, and no gradient reaches it.

    Divided by a small number instead, as ``torch.nn.functional.normalize`` does it, it would get a
    gradient of 1e12 and end a training.
    """
    length: Tensor = torch.linalg.vector_norm(embeddings, dim=1, keepdim=True)
    return embeddings / length.masked_fill(length < _NO_LENGTH, math.inf)


@dataclass(frozen=True)
class Rows:
    """One side of a similarity matrix.

    Attributes
    ----------
    index : Tensor
        Row numbers in the whole batch, shape (N,); they keep a row from being its own positive.
    labels : Tensor
        Shape (N,). Rows of equal label attract each other.
    lineages : Tensor or None
        Shape (N,). Rows of equal lineage never repel each other.
    """

    index: Tensor
    labels: Tensor
    lineages: Tensor | None

    def __len__(self) -> int:
        return len(self.index)

    def take(self, which: slice | Tensor) -> Rows:
        """Return the chosen rows."""
        lineages = None if self.lineages is None else self.lineages[which]
        return Rows(self.index[which], self.labels[which], lineages)


def positive_mask(anchors: Rows, keys: Rows) -> Tensor:
    """Boolean (A, K): same label, and not the very same row."""
    return (anchors.labels[:, None] == keys.labels) & (anchors.index[:, None] != keys.index)


def not_negative_mask(anchors: Rows, keys: Rows) -> Tensor:
    """Boolean (A, K): same label (the row itself included) or same lineage."""
    mask = anchors.labels[:, None] == keys.labels
    if anchors.lineages is not None and keys.lineages is not None:
        mask |= anchors.lineages[:, None] == keys.lineages
    return mask


def key_blocks(n_keys: int, block: int) -> Iterator[slice]:
    """Consecutive slices of at most ``block`` rows that cover ``n_keys`` rows."""
    for start in range(0, n_keys, block):
        yield slice(start, min(start + block, n_keys))


def positive_tiles(anchors: Rows, keys: Rows, block: int) -> list[tuple[slice, slice]]:
    """Parts of the similarity matrix that can hold positives.

    With both sides sorted by label the positives lie along a staircase, so that each block of
    keys meets only one run of anchors: positives cost far less than the whole matrix.

    Parameters
    ----------
    anchors, keys : Rows
        Both in ascending order of label.
    block : int
        Number of keys in a block.

    Returns
    -------
    list of (slice, slice)
        Anchors and keys of each tile; tiles without rows are left out.
    """
    blocks = list(key_blocks(len(keys), block))
    if len(blocks) <= 1:
        # The whole matrix is one tile. Searching for its edges would make a GPU wait for nothing.
        return [(slice(0, len(anchors)), keys_) for keys_ in blocks]
    starts = keys.labels[[keys_.start for keys_ in blocks]]
    lasts = keys.labels[[keys_.stop - 1 for keys_ in blocks]]
    lower = torch.searchsorted(anchors.labels, starts)
    upper = torch.searchsorted(anchors.labels, lasts, right=True)
    edges = torch.stack((lower, upper), dim=1).tolist()
    return [
        (slice(low, high), keys_)
        for (low, high), keys_ in zip(edges, blocks, strict=True)
        if low < high
    ]
