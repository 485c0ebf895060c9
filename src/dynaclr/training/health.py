"""Callbacks that warn of collapse and measure the time spent waiting for data."""

from __future__ import annotations

import logging
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

log = logging.getLogger(__name__)


class CollapseWarning(Callback):
    """Warns once, in the log, that an embedding has collapsed.

    Parameters
    ----------
    threshold : float
        Mean effective rank of an epoch's features (see `monitors.effective_rank`; 1 is a line or a
        point) below which an embedding counts as collapsed.
    """

    def __init__(self, threshold: float = 1.5) -> None:
        self.threshold = threshold
        self.warned = False

    def state_dict(self) -> dict[str, Any]:
        """State that a checkpoint holds, so that a resumed run does not warn again."""
        return {"warned": self.warned}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore whether the run that is resumed has warned."""
        # The state is one flag, which older checkpoints hold by another name.
        self.warned = any(state_dict.values())

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the effective ranks of this epoch."""
        for name, value in trainer.callback_metrics.items():
            if "effective_rank/" not in name or value >= self.threshold or self.warned:
                continue
            self.warned = True
            if trainer.is_global_zero:
                log.warning(
                    "epoch %d: the embedding has collapsed: %s is %.2f, and 1 means that all "
                    "cells lie on one line or in one point. Lower the learning rate, raise batch "
                    "size or temperature, or inspect the patches with `dynaclr inspect-batches`.",
                    trainer.current_epoch + 1,
                    name,
                    float(value),
                )


class StepTimes(Callback):
    """Logs the time of an epoch's steps, and which share of it was spent waiting for batches.

    ``time/data_wait_share`` is the time from the end of a step until the loader has handed over the
    next batch, by the time of all steps; with another data module than
    `MultiExperimentDataModule` it ends where the next step starts. ``time/seconds_per_step`` and
    ``time/samples_per_second`` (anchors, of all processes) count everything but validation. What
    a GPU still has to do when a step's hooks return is charged to the steps after it.

    The numbers differ from run to run, so they go straight to the loggers and never become metrics
    of the trainer: `MetricsHistory`, checkpoints and early stopping do not see them.
    """

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the sums of an epoch."""
        self._waited = self._passed = 0.0
        self._steps = self._samples = 0
        self._since = time.perf_counter()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the sums: a run that is resumed within an epoch has no start of that epoch."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Add the wait for this batch, without its normalization and augmentation."""
        arrived = getattr(
            getattr(trainer, "datamodule", None), "batch_arrived", time.perf_counter()
        )
        self._waited += arrived - self._since

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Add a step."""
        now = time.perf_counter()
        self._passed += now - self._since
        self._steps += 1
        self._samples += len(batch["anchor"]["patch"])
        self._since = now

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave out the time since the last step."""
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the epoch."""
        if self._steps == 0:
            return
        times = {
            "time/data_wait_share": self._waited / self._passed,
            "time/seconds_per_step": self._passed / self._steps,
            "time/samples_per_second": self._samples * trainer.world_size / self._passed,
        }
        for logger in trainer.loggers:
            logger.log_metrics(times, step=trainer.global_step)
