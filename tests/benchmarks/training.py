"""Speed of a training on a GPU: steps a second, its utilisation, and the share of waiting for data.

    python tests/benchmarks/training.py [--compile] [--workers 8]

ConvNeXt-Tiny on 256 pairs of two channels of 160 x 160 pixels, and of one channel of 15 planes, in
bf16 with the augmentation of a real training; with batches from memory and from the loader. It
needs a GPU. `--cpu` with a small `--size`, `--batch` and `--backbone` shows that it runs.
"""

from __future__ import annotations

import argparse
import csv
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from lightning.fabric.utilities.apply_func import apply_to_collection
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))
from plates import Case, make_collection

from dynaclr import transforms as T
from dynaclr.data import MultiExperimentDataModule, PatchConfig
from dynaclr.data.loading.device_prefetch import prefetch_to_device
from dynaclr.models import ContrastiveEncoder
from dynaclr.training import ContrastiveModule

STACKS = {"2 x 1": (("phase", "gfp"), 1), "1 x 15": (("phase",), 15)}


class InMemory:
    """A few batches again and again."""

    def __init__(self, batches: list[dict], steps: int, device: torch.device) -> None:
        pin = device.type == "cuda"
        self.batches = apply_to_collection(
            batches, torch.Tensor, lambda x: x.cpu().pin_memory() if pin else x
        )
        self.steps, self.device = steps, device

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[dict]:
        return prefetch_to_device(islice(cycle(self.batches), self.steps), self.device)


class FromMemory(MultiExperimentDataModule):
    """Gives what the loader gave first."""

    def train_dataloader(self) -> InMemory:
        """Read four batches."""
        loader = super().train_dataloader()
        device = self.trainer.strategy.root_device
        return InMemory(list(islice(loader, 4)), len(loader), device)


class Utilisation(Callback):
    """Asks the driver ten times a second, in the last epoch, how busy the GPU is."""

    def __init__(self) -> None:
        self.percent: list[float] = []

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Start to ask."""
        self.asking = None
        if trainer.strategy.root_device.type == "cuda" and trainer.current_epoch == 1:
            command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
            command += ["-lms", "100", "-i", str(trainer.strategy.root_device.index)]
            self.asking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Stop."""
        if self.asking:
            self.asking.terminate()
            said, _ = self.asking.communicate()
            self.percent = [float(line) for line in said.splitlines() if line.strip()]


def augmentations(size: int) -> list[nn.Module]:
    """What a real training does to patches."""
    return [
        T.RandomAffine(180, 0.1, translation=3, output_size=(size, size)),
        T.RandomFlip(),
        T.RandomGamma(p=0.5),
        T.RandomIntensityScale(0.4, p=0.8),
        T.RandomIntensityShift(0.4, p=0.8),
        T.RandomGaussianSmooth((0.3, 0.8)),
        T.RandomGaussianNoise((0.0, 0.2)),
    ]


def run(
    data: MultiExperimentDataModule, chosen: argparse.Namespace, folder: Path
) -> dict[str, float]:
    """Train for two epochs; the second one is measured."""
    patches = data.patches
    stem = (5, 4, 4) if patches.depth > 1 else (1, 4, 4)
    encoder = ContrastiveEncoder(chosen.backbone, len(patches.markers), patches.depth, stem, stem)
    utilisation = Utilisation()
    trainer = Trainer(
        accelerator="cpu" if chosen.cpu else "gpu",
        devices=1,
        precision="bf16-mixed",
        max_epochs=2,
        limit_train_batches=chosen.steps,
        limit_val_batches=0,
        gradient_clip_val=1.0,
        callbacks=[utilisation],
        logger=CSVLogger(folder, "", ""),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(ContrastiveModule(encoder, compile_encoder=chosen.compile), datamodule=data)
    with (folder / "metrics.csv").open() as stream:
        measured = [row for row in csv.DictReader(stream) if row["time/seconds_per_step"]][-1]
    busy = utilisation.percent
    return {
        "steps/s": 1 / float(measured["time/seconds_per_step"]),
        "cells/s": float(measured["time/samples_per_second"]),
        "GPU busy, %": mean(busy) if busy else float("nan"),
        "waiting for data, %": 100 * float(measured["time/data_wait_share"]),
    }


def main() -> None:
    """Measure both stacks with both sources of data and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", default="convnext_tiny")
    parser.add_argument("--size", type=int, default=160, help="edge of a patch in pixels")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=50, help="steps of an epoch")
    parser.add_argument("--workers", type=int, default=8, help="processes that read")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--cpu", action="store_true", help="only to see that it runs")
    chosen = parser.parse_args()
    if not (chosen.cpu or torch.cuda.is_available()):
        sys.exit("This measures a GPU, and there is none. Its columns stay unmeasured.")
    # A margin for rotation.
    extraction = 2 * round(chosen.size * 0.71)
    for stack, (markers, depth) in STACKS.items():
        with tempfile.TemporaryDirectory() as folder:
            case = Case(4 * extraction, 2 * extraction, depth=depth)
            results, collection, _ = make_collection(case, Path(folder))
            for source, kind in (("memory", FromMemory), ("loader", MultiExperimentDataModule)):
                data = kind(
                    collection,
                    results,
                    PatchConfig(markers, (chosen.size, chosen.size), depth=depth),
                    augmentations=augmentations(chosen.size),
                    extraction_size=(extraction, extraction),
                    batch_size=chosen.batch,
                    num_workers=chosen.workers if source == "loader" else 0,
                )
                found = run(data, chosen, Path(folder) / source)
                name = f"{stack} x {chosen.size} x {chosen.size}, {source}"
                cells = "   ".join(f"{key} {value:.3g}" for key, value in found.items())
                print(f"{name:<32}{cells}", flush=True)


if __name__ == "__main__":
    main()
