"""Lightning callbacks of a training run."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from dynaclr.experiments.files import atomic_path


class MetricsHistory(Callback):
    """Keeps every epoch's metrics; they travel in the checkpoint, so a resumed run has them all."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """State that a checkpoint holds."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over the history of the run that is resumed."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Add this epoch's row."""
        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if not name.endswith(("_step", "_epoch"))
        }
        rate = trainer.optimizers[0].param_groups[0]["lr"]
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, "learning_rate": rate}
        self.rows.append(row | dict(sorted(metrics.items())))

    def write_csv(self, path: Path) -> None:
        """Write the history, one row an epoch, whole or not at all."""
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        with atomic_path(path) as temporary, temporary.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, names, restval=math.nan)
            writer.writeheader()
            writer.writerows(self.rows)


class EpochLine(Callback):
    """One line a finished epoch: readable in a log file, where a progress bar is not."""

    def __init__(self, say: Any) -> None:
        self.say = say

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Tell epoch, losses and effective rank."""
        metrics = trainer.callback_metrics
        shown = "  ".join(
            f"{name} {float(metrics[name]):.3f}"
            for name in ("loss/train", "loss/val", "effective_rank/train")
            if name in metrics
        )
        self.say(f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}  {shown}")
