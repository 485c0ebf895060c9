"""Contrastive learning of an encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynaclr.losses import NTXentHCL
from dynaclr.training.base import Batch, TrainedModule, example_embeddings
from dynaclr.training.heads import (
    AuxiliaryHead,
    AuxiliaryHeads,
    check_classes,
    feature_dim_of,
    labels_of,
)
from dynaclr.training.monitors import (
    alignment,
    effective_rank,
    same_lineage_negatives,
    similarity_margins,
    uniformity,
)
from dynaclr.training.schedule import CosineSchedule
from dynaclr.training.weights import load_encoder


class ContrastiveModule(TrainedModule):
    """Contrastive learning of an encoder from anchor and positive patches.

    Parameters
    ----------
    encoder : nn.Module
        Maps patches (B, C, Z, Y, X) to features (B, D) and projections (B, P).
    loss : nn.Module
        Called with projections (2B, P), labels (2B,) and lineages (2B,); default `NTXentHCL`.
        All of `dynaclr.losses` with this call will do.
    exclude_lineage : bool
        Pass lineages to the loss, so that cells of the anchor's own lineage are no negatives.
    learning_rate : float
        Peak of the schedule: linear warm-up, then half a cosine down to zero.
    weight_decay : float
        Of AdamW, for weights alone: norms and biases have none.
    warmup_fraction : float
        Share of all steps that warms up.
    compile_encoder : bool
        Let torch compile the encoder: worth it on a GPU.
    schedules : dict of str to CosineSchedule
        Attributes of the loss (``temperature``, ``beta``) that change from epoch to epoch.
        Validation always uses their end, so that its losses can be compared over epochs.
    auxiliary_heads : dict of str to AuxiliaryHead
        Linear classifiers on the features of both views, each named after the column of the batch
        (see `data.carry`) that it learns; their weighted cross entropy is added to the loss.
    freeze_backbone : bool
        Train nothing of the encoder but its ``projection``; the rest stays in evaluation mode.
    encoder_checkpoint : Path
        Model whose encoder this one starts from.

    Raises
    ------
    ValueError
        When an option does not fit loss or encoder.

    Notes
    -----
    With several processes a loss that can gather (all of `dynaclr.losses`) contrasts each row with
    those of all processes: value and gradients are those of one process with the whole batch.
    """

    def __init__(
        self,
        encoder: nn.Module,
        loss: nn.Module | None = None,
        exclude_lineage: bool = True,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_fraction: float = 0.1,
        compile_encoder: bool = False,
        schedules: dict[str, CosineSchedule] | None = None,
        auxiliary_heads: dict[str, AuxiliaryHead] | None = None,
        freeze_backbone: bool = False,
        encoder_checkpoint: Path | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_fraction, compile_encoder)
        self.encoder = encoder
        self.loss = loss if loss is not None else NTXentHCL()
        self.exclude_lineage = exclude_lineage
        self.set_schedules(schedules)
        self.auxiliary: AuxiliaryHeads | None = None
        if auxiliary_heads:
            self.auxiliary = AuxiliaryHeads(feature_dim_of(encoder), auxiliary_heads)
        if encoder_checkpoint is not None:
            load_encoder(encoder, encoder_checkpoint)
        if freeze_backbone:
            projection = getattr(encoder, "projection", None)
            if not isinstance(projection, nn.Module):
                raise ValueError(
                    f"freeze_backbone: encoder {type(encoder).__name__} has no part `projection` "
                    "that could still be trained"
                )
            self.freeze_part(encoder, except_for=projection)

    def try_losses(self) -> dict[str, Any]:
        """Call the loss on two pairs."""
        pairs = torch.arange(2).repeat(2)
        return {"loss": self.loss(example_embeddings(self.encoder), pairs, pairs)}

    def setup(self, stage: str) -> None:
        """Let the loss see the rows of all processes; compare the heads with the data."""
        self.enable_gathering(self.loss)
        if self.auxiliary is not None:
            data = getattr(self.trainer, "datamodule", None)
            for name, head in self.auxiliary.options.items():
                check_classes(data, name, head.num_classes)

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, D) and projections (B, P) of normalized patches."""
        return self.encoder(x_BCZYX)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Loss of one batch, with the health of its embedding."""
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Loss of one batch of validation data, with the health of its embedding."""
        return self._step(batch, "val")

    def _step(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        anchor, positive = batch["anchor"], batch["positive"]
        features, projections = self(torch.cat([anchor["patch"], positive["patch"]]))
        n = len(anchor["patch"])
        scheduled = self.apply_schedules(stage)
        lineages = None
        if self.exclude_lineage:
            lineages = torch.cat([anchor["lineage_id"], positive["lineage_id"]])
        loss = self.loss(projections, self.pair_numbers(n).repeat(2), lineages)
        monitored = {"loss": loss} | _health(features, projections, anchor.get("lineage_id"))
        if self.auxiliary is not None:
            monitored |= {
                "loss": loss + self._auxiliary_loss(self.auxiliary, batch, features, stage),
                "contrastive_loss": loss.detach(),
            }
        self.log_epoch(monitored | scheduled, stage, n)
        return monitored

    def _auxiliary_loss(
        self, heads: AuxiliaryHeads, batch: Batch, features: Tensor, stage: str
    ) -> Tensor:
        labels = {
            name: torch.cat([labels_of(batch[view], name) for view in ("anchor", "positive")])
            for name in heads.options
        }
        loss, monitored = heads(features, labels)
        for values, n_labelled in monitored:
            self.log_epoch(values, stage, n_labelled)
        return loss


def _health(features: Tensor, projections: Tensor, lineages: Tensor | None) -> dict[str, Tensor]:
    """Monitors of features and projections (2B, ...) of pairs with these lineages (B,)."""
    first, second = projections.detach().float().chunk(2)
    mean_margin, hardest_margin = similarity_margins(first, second, lineages)
    monitored = {
        "alignment": alignment(first, second),
        "uniformity": uniformity(first),
        "effective_rank": effective_rank(features.detach()),
        "similarity_margin": mean_margin,
        "hardest_margin": hardest_margin,
    }
    if lineages is not None:
        monitored["same_lineage_negatives"] = same_lineage_negatives(lineages)
    return monitored
