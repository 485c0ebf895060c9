"""Autoencoders as another way to an embedding: variational, and masked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dynaclr.losses import VariationalLoss
from dynaclr.losses.reconstruction import divergence, squared_error
from dynaclr.models import FeatureEncoder
from dynaclr.training.base import Batch, TrainedModule
from dynaclr.training.monitors import effective_rank
from dynaclr.training.schedule import CosineSchedule
from dynaclr.training.weights import load_encoder


class ReconstructingModule(TrainedModule):
    """A module whose network makes stacks of patches, and has an embedding on the way.

    It learns from anchors and positives alike, each by itself.

    Parameters
    ----------
    network : nn.Module
        What is trained; it embeds cells, as `FeatureEncoder` says.
    learning_rate, weight_decay, warmup_fraction, compile_encoder
        As in `ContrastiveModule`.
    encoder_checkpoint : Path, optional
        Model whose network this one starts from; also a checkpoint of VisCy.
    """

    encoder: Any

    def __init__(
        self,
        network: nn.Module,
        learning_rate: float,
        weight_decay: float,
        warmup_fraction: float,
        compile_encoder: bool,
        encoder_checkpoint: Path | None,
    ) -> None:
        super().__init__(learning_rate, weight_decay, warmup_fraction, compile_encoder)
        self.encoder = FeatureEncoder(network)
        if encoder_checkpoint is not None:
            load_encoder(network, encoder_checkpoint)

    @property
    def network(self) -> Any:
        """What is trained."""
        return self.encoder.model

    @property
    def encoders(self) -> list[nn.Module]:
        """The whole network: training calls it, not the encoder alone."""
        return [self.network]

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Features (B, D), twice, of normalized patches."""
        return self.encoder(x_BCZYX)

    @abstractmethod
    def monitored(self, x_BCZYX: Tensor, present_BC: Tensor) -> dict[str, Tensor]:
        """Values of a batch by name, the loss among them.

        Parameters
        ----------
        x_BCZYX : Tensor
            Normalized patches, shape (B, C, Z, Y, X).
        present_BC : Tensor
            Whether a channel of a patch was imaged, booleans.
        """

    def training_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Loss of one batch."""
        return self._step(batch, "train", nullcontext())

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor]:
        """Loss of one batch of validation data, and the rank of its features."""
        # The same draws in every epoch, so that losses can be compared.
        return self._step(batch, "val", _own_draws(self.device, batch_idx))

    def _step(
        self, batch: Batch, stage: str, draws: AbstractContextManager[Any]
    ) -> dict[str, Tensor]:
        views = batch["anchor"], batch["positive"]
        x_BCZYX = torch.cat([view["patch"] for view in views])
        present_BC = x_BCZYX.new_ones(x_BCZYX.shape[:2], dtype=torch.bool)
        if "present" in views[0]:
            present_BC = torch.cat([view["present"] for view in views])
        scheduled: dict[str, Any] = self.apply_schedules(stage)
        with draws:
            values = self.monitored(x_BCZYX, present_BC)
        if stage == "val":
            features, _ = self.encoder(views[0]["patch"])
            values["effective_rank"] = effective_rank(features)
        self.log_epoch(scheduled | values, stage, len(views[0]["patch"]))
        return values


class BetaVaeModule(ReconstructingModule):
    """A variational autoencoder; the mean of the latent embeds a cell.

    Parameters
    ----------
    network : nn.Module
        A variational autoencoder: `BetaVae25D`, `BetaVaeMonai`, or one whose output has the same
        four parts.
    loss : nn.Module
        Called as `VariationalLoss`, the default, is.
    schedules : dict of str to CosineSchedule
        Attributes of the loss (``beta``) that change from epoch to epoch. A divergence that starts
        without weight keeps the latent from being given up early. Validation uses their end.
    learning_rate, weight_decay, warmup_fraction, compile_encoder, encoder_checkpoint
        As in `ReconstructingModule`.

    Raises
    ------
    ValueError
        When an option does not fit the loss or the network.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module | None = None,
        schedules: dict[str, CosineSchedule] | None = None,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_fraction: float = 0.1,
        compile_encoder: bool = False,
        encoder_checkpoint: Path | None = None,
    ) -> None:
        super().__init__(
            network,
            learning_rate,
            weight_decay,
            warmup_fraction,
            compile_encoder,
            encoder_checkpoint,
        )
        self.loss = loss if loss is not None else VariationalLoss()
        self.set_schedules(schedules)

    def try_losses(self) -> dict[str, Any]:
        """Call the loss on two small patches."""
        patches, latent = torch.zeros(2, 1, 1, 4, 4), torch.zeros(2, 3)
        return {"loss": self.loss(patches, patches, latent, latent)}

    def monitored(self, x_BCZYX: Tensor, present_BC: Tensor) -> dict[str, Tensor]:
        """Loss, squared error by voxel, and divergence in nats a patch."""
        made = self.network(x_BCZYX)
        counted = present_BC[:, :, None, None, None]
        latent = made.mean, made.log_variance
        return {
            "loss": self.loss(made.reconstruction, x_BCZYX, *latent, counted),
            "squared_error": squared_error(made.reconstruction.detach(), x_BCZYX, counted),
            "divergence": divergence(*latent).detach(),
        }


class MaskedAutoencoderModule(ReconstructingModule):
    """A masked autoencoder; the pooled output of its encoder embeds a cell.

    The loss is the mean squared error where patches are hidden. Its checkpoint is also a start of
    contrastive learning: by `ContrastiveModule`, with a `FeatureEncoder` of the same network.

    Parameters
    ----------
    network : nn.Module
        A masked autoencoder: `FullyConvolutionalMAE`, or one with the same call and output.
    mask_ratio : float
        Share of a patch that is hidden, between 0 and 1.
    learning_rate, weight_decay, warmup_fraction, compile_encoder, encoder_checkpoint
        As in `ReconstructingModule`.

    Raises
    ------
    ValueError
        When the ratio is outside of its range.
    """

    def __init__(
        self,
        network: nn.Module,
        mask_ratio: float = 0.6,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.01,
        warmup_fraction: float = 0.1,
        compile_encoder: bool = False,
        encoder_checkpoint: Path | None = None,
    ) -> None:
        super().__init__(
            network,
            learning_rate,
            weight_decay,
            warmup_fraction,
            compile_encoder,
            encoder_checkpoint,
        )
        if not 0 < mask_ratio < 1:
            raise ValueError(f"mask_ratio is {mask_ratio}; it must lie between 0 and 1")
        self.mask_ratio = mask_ratio

    def monitored(self, x_BCZYX: Tensor, present_BC: Tensor) -> dict[str, Tensor]:
        """Loss, and the squared error where the network sees the patches."""
        reconstruction, mask_B1YX = self.network(x_BCZYX, mask_ratio=self.mask_ratio)
        hidden, present = mask_B1YX.unsqueeze(2), present_BC[:, :, None, None, None]
        seen_error = squared_error(reconstruction.detach(), x_BCZYX, present & ~hidden)
        return {
            "loss": squared_error(reconstruction, x_BCZYX, present & hidden),
            "seen_squared_error": seen_error,
        }


@contextmanager
def _own_draws(device: torch.device, seed: int) -> Iterator[None]:
    """Draw random numbers of this seed, and leave those of the training as they are."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
