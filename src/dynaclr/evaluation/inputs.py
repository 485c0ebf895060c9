"""Inputs of an evaluation's stages: observations, features, tasks and truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from dynaclr.config import EvaluationConfig, TaskConfig
from dynaclr.config.columns import MARKER
from dynaclr.config.metrics import HELD_OUT, POOLED
from dynaclr.config.variants import Variant, ordered_variants
from dynaclr.evaluation.batch_correction import Moments, corrected_variants, untransported
from dynaclr.evaluation.label_tables import LabelPaths, join_numbers
from dynaclr.evaluation.matched_samples import independent_rows, matched_strata
from dynaclr.evaluation.tasks import TaskRows, group_codes, task_rows, with_labels
from dynaclr.io.embeddings import key_of

# Task to experiment to a note.
Notes = dict[str, dict[str, str]]
# Columns of observations that hold the truth, by what it is of.
TRUTH = {"progression": "progression (truth)", "onset": "onset (truth)"}


@dataclass(frozen=True)
class EvaluationInputs:
    """Observations of some experiments, what is known about them, and features of some variants.

    Attributes
    ----------
    obs : pandas.DataFrame
        The observations, index 0 to n - 1.
    config : EvaluationConfig
    train : list of str
        Experiments that classifiers are fitted on, as far as they are here.
    held_out : list of str
        Experiments that classifiers are scored on, as far as they are here.
    tasks : list of (TaskConfig, TaskRows)
    truth : dict of str to numpy.ndarray
        ``progression`` and ``onset`` where the configuration names their columns: float64, shape
        (n,), NaN where unknown.
    seed : int
        Seed of everything random.
    features : dict of str to numpy.ndarray
        Variant to its features, float32, shape (n, d of the variant).
    """

    obs: pd.DataFrame
    config: EvaluationConfig
    train: list[str]
    held_out: list[str]
    tasks: list[tuple[TaskConfig, TaskRows]]
    truth: dict[str, np.ndarray]
    seed: int
    features: dict[str, np.ndarray] = field(default_factory=dict)

    def with_variant(
        self, name: str, features: np.ndarray, target: Moments | None
    ) -> EvaluationInputs:
        """The same observations with the features of one variant and of its corrections."""
        given = (name, features, self.experiments, self.control, target)
        return replace(self, features=corrected_variants(*given))

    @property
    def scored(self) -> list[str]:
        """Experiments of metrics that fit nothing: the held-out ones, else those of training."""
        return self.held_out or self.train

    @property
    def scope(self) -> str:
        """Value of ``estimate`` for what is computed on the scored experiments."""
        return HELD_OUT if self.held_out else POOLED

    @cached_property
    def mixed(self) -> list[str]:
        """Experiments that are compared with each other: the held-out ones if there are two.

        With fewer, all of them, training experiments included: mixing needs two.
        """
        if len(self.held_out) > 1:
            return self.held_out
        return sorted(set(self.experiments))

    @property
    def mixed_scope(self) -> str:
        """Value of ``estimate`` for what is computed on the mixed experiments."""
        return HELD_OUT if self.mixed is self.held_out else POOLED

    def rows_of(self, experiments: list[str]) -> np.ndarray:
        """Positions of the rows of some experiments, ascending."""
        return np.flatnonzero(np.isin(self.experiments, experiments))

    @cached_property
    def variants(self) -> list[Variant]:
        """All variants in the order of tables."""
        return ordered_variants(self.features)

    @cached_property
    def experiments(self) -> np.ndarray:
        """Experiment of each row, object."""
        return self.obs["experiment"].to_numpy(dtype=object)

    @cached_property
    def conditions(self) -> np.ndarray:
        """Condition of each row, object."""
        return self.obs["condition"].to_numpy(dtype=object)

    @cached_property
    def t(self) -> np.ndarray:
        """Frame of each row."""
        return self.obs["t"].to_numpy()

    @cached_property
    def hours(self) -> np.ndarray:
        """Hours of each row, float64."""
        return self.obs["hours"].to_numpy(dtype=np.float64)

    @cached_property
    def windows(self) -> np.ndarray:
        """Number of the window of hours of each row, int64."""
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
        """Code of each row's parent track, -1 for none; None when the stores lack the column."""
        if "parent_track_id" not in self.obs:
            return None
        key = [name for name in key_of(self.obs) if name not in ("track_id", "t")]
        key.append("parent_track_id")
        codes = self.obs.groupby(key, sort=True, observed=True).ngroup().to_numpy()
        return np.where(self.obs["parent_track_id"].to_numpy() < 0, -1, codes)

    @cached_property
    def markers(self) -> dict[str, np.ndarray]:
        """Rows of each marker, bool, where the observations have several markers."""
        if MARKER not in self.obs or self.obs[MARKER].nunique() < 2:
            return {}
        values = self.obs[MARKER]
        return {name: (values == name).to_numpy() for name in sorted(values.dropna().unique())}

    @cached_property
    def control(self) -> np.ndarray | None:
        """Whether each row is a control, bool; None without a control condition."""
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
        """What a reader should know about a correction; empty for nothing."""
        if correction != "transport" or self.control is None:
            return ""
        names = untransported(self.experiments, self.control)
        return f"too few control cells to transport {', '.join(names)}" if names else ""

    def window_start(self, window: float) -> float:
        """Hour at which a window begins."""
        return float(window * self.config.window_hours)


def label_observations(
    obs: pd.DataFrame, labels: LabelPaths, config: EvaluationConfig
) -> tuple[pd.DataFrame, Notes]:
    """Observations of an experiment with all that an evaluation uses of its label tables.

    Parameters
    ----------
    obs : pandas.DataFrame
        Index 0 to n - 1.
    labels : mapping
        Experiment to the paths of its label tables.
    config : EvaluationConfig

    Returns
    -------
    obs : pandas.DataFrame
        With the columns that tasks need, and those of `TRUTH`: numbers, NaN where unknown.
    notes : dict
        Task to experiment to what a reader should know about its labels.

    Raises
    ------
    UserError
        When tasks or columns of truth do not fit the observations.
    """
    notes = {}
    for task in config.tasks:
        obs, notes[task.name] = with_labels(obs, task, labels)
    for name, column in (("progression", config.progression), ("onset", config.onset)):
        if column is not None:
            obs = obs.assign(**{TRUTH[name]: _join_truth(obs, column, labels)})
    return obs, notes


def make_inputs(
    obs: pd.DataFrame,
    notes: Notes,
    config: EvaluationConfig,
    train: list[str],
    held_out: list[str],
    seed: int,
) -> EvaluationInputs:
    """Select the rows of each task among observations of `label_observations`.

    Parameters
    ----------
    obs : pandas.DataFrame
        Some rows of some experiments, index 0 to n - 1.
    notes : dict
    config : EvaluationConfig
    train, held_out : list of str
        Experiments.
    seed : int

    Returns
    -------
    EvaluationInputs
        Without features yet.
    """
    return EvaluationInputs(
        obs=obs,
        config=config,
        train=train,
        held_out=held_out,
        tasks=[(task, task_rows(obs, task, notes.get(task.name, {}))) for task in config.tasks],
        truth={
            name: obs[column].to_numpy(np.float64)
            for name, column in TRUTH.items()
            if column in obs
        },
        seed=seed,
    )


def per_marker(obs: pd.DataFrame, task: TaskConfig) -> list[TaskConfig]:
    """The task, and one more task for each marker where the observations have several."""
    if MARKER not in obs or obs[MARKER].nunique() < 2:
        return [task]
    tasks = [task]
    for marker in sorted(obs[MARKER].dropna().unique()):
        conditions = [*([f"({task.where})"] if task.where else []), f"{MARKER} == {marker!r}"]
        changes = {"name": f"{task.name}.{marker}", "where": " and ".join(conditions)}
        tasks.append(task.model_copy(update=changes))
    return tasks


def _join_truth(obs: pd.DataFrame, column: str, labels: LabelPaths) -> np.ndarray:
    values = np.full(len(obs), np.nan)
    for experiment, rows in obs.groupby("experiment", sort=True).indices.items():
        path = labels.get(experiment, {}).get("truth")
        if path is not None:
            values[rows] = join_numbers(obs.iloc[rows], path, column)
    return values
