"""Lightning modules: what one optimisation step does."""

from __future__ import annotations

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from dynaclr.losses import NTXentHCL
from dynaclr.training.monitors import alignment, effective_rank, uniformity

Batch = dict[str, Any]


class ContrastiveModule(LightningModule):
    """Contrastive learning of an encoder from anchor and positive patches.

    Parameters
    ----------
    encoder : nn.Module
        Maps patches (B, C, Z, Y, X) to features (B, D) and projections (B, P).
    loss : nn.Module
        Called with projections (2B, P), labels (2B,) and lineages (2B,); default `NTXentHCL`.
    exclude_lineage : bool
        Pass lineages to the loss, so that cells of the anchor's own lineage are no negatives.
    learning_rate : float
        Peak of the schedule: linear warm-up, then half a cosine down to zero.
    weight_decay : float
        Of AdamW, for weights alone: norms and biases have none.
    warmup_fraction : float
        Share of all steps that warms up.

    Notes
    -----
    With several processes a loss that can gather (`NTXentHCL`) contrasts each row with those of
    all processes: value and gradients are those of one process with the whole batch.
    """

    def __init__(
        self,
        encoder: nn.Module,
        loss: nn.Module | None = None,
        exclude_lineage: bool = True,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_fraction: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.loss = loss if loss is not None else NTXentHCL()
        self.exclude_lineage = exclude_lineage
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_fraction = warmup_fraction

    def setup(self, stage: str) -> None:
        """Let the loss see the rows of all processes."""
        if self.trainer.world_size > 1 and hasattr(self.loss, "gather"):
            self.loss.gather = self.loss.averaged_gradients = True

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
        patches = torch.cat([anchor["patch"], positive["patch"]])
        features, projections = self(patches)
        n = len(anchor["patch"])
        # Pairs are numbered apart on every process: gathered, equal labels would be positives.
        first_pair = self.global_rank * n
        labels = torch.arange(first_pair, first_pair + n, device=projections.device).repeat(2)
        lineages = None
        if self.exclude_lineage:
            lineages = torch.cat([anchor["lineage_id"], positive["lineage_id"]])
        loss = self.loss(projections, labels, lineages)
        first, second = projections.detach().float().split(n)
        monitored = {
            "loss": loss,
            "alignment": alignment(first, second),
            "uniformity": uniformity(first),
            "effective_rank": effective_rank(features.detach().float()),
        }
        self.log_dict(
            {f"{name}/{stage}": value.detach() for name, value in monitored.items()},
            on_step=False,
            on_epoch=True,
            batch_size=n,
            sync_dist=True,
        )
        return monitored

    def configure_optimizers(self) -> dict[str, Any]:
        """AdamW with the warm-up and cosine schedule, stepped every batch."""
        decayed = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        rest = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": decayed}, {"params": rest, "weight_decay": 0.0}],
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
        )
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, WarmupCosine(round(self.warmup_fraction * total), total)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


class WarmupCosine:
    """Factor of the learning rate at a step: linear warm-up, then half a cosine down to zero."""

    def __init__(self, warmup: int, total: int) -> None:
        self.warmup = warmup
        self.total = total

    def __call__(self, step: int) -> float:
        """Factor at `step`, counted from 0."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        progress = (step - self.warmup) / max(self.total - self.warmup, 1)
        return 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
