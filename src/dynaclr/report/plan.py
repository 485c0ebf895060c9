"""Plan of the report: names, and files in the results folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ReportPlan(BaseModel):
    """What a report shows; the results folder must hold all of it.

    Attributes
    ----------
    experiments, collections : list of str
        Names of what was run.
    models : dict of str to list of int
        Model to its seeds.
    frozen : list of str
        Models of which nothing was trained.
    pictured : list of str
        Experiments with thumbnails.
    comparison : bool
        Whether models were compared.
    held_out : list of str
        Experiments that a model is scored on.
    figures : list of str
        Figures, relative to the results folder; their folder says where they are shown.
    config : dict
        The project's configuration as it was run, for the record.
    """

    model_config = ConfigDict(extra="forbid")

    experiments: list[str]
    collections: list[str]
    models: dict[str, list[int]]
    frozen: list[str] = Field(default_factory=list)
    pictured: list[str] = Field(default_factory=list)
    comparison: bool = False
    held_out: list[str] = Field(default_factory=list)
    figures: list[str] = Field(default_factory=list)
    config: dict[str, Any] = Field(default_factory=dict)

    def figures_in(self, folder: str) -> list[str]:
        """Figures that lie in a folder of the results, in their order."""
        return [figure for figure in self.figures if Path(figure).parent.as_posix() == folder]
