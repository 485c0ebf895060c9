"""Base class of all Lightning modules of this package."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from dynaclr.training.health import CollapseWarning, StepTimes
from dynaclr.training.schedule import CosineSchedule, WarmupCosine

Batch = dict[str, Any]


class TrainedModule(LightningModule):
    """A module with one optimiser, and with parts that may stay as they are.

    Every subclass has an `encoder` that maps whole normalized patches (B, C, Z, Y, X) to features
    (B, D) and projections (B, P), whatever else it is made of: that is what embeds cells.

    Parameters
    ----------
    learning_rate : float
        Peak of the schedule: linear warm-up, then half a cosine down to zero.
    weight_decay : float
        Of AdamW, for weights alone: norms and biases have none.
    warmup_fraction : float
        Share of all steps that warms up.
    compile_encoder : bool
        Let torch compile what embeds cells. It takes a minute and pays on a GPU; the names of
        parameters stay.

    Raises
    ------
    ValueError
        When a number is outside its range.

    Notes
    -----
    On a GPU convolutions get their weights channels last, the layout that its tensor cores read,
    and AdamW updates all weights in one kernel, unless gradients are clipped in mixed precision. On
    several GPUs batch norms take their statistics
    from the rows of all of them, as one GPU would with the whole batch.
    """

    encoder: nn.Module
    loss: nn.Module

    def __init__(
        self,
        learning_rate: float,
        weight_decay: float,
        warmup_fraction: float,
        compile_encoder: bool = False,
    ) -> None:
        super().__init__()
        for name, value, most in (
            ("learning_rate", learning_rate, math.inf),
            ("weight_decay", weight_decay, math.inf),
            ("warmup_fraction", warmup_fraction, 1),
        ):
            if not (math.isfinite(value) and 0 <= value <= most):
                range_ = "0 or more" if most > 1 else "from 0 to 1"
                raise ValueError(f"{name} is {value}; it must be {range_}")
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.warmup_fraction = warmup_fraction
        self.compile_encoder = compile_encoder
        self.schedules: dict[str, CosineSchedule] = {}
        self._frozen: list[tuple[nn.Module, nn.Module | None]] = []

    @property
    def encoders(self) -> list[nn.Module]:
        """What embeds cells."""
        return [self.encoder]

    def try_losses(self) -> dict[str, Any]:
        """Call every loss that was given on a few rows, and return the values by argument.

        What a loss raises at such a call is let through.
        """
        return {}

    def configure_model(self) -> None:
        """Fit the encoders to the device, before any process wraps them."""
        if self._on_gpu:
            if self.trainer.world_size > 1:
                for encoder in self.encoders:
                    sync_batch_norms(encoder)
            to_channels_last(self)
        if self.compile_encoder:
            for encoder in self.encoders:
                encoder.compile()

    @property
    def _on_gpu(self) -> bool:
        return self.trainer.strategy.root_device.type == "cuda"

    def freeze_part(self, part: nn.Module, except_for: nn.Module | None = None) -> None:
        """Neither train a part nor let it leave evaluation mode.

        Parameters
        ----------
        part : nn.Module
            Its norms and dropout behave as after training, too.
        except_for : nn.Module, optional
            Something inside it that trains all the same.
        """
        part.requires_grad_(False)
        if except_for is not None:
            except_for.requires_grad_(True)
        self._frozen.append((part, except_for))
        self.train(self.training)

    def train(self, mode: bool = True) -> TrainedModule:
        """Set training or evaluation mode of everything but the frozen parts."""
        super().train(mode)
        for part, except_for in self._frozen:
            part.eval()
            if except_for is not None:
                except_for.train(mode)
        return self

    def set_schedules(self, schedules: Mapping[str, CosineSchedule] | None) -> None:
        """Change numbers of `loss` from epoch to epoch.

        Parameters
        ----------
        schedules : mapping of str to CosineSchedule, optional
            By attribute of the loss.

        Raises
        ------
        ValueError
            When the loss has no such number, or refuses a value.
        """
        self.schedules = dict(schedules or {})
        for name, schedule in self.schedules.items():
            if not isinstance(getattr(self.loss, name, None), int | float):
                raise ValueError(f"schedules: {type(self.loss).__name__} has no number {name!r}")
            # A loss refuses what is outside its range: now, not in some later epoch.
            for value in (schedule.start, schedule.end):
                setattr(self.loss, name, value)

    def apply_schedules(self, stage: str) -> dict[str, float]:
        """Set what follows a schedule, and return it in training.

        It is done every step, for a resumed epoch has no start. Validation always uses the end.
        """
        values = {
            name: schedule.at(self.current_epoch, int(self.trainer.max_epochs or 0))
            if stage == "train"
            else schedule.end
            for name, schedule in self.schedules.items()
        }
        for name, value in values.items():
            setattr(self.loss, name, value)
        return values if stage == "train" else {}

    def enable_gathering(self, *losses: Any) -> None:
        """With several processes, let losses that can gather see the rows of all of them."""
        for loss in losses:
            if self.trainer.world_size > 1 and hasattr(loss, "gather"):
                loss.gather = loss.averaged_gradients = True

    def pair_numbers(self, n: int) -> Tensor:
        """Number this process's pairs (n,) apart from those of all others.

        Gathered, equal numbers would be positives of each other.
        """
        first_pair = self.global_rank * n
        return torch.arange(first_pair, first_pair + n, device=self.device)

    def log_epoch(self, values: Mapping[str, Tensor | float], stage: str, n: int) -> None:
        """Log means over an epoch's rows (and processes) as ``<name>/<stage>``.

        What a training step *returns* is also a column of the metrics history, as the plain mean
        over batches, or over rows (see `row_weighted`).
        """
        self.log_dict(
            {
                f"{name}/{stage}": value.detach() if isinstance(value, Tensor) else value
                for name, value in values.items()
            },
            on_step=False,
            on_epoch=True,
            batch_size=n,
            sync_dist=True,
        )

    def configure_callbacks(self) -> list[Callback]:
        """Callbacks of every training: warnings of collapse, and time spent waiting for data."""
        return [CollapseWarning(), StepTimes()]

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with the warm-up and cosine schedule, stepped every batch."""
        decayed = [p for p in self.parameters() if p.requires_grad and p.ndim > 1]
        rest = [p for p in self.parameters() if p.requires_grad and p.ndim <= 1]
        # Lightning does not clip the gradients of a fused optimiser in mixed precision.
        clips_mixed = "mixed" in self.trainer.precision and bool(self.trainer.gradient_clip_val)
        groups: list[dict[str, Any]] = [{"params": decayed}, {"params": rest, "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(
            groups,
            lr=self.learning_rate,
            weight_decay=self.weight_decay,
            fused=self._on_gpu and not clips_mixed,
        )
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, WarmupCosine(round(self.warmup_fraction * total), total)
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }


def example_embeddings(encoder: nn.Module) -> Tensor:
    """Four embeddings (4, P), as wide as the projections of an encoder that has the attribute."""
    return torch.eye(4, getattr(encoder, "projection_dim", 4))


def row_weighted(values: Mapping[str, Tensor], n: int) -> dict[str, Tensor]:
    """Means over `n` of a batch's rows as pairs of sum and number, which a step may return."""
    return {
        name: torch.stack([value.detach() * n, torch.full_like(value, n)])
        for name, value in values.items()
    }


def sync_batch_norms(module: nn.Module) -> None:
    """Make batch norms use the rows of all processes, in place; values and names stay."""
    # It takes a second to import. Torch's own would lose the activations that timm's norms hold.
    from timm.layers import convert_sync_batchnorm

    if any(isinstance(part, nn.SyncBatchNorm) for part in module.modules()):
        # Lightning configures a model again for every run, and timm would lose the activations.
        return
    for name, child in module.named_children():
        setattr(module, name, convert_sync_batchnorm(child))


def to_channels_last(module: nn.Module) -> None:
    """Lay the weights of convolutions out channels last, in place; values and names stay."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in module.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])
