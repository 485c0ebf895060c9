"""Section `models`: what is trained on which collection, how, and with which seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from dynaclr.config.fields import ConfigModel, ConfigPath, Distinct, Seed


class ModelConfig(ConfigModel):
    """A model: what it is trained on, how, and with which seeds."""

    collection: str = Field(description="Name of the collection it is trained on.")
    training: ConfigPath = Field(description="Training configuration (YAML).")
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description="Values that replace some of the training configuration, by dotted key.",
        examples=[{"model.learning_rate": 0.0003}],
    )
    seeds: Distinct[Seed] = Field([0], min_length=1, description="One training for each seed.")
    threads: int = Field(2, ge=1, description="CPU threads of a training and of its embeddings.")


def checkpoint_paths(models: Mapping[str, ModelConfig]) -> dict[str, str]:
    """Checkpoints that the workflow makes, relative to where it runs, and the model of each."""
    return {
        f"results/models/{name}/seed{seed}/best.ckpt": name
        for name, model in models.items()
        for seed in model.seeds
    }
