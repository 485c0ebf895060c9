"""What a model is judged on: observations, features, tasks and truth, with the columns at hand."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from dynaclr.config import EvaluationConfig, TaskConfig, UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.config.metrics import HELD_OUT, POOLED
from dynaclr.config.variants import Variant, ordered_variants, uncorrected
from dynaclr.evaluation.correction import left_as_they_are, with_corrections
from dynaclr.evaluation.labels import join_numbers
from dynaclr.evaluation.samples import independent_rows, matched_strata
from dynaclr.evaluation.tasks import LabelPaths, TaskRows, group_codes, select_task
from dynaclr.io.embeddings import MARKER, Cohort, key_of


@dataclass(frozen=True)
class Study:
    """Everything that the metrics of one model are computed from.

    Attributes
    ----------
    cohort : Cohort
        Observations (n rows) and the features of all variants, corrected ones included.
    config : EvaluationConfig
    train, held_out : list of str
        Experiments that classifiers are fitted on, and scored on.
    tasks : list of (TaskConfig, TaskRows)
    truth : dict of str to numpy.ndarray
        ``progression`` and ``onset`` where the configuration names their columns: float64, shape
        (n,), NaN where unknown.
    seed : int
        Of everything random.
    """

    cohort: Cohort
    config: EvaluationConfig
    train: list[str]
    held_out: list[str]
    tasks: list[tuple[TaskConfig, TaskRows]]
    truth: dict[str, np.ndarray]
    seed: int

    @property
    def obs(self) -> pd.DataFrame:
        """The observations."""
        return self.cohort.obs

    @property
    def scored(self) -> list[str]:
        """Experiments that metrics without fitting are given for: held out, else the training's."""
        return self.held_out or self.train

    @property
    def scope(self) -> str:
        """Estimate of what is computed on the scored experiments."""
        return HELD_OUT if self.held_out else POOLED

    @cached_property
    def mixed(self) -> list[str]:
        """Experiments whose cells are held against each other: held-out ones where there are two.

        With fewer, all of them, those trained on among them: mixing needs two.
        """
        if len(self.held_out) > 1:
            return self.held_out
        return sorted(set(self.experiments))

    @property
    def mixed_scope(self) -> str:
        """Estimate of what is computed on the mixed experiments."""
        return HELD_OUT if self.mixed is self.held_out else POOLED

    def rows_of(self, experiments: list[str]) -> np.ndarray:
        """Positions of the rows of some experiments, ascending."""
        return np.flatnonzero(np.isin(self.experiments, experiments))

    @cached_property
    def variants(self) -> list[Variant]:
        """All variants in the order of tables."""
        return ordered_variants(self.cohort.features)

    @property
    def uncorrected(self) -> list[Variant]:
        """Variants whose features are as they were made."""
        return uncorrected(self.variants)

    @cached_property
    def experiments(self) -> np.ndarray:
        """Experiment of each row, object."""
        return self.obs["experiment"].to_numpy(dtype=object)

    @cached_property
    def conditions(self) -> np.ndarray:
        """Condition of each row, object."""
        return self.obs["condition"].to_numpy(dtype=object)

    @cached_property
    def hours(self) -> np.ndarray:
        """Hours of each row, float64."""
        return self.obs["hours"].to_numpy(dtype=np.float64)

    @cached_property
    def windows(self) -> np.ndarray:
        """Number of the hour window of each row, int64."""
        return np.floor(self.hours / self.config.window_hours + 1e-9).astype(np.int64)

    @cached_property
    def lineages(self) -> np.ndarray:
        """Code of each row's lineage, distinct between experiments."""
        return group_codes(self.obs, "lineage")

    @cached_property
    def tracks(self) -> np.ndarray:
        """Code of each row's track, distinct between experiments (and markers)."""
        key = [name for name in key_of(self.obs) if name != "t"]
        return self.obs.groupby(key, sort=True, observed=True).ngroup().to_numpy()

    @cached_property
    def parents(self) -> np.ndarray | None:
        """Code of each row's parent track, -1 for none; None when the stores do not tell."""
        if "parent_track_id" not in self.obs:
            return None
        key = [name for name in key_of(self.obs) if name not in ("track_id", "t")]
        key.append("parent_track_id")
        codes = self.obs.groupby(key, sort=True, observed=True).ngroup().to_numpy()
        return np.where(self.obs["parent_track_id"].to_numpy() < 0, -1, codes)

    @cached_property
    def markers(self) -> dict[str, np.ndarray]:
        """Rows (bool) of each marker, where the observations have a column of several markers."""
        if MARKER not in self.obs or self.obs[MARKER].nunique() < 2:
            return {}
        values = self.obs[MARKER]
        return {name: (values == name).to_numpy() for name in sorted(values.dropna().unique())}

    @cached_property
    def control(self) -> np.ndarray | None:
        """Which rows are control cells, bool; None when no condition is named the control."""
        return None if self.config.control is None else self.conditions == self.config.control

    @cached_property
    def independent(self) -> np.ndarray:
        """Rows with one observation of each lineage and window; see `independent_rows`."""
        return independent_rows(self.lineages, self.windows, np.random.default_rng(self.seed))

    @cached_property
    def strata(self) -> list[np.ndarray]:
        """Independent rows of matched biology in the mixed experiments; see `matched_strata`."""
        rng = np.random.default_rng(self.seed)
        rows = np.intersect1d(self.independent, self.rows_of(self.mixed))
        return matched_strata(rows, self.experiments, self.conditions, self.windows, rng)

    def note_on(self, correction: str) -> str:
        """What should be known about a corrected variant; empty for nothing."""
        if correction != "transport":
            return ""
        names = left_as_they_are(self.experiments, self.control)
        return f"too few control cells to transport {', '.join(names)}" if names else ""

    def window_start(self, window: int) -> float:
        """Hour at which a window begins."""
        return float(window * self.config.window_hours)


def make_study(
    cohort: Cohort,
    labels: LabelPaths,
    config: EvaluationConfig,
    train: list[str],
    held_out: list[str],
    seed: int,
) -> Study:
    """Select the rows of each task, join the truth and correct the features.

    Raises
    ------
    UserError
        When experiments, tasks, the control or columns of truth do not fit the stores.
    """
    obs = cohort.obs
    _check_experiments(obs, train, held_out)
    conditions = sorted(obs["condition"].unique())
    if config.control is not None and config.control not in conditions:
        raise UserError(
            f"evaluation.control: no cell is of condition {config.control!r}. "
            f"{did_you_mean(config.control, conditions)}."
        )
    truth = {
        name: _numbers_of_all(obs, column, labels)
        for name, column in (("progression", config.progression), ("onset", config.onset))
        if column is not None
    }
    control = None if config.control is None else (obs["condition"] == config.control).to_numpy()
    reference = obs["experiment"].isin(train).to_numpy()
    tasks = [task for given in config.tasks for task in per_marker(obs, given)]
    return Study(
        cohort=with_corrections(cohort, control, reference),
        config=config,
        train=train,
        held_out=held_out,
        tasks=[(task, select_task(obs, task, labels)) for task in tasks],
        truth=truth,
        seed=seed,
    )


def per_marker(obs: pd.DataFrame, task: TaskConfig) -> list[TaskConfig]:
    """The task, and once more for each marker where the observations have a column of it."""
    if MARKER not in obs or obs[MARKER].nunique() < 2:
        return [task]
    alone = [
        task.model_copy(
            update={
                "name": f"{task.name}.{marker}",
                "where": " and ".join(
                    [*([f"({task.where})"] if task.where else []), f"{MARKER} == {marker!r}"]
                ),
            }
        )
        for marker in sorted(obs[MARKER].dropna().unique())
    ]
    return [task, *alone]


def _check_experiments(obs: pd.DataFrame, train: list[str], held_out: list[str]) -> None:
    known = sorted(obs["experiment"].unique())
    for name in [*train, *held_out]:
        if name not in known:
            raise UserError(
                f"evaluation: no embedding store of experiment {name!r} was given. "
                f"{did_you_mean(name, known)}."
            )
    both = sorted(set(train) & set(held_out))
    if both:
        raise UserError(
            f"evaluation: {', '.join(both)} is both trained on and held out. Leave it in one."
        )
    if not train:
        raise UserError("evaluation: no experiment to train classifiers on. Name at least one.")


def _numbers_of_all(obs: pd.DataFrame, column: str, labels: LabelPaths) -> np.ndarray:
    values = np.full(len(obs), np.nan)
    for experiment, rows in obs.groupby("experiment", sort=True).indices.items():
        path = labels.get(experiment, {}).get("truth")
        if path is not None:
            values[rows] = join_numbers(obs.iloc[rows], path, column)
    return values
