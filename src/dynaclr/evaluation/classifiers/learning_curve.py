"""Learning curve: a classifier's AUROC over the number of annotated lineages."""

from __future__ import annotations

import numpy as np
import pandas as pd

from dynaclr.config.metrics import HELD_OUT
from dynaclr.config.variants import Variant
from dynaclr.evaluation.classifiers.cross_validation import fit_probabilities
from dynaclr.evaluation.classifiers.label_shuffling import aurocs_of_sets
from dynaclr.evaluation.classifiers.scoring import TaskScores
from dynaclr.evaluation.tasks import TaskRows
from dynaclr.io.embeddings import Embeddings

N_DRAWS = 5
SMALLEST = 4


def learning_curve(
    embeddings: Embeddings,
    task_rows: TaskRows,
    scores: TaskScores,
    train_experiments: list[str],
    variants: list[Variant],
    seed: int,
) -> pd.DataFrame:
    """AUROC on held-out experiments, averaged over them, when only some lineages are annotated.

    For 4, 8, 16, ... lineages, `N_DRAWS` draws each, the same for all variants, with every class
    among them; fitted with the strength that all lineages chose.

    Parameters
    ----------
    embeddings : Embeddings
    task_rows : TaskRows
    scores : TaskScores
        Of the same task.
    train_experiments : list of str
    variants : list of Variant
    seed : int
        Seed of the draws.

    Returns
    -------
    pandas.DataFrame
        variant, kind, seed, n_lineages, metric, value (mean), low and high (least and most of the
        draws), n_draws, n_rows (held-out rows); empty when nothing is held out or trained.
    """
    held_out = [s for s in scores.sets if s.estimate == HELD_OUT and len(s.true)]
    if not held_out or not scores.classes:
        return pd.DataFrame()
    train = task_rows.labelled(train_experiments)
    outside = task_rows.rows[np.concatenate([scored.rows for scored in held_out])]
    labels, lineages = task_rows.labels[train], task_rows.lineages[train]
    n_all = len(np.unique(lineages))
    powers = [SMALLEST << step for step in range(20)]
    table = []
    for n_lineages in [*(n for n in powers if n < n_all), n_all]:
        rng = np.random.default_rng([seed, n_lineages])
        draws = [draw_lineages(labels, lineages, n_lineages, rng) for _ in range(N_DRAWS)]
        for variant in variants:
            features = embeddings.features[variant.name]
            strength = scores.classifiers[variant.name].strength
            values = []
            for drawn in draws:
                inside = features[task_rows.rows[train[drawn]]]
                _, probability = fit_probabilities(
                    inside, labels[drawn], features[outside], strength, scores.task.class_weight
                )
                values.append(_mean(aurocs_of_sets(held_out, probability, scores.classes)))
            summary = {"value": np.mean(values), "low": np.min(values), "high": np.max(values)}
            counts = {"n_lineages": n_lineages, "n_draws": len(draws), "n_rows": len(outside)}
            table.append({**variant.columns, "metric": "auroc", **summary, **counts})
    return pd.DataFrame(table)


def _mean(values: list[float]) -> float:
    """Mean over the experiments that have both classes, NaN where none has."""
    finite = [value for value in values if np.isfinite(value)]
    return float(np.mean(finite)) if finite else np.nan


def draw_lineages(
    labels: np.ndarray, lineages: np.ndarray, n_lineages: int, rng: np.random.Generator
) -> np.ndarray:
    """Draw lineages so that every class is among them: one of each class first, then any others.

    Parameters
    ----------
    labels, lineages : numpy.ndarray
        Shape (n,).
    n_lineages : int
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        Positions of all their rows, int64, ascending.
    """
    first = [rng.choice(np.unique(lineages[labels == name])) for name in sorted(set(labels))]
    others = rng.permutation(np.setdiff1d(lineages, first))
    n_others = max(0, n_lineages - len(set(first)))
    return np.flatnonzero(np.isin(lineages, [*first, *others[:n_others]]))
