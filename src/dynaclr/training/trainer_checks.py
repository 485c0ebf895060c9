"""Checks of a trainer: devices that it asks for, an end, and what it keeps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import Timer

from dynaclr.config import Problems
from dynaclr.config.errors import did_you_mean

# "auto", a number of devices, or a list of their numbers.
_DEVICES = re.compile(r"auto|-1|[1-9]\d*|\[\d+\]|\[?\d+(, ?\d+)+\]?")


def check_devices(trainer: Mapping[str, Any], where: str) -> None:
    """Refuse devices that no machine has; whether there are enough, the one that trains knows.

    Parameters
    ----------
    trainer : mapping
        Arguments of the trainer.
    where : str
        Name of the training in messages.

    Raises
    ------
    UserError
        With every error.
    """
    accelerators = {"auto", "gpu", *AcceleratorRegistry.available_accelerators()}
    accelerator, problems = trainer.get("accelerator", "auto"), Problems()
    if isinstance(accelerator, str) and accelerator not in accelerators:
        fix = did_you_mean(accelerator, sorted(accelerators))
        problems.add(f"{where}: trainer.accelerator", f"no accelerator {accelerator!r}", fix)
    devices = trainer.get("devices")
    if devices is not None and not _DEVICES.fullmatch(str(devices)):
        problems.add(f"{where}: trainer.devices", f"is {devices!r}", "Give a number, or a list")
    nodes = trainer.get("num_nodes", 1)
    if not isinstance(nodes, int) or nodes < 1:
        problems.add(f"{where}: trainer.num_nodes", f"is {nodes!r}", "Give 1 or more")
    problems.raise_if_any()


def check_trainer(trainer: Any, where: str) -> None:
    """Refuse trainers that train or validate nothing, have no end, or keep no checkpoint.

    Parameters
    ----------
    trainer : lightning.pytorch.Trainer
    where : str
        Name of the training in messages.

    Raises
    ------
    UserError
        With every error.
    """
    stops = trainer.max_steps != -1 or any(isinstance(c, Timer) for c in trainer.callbacks)
    endless = trainer.max_epochs == -1 and not stops
    kept = trainer.checkpoint_callbacks
    first, epochs = trainer.check_val_every_n_epoch, trainer.max_epochs or -1
    wrong = {
        "max_epochs": (trainer.max_epochs == 0 or endless, "Give a number of epochs"),
        "max_steps": (trainer.max_steps == 0, "Give a number of steps, or leave it out"),
        "limit_train_batches": (trainer.limit_train_batches == 0, "Nothing would be trained on"),
        "limit_val_batches": (trainer.limit_val_batches == 0, "Validation chooses what is kept"),
        "check_val_every_n_epoch": (0 < epochs < (first or 0), "It would never come"),
        "val_check_interval": (trainer.val_check_interval == 0, "Give a positive number"),
        "gradient_clip_val": ((trainer.gradient_clip_val or 0) < 0, "Give a positive number"),
        "fast_dev_run": (bool(trainer.fast_dev_run), "It keeps no checkpoint: set max_epochs: 1"),
        "enable_checkpointing": (not kept and not trainer.fast_dev_run, "Leave it out"),
    }
    problems = Problems()
    for key, (is_wrong, fix) in wrong.items():
        if is_wrong:
            value = getattr(trainer, key, False)
            problems.add(f"{where}: trainer.{key}", f"is {value}", fix)
    problems.raise_if_any()
