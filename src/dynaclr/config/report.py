"""Section `report`: how much of the data the report shows."""

from __future__ import annotations

from pydantic import Field

from dynaclr.config.fields import ConfigModel


class ReportConfig(ConfigModel):
    """How much of the cells the report shows."""

    cells: int = Field(
        50_000,
        ge=1,
        description="Most cells in a map of the embedding, as many of each experiment.",
    )
    pictures: int = Field(
        2000, ge=1, description="Most cells of an experiment that are shown with their picture."
    )
