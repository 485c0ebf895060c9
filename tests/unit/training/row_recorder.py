"""A callback that writes down what a process trains and validates on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch.distributed
from lightning.pytorch import Callback, LightningModule, Trainer


class RowRecorder(Callback):
    """Adds a line for each batch to ``<folder>/<rank>.jsonl``: rows, and the loss in training."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)

    def _record(self, trainer: Trainer, stage: str, batch: Any, step: int, outputs: Any) -> None:
        line = {
            "stage": stage,
            "epoch": trainer.current_epoch,
            "step": step,
            "rows": [batch[view]["row"].tolist() for view in ("anchor", "positive")],
            "loss": float(outputs["loss"]),
            "backend": torch.distributed.is_initialized() and torch.distributed.get_backend(),
        }
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{trainer.global_rank}.jsonl").open("a") as stream:
            stream.write(json.dumps(line) + "\n")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, step: int
    ) -> None:
        self._record(trainer, "train", batch, step, outputs)

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, step: int
    ) -> None:
        self._record(trainer, "validation", batch, step, outputs)
