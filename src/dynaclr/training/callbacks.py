"""Lightning callbacks of a training run."""

from __future__ import annotations

import csv
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from dynaclr.data.loading.loaders import STOP_SIGNALS
from dynaclr.io.artifacts import atomic_path

# Optimiser steps between two times at which processes ask each other whether to save or stop:
# asking makes a GPU wait.
_AGREE_EVERY = 10


class MetricsHistory(Callback):
    """Keeps every epoch's metrics; they travel in the checkpoint, so a resumed run has them all.

    The means over an epoch's training batches are taken here, of everything that a training step
    returns: Lightning's own know nothing of the batches before a resume. A step returns a value of
    the batch, or a pair as `base.over_rows` makes it.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._sums: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """State that a checkpoint holds."""
        return {"rows": self.rows, "sums": {n: pair.tolist() for n, pair in self._sums.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the history of the run that is resumed."""
        self.rows = list(state_dict["rows"])
        self._sums = {name: torch.tensor(pair) for name, pair in state_dict["sums"].items()}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add a batch; nothing waits for the device."""
        for name, value in outputs.items():
            value = value.detach().float()
            pair = value if value.ndim else torch.stack([value, torch.ones_like(value)])
            self._sums[name] = pair + self._sums.get(name, torch.zeros(2)).to(pair.device)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add this epoch's row."""
        means = {}
        for name, pair in self._sums.items():
            total, weight = trainer.strategy.reduce(pair).tolist()
            means[f"{name}/train"] = total / weight if weight else math.nan
        validation = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.endswith("/val")
        }
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, "learning_rate": rate}
        self.rows.append(row | dict(sorted((means | validation).items())))
        self._sums = {}

    def write_csv(self, path: Path) -> None:
        """Write the history, one row an epoch, whole or not at all."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, names, restval=math.nan)
            writer.writeheader()
            writer.writerows(self.rows)


class EpochLine(Callback):
    """One line a finished epoch: readable in a log file, where a progress bar is not."""

    def __init__(self, say: Any, history: MetricsHistory) -> None:
        self.say = say
        self.history = history

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell epoch, losses and effective rank."""
        metrics = self.history.rows[-1]
        shown = "  ".join(
            f"{name} {metrics[name]:.3f}"
            for name in ("loss/train", "loss/val", "effective_rank/train")
            if name in metrics
        )
        self.say(f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}  {shown}")


class StepSeed(Callback):
    """Seeds torch before every batch, so that dropout too is the same after a resume.

    Parameters
    ----------
    seed : int
        The draws of a batch follow from this, the number of batches before it and the process.
        (Batches whose gradients are accumulated share a step, but no draws.)
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Seed the batch that follows."""
        place = trainer.fit_loop.total_batch_idx, trainer.global_rank
        sequence = np.random.SeedSequence((self.seed, *place))
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> 1))


class ResumePoints(Callback):
    """Saves the run every few minutes, and before it stops at SIGTERM or SIGUSR1.

    Processes of one run stop together. The exit code is `os.EX_TEMPFAIL`: started again, the run
    goes on where it was.

    Parameters
    ----------
    path : Path
        The checkpoint, overwritten each time; that of the last finished epoch is the same file.
    minutes : float
        From one point to the next.
    say : callable
        Told in one line why the run stops.
    """

    def __init__(self, path: Path, minutes: float, say: Callable[[str], None]) -> None:
        self.path = path
        self.minutes = minutes
        self.say = say
        self._signal: signal.Signals | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._saved = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Listen, instead of Lightning, which would stop without a checkpoint."""
        if trainer.received_sigterm:
            # Lightning listens from a moment before this one.
            self._signal = signal.SIGTERM
        self._handlers = {number: signal.signal(number, self._hear) for number in STOP_SIGNALS}
        self._saved = time.monotonic()

    def _hear(self, number: int, frame: Any) -> None:
        self._signal = signal.Signals(number)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop between two epochs: the last one is saved already."""
        if self._anyone(trainer, self._signal is not None):
            self._stop()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, or if the run is to stop."""
        # After its last batch an epoch is validated first, and then saved anyway.
        last = batch_idx + 1 >= trainer.num_training_batches
        # Within a step, no checkpoint would hold the gradients that were accumulated.
        step, within = divmod(batch_idx + 1, trainer.accumulate_grad_batches)
        if last or within or (trainer.world_size > 1 and step % _AGREE_EVERY):
            return
        stops = self._anyone(trainer, self._signal is not None)
        due = time.monotonic() - self._saved >= 60 * self.minutes
        if stops or self._anyone(trainer, due):
            trainer.save_checkpoint(self.path)
            self._saved = time.monotonic()
        if stops:
            self._stop()

    def _anyone(self, trainer: Trainer, fact: bool) -> bool:
        return bool(trainer.strategy.reduce_boolean_decision(fact, all=False))

    def _stop(self) -> None:
        heard = self._signal.name if self._signal else "a signal to another process"
        point = self.path if self.path.is_file() else "its beginning"
        self.say(f"stopped by {heard}; started again, it goes on from {point}")
        raise SystemExit(os.EX_TEMPFAIL)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Let a stop that is Lightning's own, whose exit code is 0, count as one of these."""
        if isinstance(exception, SIGTERMException):
            exception.code = os.EX_TEMPFAIL

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
