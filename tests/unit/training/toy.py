"""Batches of two noisy views of known latents, and an encoder that learns them in a second."""

from __future__ import annotations

import time

import torch
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

LATENT, SIDE = 4, 6


class ToyEncoder(nn.Module):
    """Two linear layers with every kind of layer that evaluation mode changes."""

    def __init__(
        self,
        in_channels: int = 2,
        feature_dim: int = 16,
        projection_dim: int = 8,
        p: float = 0.1,
        norm: type[nn.Module] = nn.BatchNorm1d,
    ) -> None:
        super().__init__()
        self.in_channels, self.in_stack_depth = in_channels, 1
        self.feature_dim, self.projection_dim = feature_dim, projection_dim
        self.body = nn.Sequential(
            nn.Flatten(),
            nn.Linear(in_channels * SIDE**2, 32),
            norm(32),
            nn.ReLU(),
            nn.Dropout(p),
            nn.Linear(32, feature_dim),
        )
        self.projection = nn.Sequential(
            nn.Linear(feature_dim, projection_dim), norm(projection_dim)
        )

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(x_BCZYX)
        return features, self.projection(features)


class Ready(Dataset):
    """Ready batches as a dataset."""

    def __init__(self, batches: list[dict]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> dict:
        if number >= len(self):
            raise IndexError
        return self.batches[number]


class OwnShare(Ready):
    """Each process's rows of every batch."""

    def __getitem__(self, number):
        world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
        return {
            view: {name: value[rank::world] for name, value in rows.items()}
            for view, rows in super().__getitem__(number).items()
        }


# Trainer options of two processes, each with `OwnShare` of the batches.
SEVERAL = {"devices": 2, "strategy": "ddp_spawn", "use_distributed_sampler": False}


def batches(n_batches: int = 6, n: int = 32, seed: int = 0, noise: float = 0.1) -> list[dict]:
    """Every channel is its own linear image of a cell's latents; a view adds noise.

    ``sign`` is 1 where the first latent is positive, ``half`` the same for one row of two and -1
    for the other.
    """
    mixing = torch.randn(2, LATENT, SIDE**2, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    made = []
    for number in range(n_batches):
        latents = torch.randn(n, LATENT, generator=generator)
        clean = torch.einsum("bl,clp->bcp", latents, mixing).reshape(n, 2, 1, SIDE, SIDE)
        sign = (latents[:, 0] > 0).int()
        facts = {
            "lineage_id": number * n + torch.arange(n),
            "sign": sign,
            "half": torch.where(torch.arange(n) % 2 == 0, sign, -1),
        }
        made.append(
            {
                view: {"patch": clean + noise * torch.randn(clean.shape, generator=generator)}
                | facts
                for view in ("anchor", "positive")
            }
        )
    return made


class Logged(Callback):
    """Keeps all metrics of every epoch."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        self.rows.append({name: float(value) for name, value in trainer.callback_metrics.items()})


class Pause(Callback):
    """Makes steps so long that a signal arrives within an epoch."""

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        time.sleep(0.05)


def fit(module, train, val=None, epochs=5, data=None, resume=None, **options) -> Trainer:
    """Train for some epochs, on batches or a data module, and return the trainer."""
    torch.manual_seed(0)
    settings = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "accelerator": "cpu",
        "max_epochs": epochs,
    }
    trainer = Trainer(**(settings | options))
    if data is not None:
        trainer.fit(module, datamodule=data)
    else:
        trainer.fit(module, loader(train), loader(val) if val else None, ckpt_path=resume)
    return trainer


def loader(made: list[dict] | Dataset) -> DataLoader:
    return DataLoader(Ready(made) if isinstance(made, list) else made, batch_size=None)
