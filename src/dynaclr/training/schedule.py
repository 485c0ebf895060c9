"""Schedules of a training: learning rate, temperature, hardness."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dynaclr.losses import cosine_schedule


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


@dataclass(frozen=True)
class CosineSchedule:
    """A hyperparameter of the loss that follows half a cosine over epochs.

    Attributes
    ----------
    start, end : float
        Value in the first epoch, and in the last one.
    epochs : int, optional
        Epochs until `end`, after which it stays; default: those of the whole training.

    Raises
    ------
    ValueError
        When there is less than one epoch.
    """

    start: float
    end: float
    epochs: int | None = None

    def __post_init__(self) -> None:
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"schedules: epochs is {self.epochs}; it must be 1 or more")

    def at(self, epoch: int, max_epochs: int) -> float:
        """Value in `epoch`, counted from 0, of a training of `max_epochs`.

        Raises
        ------
        ValueError
            When the training has no fixed length and `epochs` is not given.
        """
        if self.epochs is None and max_epochs < 1:
            raise ValueError("schedule: the training has no last epoch. Give `epochs`.")
        return cosine_schedule(self.start, self.end, epoch, self.epochs or max_epochs)
