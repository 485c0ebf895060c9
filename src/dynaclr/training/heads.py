"""Supervised heads on features, and the labels that they learn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, distributed, nn

from dynaclr.config import UserError

# What `data.carry` gives a row whose label is not known.
UNKNOWN_LABEL = -1


@dataclass(frozen=True)
class AuxiliaryHead:
    """A linear classifier that is trained along, to keep something in the features.

    Attributes
    ----------
    num_classes : int
        Number of classes of the column that the head is named after.
    weight : float
        Of its cross entropy beside the contrastive loss.
    """

    num_classes: int
    weight: float = 0.1


class AuxiliaryHeads(nn.Module):
    """Linear classifiers on the same features.

    Parameters
    ----------
    feature_dim : int
        Width of the features.
    heads : mapping of str to AuxiliaryHead
        By the column of the batch that holds their labels.

    Raises
    ------
    ValueError
        If a head has fewer than two classes or a negative weight.
    """

    def __init__(self, feature_dim: int, heads: Mapping[str, AuxiliaryHead]) -> None:
        super().__init__()
        for name, head in heads.items():
            if head.num_classes < 2 or head.weight < 0:
                raise ValueError(
                    f"auxiliary_heads.{name} is {head}; it needs two classes or more and a weight "
                    "that is not negative"
                )
        self.options = dict(heads)
        # In the order of `options`: not every column name can name a part of a module.
        self.layers = nn.ModuleList(
            nn.Linear(feature_dim, head.num_classes) for head in heads.values()
        )

    def forward(
        self, features: Tensor, labels: Mapping[str, Tensor]
    ) -> tuple[Tensor, list[tuple[dict[str, Tensor], int]]]:
        """Weighted sum of the heads' losses, and how well each does.

        Parameters
        ----------
        features : Tensor, shape (N, D)
        labels : mapping of str to Tensor, shape (N,)
            Integers for each head; -1 is unknown and not learnt from.

        Returns
        -------
        loss : Tensor
            Scalar.
        monitored : list of (dict, int)
            For each head ``<name>_loss`` and ``<name>_accuracy``, and the number of labelled rows
            of all processes that their means over processes are means over.
        """
        total, monitored = features.new_zeros(()), []
        for (name, head), layer in zip(self.options.items(), self.layers, strict=True):
            logits, wanted = layer(features), labels[name]
            known = wanted != UNKNOWN_LABEL
            loss = labelled_cross_entropy(logits, wanted)
            total = total + head.weight * loss
            right = _mean_over_processes(
                ((logits.argmax(dim=1) == wanted) & known).sum(), known.sum()
            )
            values = {f"{name}_loss": loss.detach(), f"{name}_accuracy": right}
            monitored.append((values, labelled_rows(wanted)))
        return total, monitored


def labelled_cross_entropy(
    logits: Tensor, labels: Tensor, class_weights: Tensor | None = None
) -> Tensor:
    """Cross entropy over the rows whose label is known; 0, still differentiable, without any.

    With several processes its mean over them, and so the averaged gradient, is that of one process
    with all rows, however unequally these are labelled. All must call it equally often.

    Parameters
    ----------
    logits : Tensor, shape (N, K)
    labels : Tensor, shape (N,)
        Integers from 0 to K - 1; -1 is unknown.
    class_weights : Tensor, shape (K,), optional
        The mean is weighted by them.
    """
    logits = logits.float()
    total = F.cross_entropy(
        logits, labels, class_weights, ignore_index=UNKNOWN_LABEL, reduction="sum"
    )
    known = labels != UNKNOWN_LABEL
    weights = known.float() if class_weights is None else class_weights[labels].where(known, 0)
    return _mean_over_processes(total, weights.sum())


def labelled_rows(labels: Tensor) -> int:
    """Number of rows of all processes whose label is known; `labels` are those of this one."""
    return int(_sum_over_processes((labels != UNKNOWN_LABEL).sum())[0])


def _mean_over_processes(total: Tensor, weight: Tensor) -> Tensor:
    """Part of this process in the mean of all: the parts' mean over processes is that mean."""
    weight, processes = _sum_over_processes(weight.float())
    return total * processes / weight.clamp_min(torch.finfo(torch.float32).tiny)


def _sum_over_processes(local: Tensor) -> tuple[Tensor, int]:
    """Sum over all processes, and their number."""
    if not distributed.is_initialized():
        return local, 1
    distributed.all_reduce(whole := local.clone())
    return whole, distributed.get_world_size()


def labels_of(view: Mapping[str, Any], name: str) -> Tensor:
    """Labels (B,) int64 that one side of a batch carries.

    Raises
    ------
    UserError
        When the batch carries no such column, or one that numbers no classes.
    """
    if name not in view:
        raise UserError(f"batches carry no column {name!r} to learn from. Add it to `data.carry`.")
    if view[name].is_floating_point():
        raise UserError(f"column {name!r} holds fractions, no classes. Learn from another column.")
    return view[name].long()


def check_classes(datamodule: Any, name: str, num_classes: int) -> None:
    """Compare the outputs of a head with the classes of a text column of the data.

    Raises
    ------
    UserError
        When they differ.
    """
    classes = getattr(datamodule, "classes", {}).get(name)
    if classes is not None and len(classes) != num_classes:
        raise UserError(
            f"column {name!r} has {len(classes)} classes ({', '.join(classes)}), but the model has "
            f"num_classes {num_classes} for it. Make them equal."
        )


def feature_dim_of(encoder: nn.Module) -> int:
    """Width of an encoder's features.

    Raises
    ------
    ValueError
        When the encoder has no such attribute.
    """
    width = getattr(encoder, "feature_dim", None)
    if width is None:
        raise ValueError(
            f"encoder {type(encoder).__name__} has no attribute feature_dim, which a classifier on "
            "its features needs"
        )
    return width
