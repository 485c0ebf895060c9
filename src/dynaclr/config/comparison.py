"""Section `comparison`: which models are compared."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, field_validator

from dynaclr.config.errors import did_you_mean
from dynaclr.config.fields import ConfigModel, Distinct, Seed
from dynaclr.config.metrics import METRICS
from dynaclr.config.model import ModelConfig


class ComparisonConfig(ConfigModel):
    """Which models are compared: a grid of models and seeds."""

    models: Distinct[str] = Field(
        default_factory=list, description="Models to compare; default: all of them."
    )
    seeds: Distinct[Seed] | None = Field(
        None, min_length=1, description="Seeds of these models, instead of their own."
    )
    contrasts: list[tuple[str, str]] = Field(
        default_factory=list,
        description="Pairs of models whose difference is reported, first minus second; default: "
        "every model against the first.",
    )
    metrics: Distinct[str] = Field(
        default_factory=list,
        description="Metrics that are compared and drawn; default: the main one of each question.",
    )

    @field_validator("metrics")
    @classmethod
    def _metrics_are_known(cls, metrics: list[str]) -> list[str]:
        for metric in metrics:
            if metric.partition(":")[0] not in METRICS:
                raise ValueError(f"no metric {metric!r}; {did_you_mean(metric, METRICS)}")
        return metrics

    @field_validator("contrasts")
    @classmethod
    def _contrasts_are_of_two(cls, contrasts: list[tuple[str, str]]) -> list[tuple[str, str]]:
        for first, second in contrasts:
            if first == second:
                raise ValueError(f"{first} is compared with itself; name two models")
        return contrasts

    def with_seeds(self, models: Mapping[str, ModelConfig]) -> dict[str, ModelConfig]:
        """All models of a project; those that are compared get the seeds given here, if any are.

        Frozen ones keep theirs.
        """
        seeds, compared = self.seeds, self.models or list(models)
        return {
            name: model.model_copy(update={"seeds": seeds})
            if seeds and name in compared and not model.frozen
            else model
            for name, model in models.items()
        }
