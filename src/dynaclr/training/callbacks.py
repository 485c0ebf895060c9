"""Lightning callbacks of a training run."""

from __future__ import annotations

import csv
import logging
import math
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from dynaclr.data.loading.resumable_loader import STOP_SIGNALS
from dynaclr.io.artifacts import atomic_path

log = logging.getLogger(__name__)

# With several processes, optimiser steps between two times at which they agree whether to save or
# stop: agreeing makes a GPU wait.
_STEPS_BETWEEN_CHECKS = 10


class MetricsHistory(Callback):
    """Keeps every epoch's metrics; they travel in the checkpoint, so a resumed run has them all.

    The means over an epoch's training batches are taken here, of everything that a training step
    returns: Lightning's own know nothing of the batches before a resume. A step returns a value of
    the batch, or a pair as `base.row_weighted` makes it.
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._sums: dict[str, Tensor] = {}

    def state_dict(self) -> dict[str, Any]:
        """State that a checkpoint holds."""
        return {"rows": self.rows, "sums": {n: pair.tolist() for n, pair in self._sums.items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the history of the run that is resumed."""
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


class EpochLog(Callback):
    """Logs one line a finished epoch: readable in a log file, where a progress bar is not."""

    def __init__(self, history: MetricsHistory) -> None:
        self.history = history

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log epoch, losses and effective rank."""
        metrics = self.history.rows[-1]
        shown = "  ".join(
            f"{name} {metrics[name]:.3f}"
            for name in ("loss/train", "loss/val", "effective_rank/train")
            if name in metrics
        )
        log.info("epoch %d of %d  %s", trainer.current_epoch + 1, trainer.max_epochs, shown)


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
        key = self.seed, trainer.fit_loop.total_batch_idx, trainer.global_rank
        state = np.random.SeedSequence(key).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0] >> 1))


class ResumeCheckpoint(Callback):
    """Saves the run every few minutes, and before it stops at SIGTERM or SIGUSR1.

    Processes of one run stop together. The exit code is `os.EX_TEMPFAIL`: started again, the run
    goes on where it was.

    Parameters
    ----------
    path : Path
        The checkpoint, overwritten each time; that of the last finished epoch is the same file.
    minutes : float
        From one save to the next.
    condition : str
        End of the log line about a stop: a condition under which the run can be resumed.
    """

    def __init__(self, path: Path, minutes: float, condition: str = "") -> None:
        self.path = path
        self.minutes = minutes
        self.condition = condition
        self._signal: signal.Signals | None = None
        self._handlers: dict[signal.Signals, Any] = {}
        self._saved = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Handle signals instead of Lightning, which would stop without a checkpoint."""
        if trainer.received_sigterm:
            # The signal came between the installation of Lightning's handler and of this one.
            self._signal = signal.SIGTERM
        self._handlers = {number: signal.signal(number, self._on_signal) for number in STOP_SIGNALS}
        self._saved = time.monotonic()

    def _on_signal(self, number: int, frame: Any) -> None:
        self._signal = signal.Signals(number)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop between two epochs: the last one is saved already."""
        if self._in_any_process(trainer, self._signal is not None):
            self._stop()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, or if the run is to stop."""
        # After its last batch an epoch is validated first, and then saved anyway.
        last = batch_idx + 1 >= trainer.num_training_batches
        # Within a step, no checkpoint would hold the gradients that were accumulated.
        step, within = divmod(batch_idx + 1, trainer.accumulate_grad_batches)
        if last or within or (trainer.world_size > 1 and step % _STEPS_BETWEEN_CHECKS):
            return
        stops = self._in_any_process(trainer, self._signal is not None)
        due = time.monotonic() - self._saved >= 60 * self.minutes
        if stops or self._in_any_process(trainer, due):
            trainer.save_checkpoint(self.path)
            self._saved = time.monotonic()
        if stops:
            self._stop()

    def _in_any_process(self, trainer: Trainer, fact: bool) -> bool:
        return bool(trainer.strategy.reduce_boolean_decision(fact, all=False))

    def _stop(self) -> None:
        name = self._signal.name if self._signal else "a signal to another process"
        start = self.path if self.path.is_file() else "its beginning"
        log.info("stopped by %s; started again, it goes on from %s%s", name, start, self.condition)
        raise SystemExit(os.EX_TEMPFAIL)

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Give a stop by Lightning itself, whose exit code is 0, the code of the others."""
        if isinstance(exception, SIGTERMException):
            exception.code = os.EX_TEMPFAIL

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the handlers of signals."""
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
