"""A callback of trainings that something shall happen to."""

import time
from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer


class SlowEpochs(Callback):
    """Makes every epoch last, and one of them take much memory.

    Parameters
    ----------
    seconds : float
        Added to every epoch.
    hungry_epoch : int, optional
        Epoch that takes `megabytes` for as long.
    megabytes : int
    """

    def __init__(self, seconds: float, hungry_epoch: int | None = None, megabytes: int = 0) -> None:
        self.seconds = seconds
        self.hungry_epoch = hungry_epoch
        self.megabytes = megabytes

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take memory, if it is time; SLURM checks memory every other second."""
        if trainer.current_epoch == self.hungry_epoch:
            held = np.ones(self.megabytes << 17)
            time.sleep(4)
            del held

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Wait within the epoch: what is heard meanwhile is heard after its first batch."""
        if batch_idx == 0:
            time.sleep(self.seconds)
