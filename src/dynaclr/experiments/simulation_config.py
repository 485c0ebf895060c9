"""Parameters of a simulated experiment, as they stand in an experiment entry."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class SimulationConfig(BaseModel):
    """How `dynaclr simulate` makes an experiment with known truth.

    Name, channels, wells, frame interval, start hour and pixel size come from the entry itself;
    this block holds the rest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = Field(0, description="Seed of everything random in this experiment.")
