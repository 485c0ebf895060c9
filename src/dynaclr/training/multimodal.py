"""Two encoders, one for each group of channels, that learn to agree on the same cell."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dynaclr.losses import CrossModalInfoNCE, NTXentHCL
from dynaclr.training.base import Batch, TrainedModule, example_embeddings, row_weighted
from dynaclr.training.monitors import (
    alignment,
    effective_rank,
    retrieval,
    same_lineage_negatives,
    similarity_margins,
    uniformity,
)
from dynaclr.training.schedule import CosineSchedule
from dynaclr.training.weights import load_encoder

_HEALTH = (
    "alignment",
    "uniformity",
    "retrieval",
    "similarity_margin",
    "hardest_margin",
    "effective_rank",
    "teacher_effective_rank",
)


class ChannelGroup(nn.Module):
    """An encoder that sees some of the channels of a patch.

    Parameters
    ----------
    encoder : nn.Module
        Maps patches of these channels to features and projections.
    channels : sequence of int
        Indices of its channels in whole patches.

    Attributes
    ----------
    feature_dim, projection_dim, in_stack_depth : int
        Those of the encoder, where it has them.

    Raises
    ------
    ValueError
        When the encoder was built for another number of channels.
    """

    def __init__(self, encoder: nn.Module, channels: Sequence[int]) -> None:
        super().__init__()
        self.encoder = encoder
        self.channels = list(channels)
        expected = getattr(encoder, "in_channels", len(self.channels))
        if expected != len(self.channels) or not self.channels:
            raise ValueError(
                f"{type(encoder).__name__} has in_channels {expected}, but its channel group is "
                f"{self.channels}. Make them equal"
            )
        for name in ("feature_dim", "projection_dim", "in_stack_depth"):
            if hasattr(encoder, name):
                setattr(self, name, getattr(encoder, name))

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, D) and projections (B, P) of whole patches."""
        return self.encoder(x_BCZYX[:, self.channels])

    def imaged(self, present_BC: Tensor) -> Tensor:
        """Which cells (B,) were imaged in all channels of the group, from (B, C) booleans."""
        return present_BC[:, self.channels].all(dim=1)


class MultiModalContrastiveModule(TrainedModule):
    """Distils what one group of channels shows into an encoder of another.

    Both encoders get the same cells, each its own channels. The projections of one cell
    are drawn together across encoders, those of different cells pushed apart. Cells that lack a
    channel of either group are left out of that, by what the batch says in ``present``.

    Parameters
    ----------
    encoder : nn.Module
        Encoder that is kept and embeds cells, usually the label-free one.
    teacher : nn.Module
        Encoder of the other channels; its projections are as wide.
    channels, teacher_channels : list of int or str
        Channels of each encoder, by index in the patch or by marker.
    markers : list of str
        Markers of a patch's channels, in their order; needed when channels are given by marker.
        In a configuration they are always those of `data.patches.markers`.
    loss : nn.Module
        Called with both projections (N, P) and lineages (N,); default `CrossModalInfoNCE`.
    within_loss : nn.Module
        Loss within a modality, called as that of `ContrastiveModule`; default `NTXentHCL`.
    within_weight, teacher_within_weight : float
        Weights of `within_loss` on anchor and positive of either encoder.
    teacher_mode : {"train", "stop_gradient", "frozen"}
        Whether the teacher learns from both losses, from its own within-modality loss alone, or
        not at all; frozen, it stays in evaluation mode.
    exclude_lineage : bool
        Cells of the anchor's own lineage are no negatives. Anchor and positive never are.
    learning_rate, weight_decay, warmup_fraction, compile_encoder, schedules
        As in `ContrastiveModule`; schedules are those of `loss`.
    encoder_checkpoint, teacher_checkpoint : Path
        Models whose encoders these start from.

    Raises
    ------
    ValueError
        When channels, widths, weights and mode do not fit each other.

    Notes
    -----
    The cross-modal objective is that of CLIP (Radford et al. 2021). With several processes losses
    that can gather compare the rows of all of them, as in `ContrastiveModule`.
    """

    encoder: ChannelGroup
    teacher: ChannelGroup

    def __init__(
        self,
        encoder: nn.Module,
        teacher: nn.Module,
        channels: list[int | str],
        teacher_channels: list[int | str],
        markers: list[str] | None = None,
        loss: nn.Module | None = None,
        within_loss: nn.Module | None = None,
        within_weight: float = 0.0,
        teacher_within_weight: float = 0.0,
        teacher_mode: Literal["train", "stop_gradient", "frozen"] = "train",
        exclude_lineage: bool = True,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_fraction: float = 0.1,
        compile_encoder: bool = False,
        schedules: dict[str, CosineSchedule] | None = None,
        encoder_checkpoint: Path | None = None,
        teacher_checkpoint: Path | None = None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_fraction, compile_encoder)
        _check_options(encoder, teacher, within_weight, teacher_within_weight, teacher_mode)
        self.encoder = ChannelGroup(encoder, channel_indices(channels, markers))
        self.teacher = ChannelGroup(teacher, channel_indices(teacher_channels, markers))
        self.loss = loss if loss is not None else CrossModalInfoNCE()
        self.within_loss = within_loss if within_loss is not None else NTXentHCL()
        self.within_weight = within_weight
        self.teacher_within_weight = teacher_within_weight
        self.teacher_mode = teacher_mode
        self.exclude_lineage = exclude_lineage
        self.set_schedules(schedules)
        if encoder_checkpoint is not None:
            load_encoder(encoder, encoder_checkpoint)
        if teacher_checkpoint is not None:
            load_encoder(teacher, teacher_checkpoint)
        if teacher_mode == "frozen":
            self.freeze_part(self.teacher)

    @property
    def encoders(self) -> list[nn.Module]:
        """Encoder and teacher."""
        return [self.encoder, self.teacher]

    def try_losses(self) -> dict[str, Any]:
        """Call both losses on two pairs."""
        rows, pairs = example_embeddings(self.encoder), torch.arange(2).repeat(2)
        cross = self.loss(rows, rows, pairs)
        return {"loss": cross, "within_loss": self.within_loss(rows, pairs, pairs)}

    def setup(self, stage: str) -> None:
        """Let the losses see the rows of all processes."""
        self.enable_gathering(self.loss, self.within_loss)

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, D) and projections (B, P) of the encoder that is kept."""
        return self.encoder(x_BCZYX)

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Loss of one batch; the health of both embeddings is logged."""
        return self._step(batch, "train")

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Loss of one batch of validation data; the health of both embeddings is logged."""
        return self._step(batch, "val")

    def _step(self, batch: Batch, stage: str) -> dict[str, Tensor]:
        views = batch["anchor"], batch["positive"]
        x_BCZYX = torch.cat([view["patch"] for view in views])
        pairs = self.pair_numbers(len(x_BCZYX) // 2).repeat(2)
        lineages = None
        if self.exclude_lineage:
            lineages = torch.cat([view["lineage_id"] for view in views])
        imaged, teacher_imaged = self._imaged(views, x_BCZYX)
        both = imaged & teacher_imaged
        scheduled = self.apply_schedules(stage)

        features, projections = self.encoder(x_BCZYX)
        teacher_features, targets = self.teacher(x_BCZYX)
        # Rows of one group are no negatives of each other.
        groups = (pairs if lineages is None else lineages)[both]
        target = targets if self.teacher_mode == "train" else targets.detach()
        loss = cross = self.loss(projections[both], target[both], groups)
        for weight, embeddings, rows in (
            (self.within_weight, projections, imaged),
            (self.teacher_within_weight, targets, teacher_imaged),
        ):
            if weight:
                within = None if lineages is None else lineages[rows]
                loss = loss + weight * self.within_loss(embeddings[rows], pairs[rows], within)

        whole = {"loss": loss} | _lineage_monitor(batch)
        self.log_epoch(whole | scheduled, stage, len(pairs) // 2)
        # Of the cells that have both modalities, which some batches may lack.
        matrices = (projections, targets, features, teacher_features)
        matrices_of_both = (x[both].detach().float() for x in matrices)
        monitored = {"cross_modal_loss": cross} | _health(groups, *matrices_of_both)
        self.log_epoch(monitored, stage, len(groups))
        return whole | row_weighted(monitored, len(groups))

    def _imaged(self, views: tuple[Batch, Batch], x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Which rows have all channels of the encoder, and of the teacher, both (2B,)."""
        if "present" in views[0]:
            present_BC = torch.cat([view["present"] for view in views])
        else:
            present_BC = x_BCZYX.new_ones(x_BCZYX.shape[:2], dtype=torch.bool)
        return self.encoder.imaged(present_BC), self.teacher.imaged(present_BC)


def _lineage_monitor(batch: Batch) -> dict[str, Tensor]:
    lineages = batch["anchor"].get("lineage_id")
    return {} if lineages is None else {"same_lineage_negatives": same_lineage_negatives(lineages)}


def _health(
    groups: Tensor, projections: Tensor, targets: Tensor, features: Tensor, teacher_features: Tensor
) -> dict[str, Tensor]:
    """How well the two modalities agree; a mean over no rows is 0, and is logged for no rows."""
    if len(groups) == 0:
        return dict.fromkeys(_HEALTH, projections.new_zeros(()))
    values = (
        alignment(projections, targets),
        uniformity(projections),
        retrieval(projections, targets, groups),
        *similarity_margins(projections, targets, groups),
        effective_rank(features),
        effective_rank(teacher_features),
    )
    return dict(zip(_HEALTH, values, strict=True))


def channel_indices(channels: list[int | str], markers: list[str] | None) -> list[int]:
    """Indices of channels, given by index or by marker, in a patch of these markers."""
    known = list(markers or [])
    for channel in channels:
        if isinstance(channel, str) and channel not in known:
            raise ValueError(
                f"channel {channel!r} is none of markers {known}; name one of data.patches.markers"
            )
    return [known.index(channel) if isinstance(channel, str) else channel for channel in channels]


def _check_options(
    encoder: nn.Module,
    teacher: nn.Module,
    within_weight: float,
    teacher_within_weight: float,
    teacher_mode: str,
) -> None:
    widths = [getattr(one, "projection_dim", None) for one in (encoder, teacher)]
    if None not in widths and widths[0] != widths[1]:
        raise ValueError(
            f"encoder and teacher have projection_dim {widths[0]} and {widths[1]}; they must be "
            "equal to be compared"
        )
    if min(within_weight, teacher_within_weight) < 0:
        raise ValueError("within_weight and teacher_within_weight must not be negative")
    if teacher_mode == "stop_gradient" and teacher_within_weight == 0:
        raise ValueError(
            "teacher_mode stop_gradient with teacher_within_weight 0 leaves nothing to train the "
            "teacher; raise the weight, or choose frozen"
        )
    if teacher_mode == "frozen" and teacher_within_weight > 0:
        raise ValueError("teacher_mode frozen trains no teacher; set teacher_within_weight to 0")
