"""Supervised classification of cells: fine-tuning of an encoder, or a linear head on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAUROC, MulticlassConfusionMatrix
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities import dim_zero_cat

from dynaclr.config import UserError
from dynaclr.training.base import Batch, TrainedModule
from dynaclr.training.heads import (
    UNKNOWN_LABEL,
    check_classes,
    feature_dim_of,
    labelled_cross_entropy,
    labelled_rows,
    labels_of,
)
from dynaclr.training.weights import load_encoder


class BalancedAccuracy(MulticlassConfusionMatrix):
    """Mean recall of the classes that occur, as ``sklearn.metrics.balanced_accuracy_score``."""

    def compute(self) -> Tensor:
        """Scalar from 0 to 1."""
        counts = super().compute().float()
        support = counts.sum(dim=1)
        return (counts.diagonal() / support)[support > 0].mean()


class MacroF1(MulticlassConfusionMatrix):
    """Mean F1 of the classes that occur or are predicted, as ``sklearn.metrics.f1_score``."""

    def compute(self) -> Tensor:
        """Scalar from 0 to 1."""
        counts = super().compute().float()
        involved = counts.sum(dim=0) + counts.sum(dim=1)
        return (2 * counts.diagonal() / involved)[involved > 0].mean()


class MacroAUROC(MulticlassAUROC):
    """Mean one-against-rest area under the ROC curve of the classes that occur.

    The curve is exact: all scores of an epoch are kept. NaN where only one class occurs.
    """

    def compute(self) -> Tensor:  # type: ignore[override]
        """Scalar from 0 to 1."""
        scores, labels = dim_zero_cat(self.preds), dim_zero_cat(self.target)
        counts = torch.bincount(labels, minlength=self.num_classes)
        areas = [
            binary_auroc(scores[:, k], (labels == k).int())
            for k in torch.nonzero((counts > 0) & (counts < len(labels))).flatten().tolist()
        ]
        return torch.stack(areas).mean() if areas else scores.new_tensor(torch.nan)


class ClassificationModule(TrainedModule):
    """Learns a column of the index from single patches.

    Of a batch it uses the anchors. Balanced accuracy, macro F1 and AUROC are those of the labelled
    validation anchors of an epoch. `data.tau_range` [0, 0] makes an anchor of every observation.

    Parameters
    ----------
    encoder : nn.Module
        Maps patches (B, C, Z, Y, X) to features (B, D) and projections (B, P). The projections
        are not used, and what only they need is not trained.
    label : str
        Column of the batch with the classes (see `data.carry`); -1 is unknown and left out.
    num_classes : int
        Number of its classes.
    class_weights : list of float or "balanced"
        Weight of each class in the loss. ``balanced`` takes ``n / (num_classes n_k)``, with n_k
        of the n labelled training anchors in class k.
    linear : bool
        Train the head alone; the encoder keeps its weights and stays in evaluation mode.
    learning_rate, weight_decay, warmup_fraction, compile_encoder
        As in `ContrastiveModule`.
    encoder_checkpoint : Path
        Model whose encoder this one starts from.

    Raises
    ------
    ValueError
        When number of classes and weights do not fit.
    """

    weights: Tensor

    def __init__(
        self,
        encoder: nn.Module,
        label: str,
        num_classes: int,
        class_weights: list[float] | Literal["balanced"] | None = None,
        linear: bool = False,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_fraction: float = 0.1,
        compile_encoder: bool = False,
        encoder_checkpoint: Path | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_fraction, compile_encoder)
        if num_classes < 2:
            raise ValueError(f"num_classes is {num_classes}; it must be 2 or more")
        self.encoder = encoder
        self.label = label
        self.num_classes = num_classes
        self.class_weights = class_weights
        self.head = nn.Linear(feature_dim_of(encoder), num_classes)
        self.register_buffer("weights", self._given_weights(), persistent=False)
        self.metrics = nn.ModuleDict(
            {
                "balanced_accuracy": BalancedAccuracy(num_classes),
                "macro_f1": MacroF1(num_classes),
                "auroc": MacroAUROC(num_classes),
            }
        )
        if encoder_checkpoint is not None:
            load_encoder(encoder, encoder_checkpoint)
        if linear:
            self.freeze_part(encoder)
        elif isinstance(projection := getattr(encoder, "projection", None), nn.Module):
            self.freeze_part(projection)

    def _given_weights(self) -> Tensor:
        if self.class_weights is None or self.class_weights == "balanced":
            return torch.ones(self.num_classes)
        weights = torch.tensor(self.class_weights, dtype=torch.float32)
        if len(weights) != self.num_classes or not (weights > 0).all():
            raise ValueError(
                f"class_weights is {self.class_weights}; it must hold a positive number for each "
                f"of {self.num_classes} classes"
            )
        return weights

    def setup(self, stage: str) -> None:
        """Compare the classes with the data; count them for balanced weights."""
        data = getattr(self.trainer, "datamodule", None)
        check_classes(data, self.label, self.num_classes)
        if self.class_weights == "balanced":
            self.weights.copy_(self._balanced_weights(data))

    def _balanced_weights(self, data: Any) -> Tensor:
        if self.label not in getattr(data, "classes", {}):
            raise UserError(
                f"class_weights: {self.label!r} is no text column that batches carry, so its "
                "classes cannot be counted. Add it to `data.carry`, or give the weights."
            )
        counts = torch.from_numpy(data.class_counts(self.label))
        if not counts.all():
            absent = [c for c, n in zip(data.classes[self.label], counts, strict=True) if n == 0]
            raise UserError(
                f"class_weights: no training anchor has {self.label} {', '.join(absent)}. Give the "
                "weights as numbers, or train on experiments that have it."
            )
        return counts.sum() / (self.num_classes * counts)

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        """Class scores (B, num_classes), before the softmax, of normalized patches."""
        features, _ = self.encoder(x_BCZYX)
        return self.head(features)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Loss of one batch."""
        loss, _ = self._loss(batch)
        self.log_epoch({"loss": loss}, "train", len(batch["anchor"]["patch"]))
        return {"loss": loss}

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Loss of one batch of validation data; metrics are those of the whole epoch."""
        loss, logits = self._loss(batch)
        labels = labels_of(batch["anchor"], self.label)
        known = labels != UNKNOWN_LABEL
        self.log_epoch({"loss": loss}, "val", labelled_rows(labels))
        scores = logits.float().softmax(dim=1)
        metric: Any
        for name, metric in self.metrics.items():
            if known.any():
                metric.update(scores[known], labels[known])
            self.log(f"{name}/val", metric, on_step=False, on_epoch=True, batch_size=len(known))
        return {"loss": loss}

    def _loss(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Weighted cross entropy of the labelled anchors, and the class scores (B, K) of all."""
        labels = labels_of(batch["anchor"], self.label)
        logits = self(batch["anchor"]["patch"])
        return labelled_cross_entropy(logits, labels, self.weights), logits
