"""Section `collections`: experiments that are merged into one index."""

from __future__ import annotations

from pydantic import Field, model_validator

from dynaclr.config.fields import ConfigModel, Distinct


class CollectionConfig(ConfigModel):
    """Experiments that are merged into one index, and what of them validates a training."""

    train: Distinct[str] = Field(min_length=1, description="Experiments to train on.")
    validation: Distinct[str] = Field(
        default_factory=list, description="Experiments kept whole for validation."
    )
    validation_fov_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Instead: the share of each training experiment's fields of view.",
    )
    validation_lineage_fraction: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="Instead: the share of each training experiment's lineages, for experiments "
        "of a single field of view.",
    )
    seed: int = Field(
        0, ge=0, description="Seed that chooses the validation fields of view or lineages."
    )
    held_out: Distinct[str] = Field(
        default_factory=list,
        description="Held-out experiments of these models, instead of those of `evaluation`.",
    )

    @model_validator(mode="after")
    def _has_one_kind_of_validation(self) -> CollectionConfig:
        for kind in ("validation", "held_out"):
            both = sorted(set(self.train) & set(getattr(self, kind)))
            if both:
                raise ValueError(
                    f"{', '.join(both)} is listed in both train and {kind}; remove it from one"
                )
        fractions = (self.validation_fov_fraction, self.validation_lineage_fraction)
        kinds = bool(self.validation) + sum(fraction is not None for fraction in fractions)
        if kinds != 1:
            given = ("no", "", "both kinds of", "all kinds of")[kinds]
            raise ValueError(
                f"{given} validation data given; name experiments under `validation`, or give a "
                "`validation_fov_fraction` or a `validation_lineage_fraction`"
            )
        return self

    @property
    def experiments(self) -> list[str]:
        """Names of all experiments of the collection, sorted."""
        return sorted({*self.train, *self.validation})
