"""Scores of a task, and labelled features, made synthetically."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from dynaclr.config.variants import parse_variant
from dynaclr.evaluation.classifiers.scoring import score_task
from dynaclr.evaluation.tasks import select_task
from dynaclr.io.embeddings import Embeddings


@pytest.fixture(scope="session")
def score(make) -> Callable[..., tuple]:
    """Score a variant with signal and one without; gives what controls of a classifier take."""

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
        embeddings = Embeddings(obs, variants, {name: list("wxyz") for name in variants})
        task = make.tasks[0]
        rows = select_task(obs, task, labels)
        scores = score_task(embeddings, task, rows, train, held_out, 20, 0)
        return embeddings, rows, scores, train, [parse_variant(name) for name in variants]

    return scored


@pytest.fixture(scope="session")
def scored(score, tmp_path_factory) -> tuple:
    """Two training experiments and a held-out one."""
    return score(tmp_path_factory.mktemp("scored"), ["a", "b"], ["c"])


@pytest.fixture
def three_classes() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, labels of three classes, and groups of four rows."""
    rng = np.random.default_rng(0)
    codes = np.repeat(rng.integers(0, 3, 60), 4)
    features = rng.normal(size=(240, 5)) + 2.5 * np.eye(3, 5)[codes]
    return features, np.array(["early", "late", "mock"], object)[codes], np.arange(240) // 4
