"""Cluster bootstrap: intervals for rows of one lineage, which are not independent."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

LEVEL = 0.95
# Of three clusters a given one fills a resample alone once in 27 times, more often than 2.5 %: the
# interval's ends would be the values of single clusters. With five to nine the interval covers the
# truth in 85 to 90 % of cases only.
MIN_CLUSTERS = 5
FEW_CLUSTERS = 10
# Most resamples of metrics with many values: intervals of a hundred windows do not need a thousand.
MAX_BOOTSTRAP = 200
# Least lineages of a group (an experiment or condition in a window) that is compared with others.
MIN_LINEAGES = 8
# Weights (rows x resamples) in memory at once.
_MAX_WEIGHTS = 500_000


class Interval(NamedTuple):
    """Percentile interval, and why it is missing or rests on fewer resamples.

    Attributes
    ----------
    low, high : float
        NaN where there is no interval.
    note : str
    """

    low: float
    high: float
    note: str


def seed_of(experiment: str, seed: int = 0) -> int:
    """Seed of the resamples of an experiment's lineages.

    It is the same for every model, so that differences can be paired, and different for every
    experiment: with one seed, experiments with as many lineages would have the same counts, and
    their mean a wrong variance.
    """
    return seed + zlib.crc32(experiment.encode())


def cluster_bootstrap(
    statistics: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    clusters: np.ndarray,
    n_resamples: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Values of statistics on resamples of whole clusters, drawn with replacement.

    The same clusters and seed give the same resamples, so results for two sets of scores on the
    same rows can be subtracted resample by resample (`paired_difference`). Davison and Hinkley,
    *Bootstrap Methods and their Application* (1997), section 3.8, resampling of whole clusters.

    Parameters
    ----------
    statistics : callable
        Takes row weights of shape (r, n), how often each row is in each resample, and returns
        arrays of shape (r,) by name.
    clusters : numpy.ndarray
        Cluster of each row, shape (n,), n > 0.
    n_resamples : int
    seed : int

    Returns
    -------
    dict of str to numpy.ndarray
        Shape (n_resamples,).
    """
    _, codes = np.unique(clusters, return_inverse=True)
    n_clusters = int(codes.max()) + 1
    generator = np.random.default_rng(seed)
    chunks = []
    chunk = max(1, _MAX_WEIGHTS // len(codes))
    for start in range(0, n_resamples, chunk):
        n_here = min(chunk, n_resamples - start)
        counts = generator.multinomial(n_clusters, np.full(n_clusters, 1 / n_clusters), n_here)
        chunks.append(statistics(counts.astype(float)[:, codes]))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def percentile_interval(values: np.ndarray, n_clusters: int, level: float = LEVEL) -> Interval:
    """Percentile interval of bootstrap values.

    Resamples without a value (a class is missing in them) are left out and counted in the note.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n_resamples,).
    n_clusters : int
        Number of clusters that were resampled; with fewer than `MIN_CLUSTERS` there is no interval.
    level : float
        Share of resamples inside.

    Returns
    -------
    Interval
    """
    finite = values[np.isfinite(values)]
    if n_clusters < MIN_CLUSTERS:
        reason = f"fewer than {MIN_CLUSTERS} lineages ({n_clusters}): no interval"
        return Interval(np.nan, np.nan, reason)
    if len(finite) < 0.5 * len(values) or len(finite) == 0:
        return Interval(np.nan, np.nan, "most resamples have no value: no interval")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    n_missing = len(values) - len(finite)
    notes = []
    if n_clusters < FEW_CLUSTERS:
        notes.append(f"{n_clusters} lineages: the interval is too narrow")
    if n_missing:
        notes.append(f"{n_missing} of {len(values)} resamples have no value and are left out")
    return Interval(float(low), float(high), "; ".join(notes))
