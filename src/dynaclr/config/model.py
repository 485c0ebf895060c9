"""Section `models`: what is trained on which collection, how, and with which seeds; or what is not.

A model with `pretrained` is frozen: nothing of it is trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from dynaclr.config.fields import ConfigModel, ConfigPath, Distinct, ProductPath, Seed


class ModelConfig(ConfigModel):
    """A model: what it is trained on, how, and with which seeds; or what it is instead."""

    collection: str | None = Field(
        None,
        description="Name of the collection it is trained on. Of a frozen model: whose experiments "
        "it embeds too, so that classifiers are fitted on them.",
    )
    training: ConfigPath | None = Field(
        None,
        description="Training configuration (YAML). Of a frozen model: where `pretrained` is a "
        "checkpoint alone.",
    )
    overrides: dict[str, Any] = Field(
        default_factory=dict,
        description="Values that replace some of the training configuration, by dotted key.",
        examples=[{"model.learning_rate": 0.0003}],
    )
    seeds: Distinct[Seed] = Field([0], min_length=1, description="One training for each seed.")
    threads: int = Field(2, ge=1, description="CPU threads of a training and of its embeddings.")
    pretrained: ProductPath | None = Field(
        None,
        description="Makes a frozen model of weights that are there: the folder of a training, a "
        "bundle, or a checkpoint; relative to the folder that the workflow runs in.",
        examples=["results/models/dynaclr/seed0"],
    )

    @property
    def frozen(self) -> bool:
        """Whether nothing of it is trained."""
        return self.pretrained is not None

    @model_validator(mode="after")
    def _is_trained_or_frozen(self) -> ModelConfig:
        if self.pretrained is None:
            for key in ("collection", "training"):
                if getattr(self, key) is None:
                    raise ValueError(f"has no {key}; give it one, or freeze it with `pretrained`")
        elif "seeds" in self.model_fields_set:
            raise ValueError(
                "seeds are those of trainings, of which a frozen model has one; remove `seeds`"
            )
        elif self.overrides and self.training is None:
            raise ValueError("overrides change nothing, since no `training` is named; remove them")
        return self


def checkpoint_paths(models: Mapping[str, ModelConfig]) -> dict[str, str]:
    """Checkpoints that the workflow makes, relative to where it runs, and the model of each."""
    return {
        f"results/models/{name}/seed{seed}/best.ckpt": name
        for name, model in models.items()
        for seed in model.seeds
    }
