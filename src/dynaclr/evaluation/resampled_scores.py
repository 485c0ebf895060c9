"""Scores on resampled lineages of an evaluated model, by which models are compared."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from dynaclr.config.metrics import HELD_OUT
from dynaclr.evaluation.classifiers.score_tables import MAIN_SCORES
from dynaclr.evaluation.metrics.bootstrap import cluster_bootstrap, seed_of
from dynaclr.evaluation.metrics.classification import classification_scores
from dynaclr.io.embeddings import key_of

N_RESAMPLES = 500


class Resampled(NamedTuple):
    """Values on resampled lineages of one experiment, and its number of lineages."""

    values: np.ndarray
    n_lineages: int


# Resampled values of each experiment by (variant, task, estimate, metric).
ResampledByKey = dict[tuple[str, ...], list[Resampled]]


def stored_resamples(table: pd.DataFrame) -> ResampledByKey:
    """Values that the evaluation resampled itself.

    Parameters
    ----------
    table : pandas.DataFrame
        ``resampled.parquet`` of the evaluation.
    """
    found: ResampledByKey = {}
    for row in table.assign(task=table["task"].fillna("")).to_dict("records"):
        key = tuple(row[name] for name in ("variant", "task", "estimate", "metric"))
        part = Resampled(np.asarray(row["values"]), row["n_lineages"])
        found.setdefault(key, []).append(part)
    return found


def resample_predictions(predictions: pd.DataFrame) -> ResampledByKey:
    """Scores of classifiers on resampled lineages (or groups) of each experiment.

    The same observations are resampled alike in every variant and model, so that differences are
    paired, and each experiment in another way (`bootstrap.seed_of`).

    Parameters
    ----------
    predictions : pandas.DataFrame
        ``predictions.parquet`` of the evaluation.
    """
    corrected = predictions["variant"].str.contains("+", regex=False)
    known = predictions[predictions["label"].notna() & ~corrected]
    found: ResampledByKey = {}
    for (task, experiment), part in known.groupby(["task", "experiment"], sort=True):
        classes = tuple(sorted(part["class"].unique()))
        part = part[part["label"].isin(classes)]
        key = [name for name in key_of(part) if name != "experiment"]
        rows = part.drop_duplicates(key).sort_values(key)
        groups = rows["group"].to_numpy()
        true = np.searchsorted(np.array(classes), rows["label"].to_numpy(str))
        for variant, of_variant in part.groupby("variant", sort=True):
            wide = of_variant.pivot(index=key, columns="class", values="probability").sort_index()
            probability = wide[list(classes)].to_numpy()
            statistics = partial(classification_scores, true, probability, classes)
            resampled = cluster_bootstrap(statistics, groups, N_RESAMPLES, seed_of(experiment))
            for metric in MAIN_SCORES:
                values = Resampled(resampled[metric], len(np.unique(groups)))
                found.setdefault((variant, task, HELD_OUT, metric), []).append(values)
    return found
