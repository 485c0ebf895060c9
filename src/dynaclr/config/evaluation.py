"""Section `evaluation`: tasks, held-out experiments, and parameters of the metrics."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from dynaclr.config.columns import names_in
from dynaclr.config.expression import Expression
from dynaclr.config.fields import ConfigModel, Distinct, Name, check_distinct

# Fewer shuffles say nothing about the tails of their distribution.
MIN_SHUFFLES = 30


class TaskConfig(ConfigModel):
    """A classification task: a label that a linear classifier predicts from the embedding."""

    name: Name = Field(description="Name of the task in tables and figures.")
    label: str = Field(
        description="Column that holds the classes: of the index, or of the table of `source`."
    )
    source: Literal["annotations", "truth"] = Field(
        "annotations",
        description="Table of the experiment entry that holds the label, where it is no column "
        "of the index.",
    )
    where: str | None = Field(
        None,
        description="Use only the observations that fulfil this condition on columns of the index.",
        examples=["condition == 'infected'"],
    )
    groups: str = Field(
        "lineage",
        description="What labels are shared within: `lineage`, or a column of the index (fov, "
        "well, a donor). It is never split between training and testing, and intervals resample "
        "it.",
    )

    class_weight: Literal["balanced"] | None = Field(
        "balanced",
        description="Whether all classes weigh the same in the fit, or (null) all observations, "
        "which ranks a rare class better.",
    )

    @field_validator("where")
    @classmethod
    def _where_is_a_condition(cls, text: str | None) -> str | None:
        if text is not None:
            Expression(text)
        return text


class EvaluationConfig(ConfigModel):
    """How every model is judged."""

    experiments: Distinct[str] = Field(
        default_factory=list, description="Held-out experiments: embedded and scored only."
    )
    tasks: list[TaskConfig] = Field(default_factory=list, description="Classifiers to score.")
    untrained: bool | Literal["auto"] = Field(
        "auto",
        description="Whether the encoders that models started from are evaluated too; `auto`: of "
        "models that are trained, not of frozen ones.",
    )
    baselines: bool | Literal["auto"] = Field(
        "auto",
        description="Whether baselines without a network are evaluated beside models; `auto`: "
        "beside those that are trained, not beside frozen ones.",
    )
    bootstrap: int = Field(
        1000, ge=10, le=1_000_000, description="Resamples of lineages behind each interval."
    )
    shuffles: int = Field(
        30,
        ge=0,
        le=100_000,
        description="Shuffles of the labels behind the null of each classifier: 30 or more; 0: "
        "none.",
    )
    write_corrected: bool = Field(
        False,
        description="Whether the corrected embeddings of trained models are written as stores, "
        "beside the scores of each experiment.",
    )
    control: str | None = Field(
        None,
        description="Condition of the control cells: other conditions are compared with it, and "
        "corrected baselines and the onset of responses are fitted on it.",
        examples=["mock"],
    )
    window_hours: float = Field(
        2.0,
        ge=0.01,
        le=10_000,
        description="Width of the windows in which cells count as of the same hour.",
    )
    progression: str | None = Field(
        None, description="Column of `truth` with the true progression of a cell, a number."
    )
    onset: str | None = Field(
        None, description="Column of `truth` with the true onset of a cell's response, in hours."
    )

    ceiling: bool = Field(
        False,
        description="Whether the encoder of every trained model also learns from the labels of "
        "each task, for some minutes: a supervised ceiling. How far a model has come from the best "
        "baseline to it says how much it has of what can be learned.",
    )

    @property
    def label_columns(self) -> dict[str, set[str]]:
        """Columns that are named, by the table of labels that may hold them."""
        annotations, truth = set[str](), {self.progression, self.onset} - {None}
        for task in self.tasks:
            annotations |= {task.groups, *names_in(task.where or "")}
            (truth if task.source == "truth" else annotations).add(task.label)
        return {"annotations": annotations, "truth": {str(name) for name in truth}}

    @field_validator("shuffles")
    @classmethod
    def _shuffles_are_enough(cls, shuffles: int) -> int:
        if 0 < shuffles < MIN_SHUFFLES:
            raise ValueError(
                f"{shuffles} shuffles make no null distribution; take {MIN_SHUFFLES} or more, or 0 "
                "for none"
            )
        return shuffles

    @model_validator(mode="after")
    def _task_names_are_distinct(self) -> EvaluationConfig:
        try:
            check_distinct([task.name for task in self.tasks])
        except ValueError as error:
            raise ValueError(f"tasks: {error}") from None
        return self
