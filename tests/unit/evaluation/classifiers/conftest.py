"""Scores of a task, and labelled features, made synthetically."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from dynaclr.config.variants import parse_variant
from dynaclr.evaluation.classifiers.fitted_task import (
    FittedTask,
    begin_task,
    begin_validation,
    fit_variants,
)
from dynaclr.evaluation.classifiers.label_shuffling import shuffle_labels
from dynaclr.evaluation.classifiers.score_tables import ScoredSet, ScoreTables, tabulate_scores
from dynaclr.evaluation.classifiers.scoring import apply_task, held_out_set, validated_sets
from dynaclr.evaluation.tasks import TaskRows, select_task


@dataclass
class Scored:
    """A task that was fitted and scored.

    Attributes
    ----------
    features : dict of str to numpy.ndarray
    rows : TaskRows
    fitted : FittedTask
    sets : list of ScoredSet
        Held-out experiments, or the training rows.
    tables : ScoreTables
    """

    features: dict[str, np.ndarray]
    rows: TaskRows
    fitted: FittedTask
    sets: list[ScoredSet]
    tables: ScoreTables

    @property
    def variants(self):
        return [parse_variant(name) for name in self.features]

    def inside(self, scored, variant):
        """Features of the rows of a set."""
        return self.features[variant][self.rows.rows[scored.rows]]


def fit_and_score(obs, features, task, rows, train, held_out, n_shuffles=0) -> Scored:
    """Fit a task on some experiments and score it on others, or within the first."""
    fitted = begin_task(task, rows, train)
    validation = begin_validation(fitted, rows, train)
    hours = obs["hours"].to_numpy()
    shuffles = shuffle_labels(rows, validation.train, hours, n_shuffles, seed=0)
    fitted.shuffle_note = shuffles.note
    variants = [parse_variant(name) for name in features]
    fit_variants(fitted, validation, rows, features, variants, 0, shuffles)
    sets = [held_out_set(fitted, rows, name) for name in held_out]
    for scored in sets:
        for name in features:
            apply_task(fitted, scored, name, features[name][rows.rows[scored.rows]])
    within = validated_sets(fitted, validation, rows, train)
    tables = tabulate_scores([*within, *sets], variants, fitted.classes, 20, 0)
    sets = sets or within
    return Scored(features, rows, fitted, sets, tables)


@pytest.fixture(scope="session")
def score(make) -> Callable[..., Scored]:
    """Score a variant with signal and one without, with 30 shuffles of the labels."""

    def scored(folder, train, held_out, batch=0.0, changed_labels=None):
        tables = {name: make.observations(name, 48, 4, seed=n) for n, name in enumerate("abc")}
        labels = {name: make.labels(folder, name, table) for name, table in tables.items()}
        labels |= changed_labels or {}
        obs = pd.concat(tables.values(), ignore_index=True)
        apart = batch * (obs["experiment"] == "c").to_numpy()[:, None]
        variants = {
            "seed0": make.features(obs, 4.0, 0.0, 4, 0) + apart,
            "noise": make.features(obs, 0, 0, 4, 1),
        }
        rows = select_task(obs, make.tasks[0], labels)
        return fit_and_score(obs, variants, make.tasks[0], rows, train, held_out, n_shuffles=30)

    return scored


@pytest.fixture(scope="session")
def scored(score, tmp_path_factory) -> Scored:
    """Two training experiments and a held-out one."""
    return score(tmp_path_factory.mktemp("scored"), ["a", "b"], ["c"])


@pytest.fixture
def three_classes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels of three classes, and groups of four rows."""
    rng = np.random.default_rng(0)
    codes = np.repeat(rng.integers(0, 3, 60), 4)
    features = rng.normal(size=(240, 5)) + 2.5 * np.eye(3, 5)[codes]
    return features, np.array(["early", "late", "mock"], object)[codes], np.arange(240) // 4
