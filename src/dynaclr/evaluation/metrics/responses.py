"""Separation of responding cells, within condition and hour, and between sisters."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from dynaclr.evaluation.metrics.auroc import stratified_auroc
from dynaclr.evaluation.metrics.bootstrap import Interval, cluster_bootstrap, percentile_interval


class Separation(NamedTuple):
    """AUROC over pairs within strata, with its interval over lineages.

    Attributes
    ----------
    value : float
    interval : Interval
    n_rows, n_lineages : int
        Of the strata that hold both classes.
    resampled : numpy.ndarray or None
        Values on resampled lineages, shape (n_resamples,).
    """

    value: float
    interval: Interval
    n_rows: int
    n_lineages: int
    resampled: np.ndarray | None = None


def separation(
    positive: np.ndarray,
    score: np.ndarray,
    strata: np.ndarray,
    lineages: np.ndarray,
    n_bootstrap: int,
    seed: int,
) -> Separation:
    """`stratified_auroc` with a 95 % interval over lineages.

    Parameters
    ----------
    positive, score, strata : numpy.ndarray
        As for `stratified_auroc`.
    lineages : numpy.ndarray
        Shape (n,).
    n_bootstrap : int
        Number of resamples of lineages.
    seed : int

    Returns
    -------
    Separation
    """
    both = np.zeros(len(strata), dtype=bool)
    for stratum in np.unique(strata):
        here = strata == stratum
        both[here] = 0 < positive[here].sum() < here.sum()
    positive, score, strata, lineages = (a[both] for a in (positive, score, strata, lineages))
    n_lineages = len(np.unique(lineages))
    if n_lineages == 0:
        note = "both classes are nowhere together"
        return Separation(np.nan, Interval(np.nan, np.nan, note), 0, 0)
    value = float(stratified_auroc(positive, score, strata))
    resampled = cluster_bootstrap(
        lambda weight: {"auroc": stratified_auroc(positive, score, strata, weight)},
        lineages,
        n_bootstrap,
        seed,
    )["auroc"]
    interval = percentile_interval(resampled, n_lineages)
    return Separation(value, interval, len(score), n_lineages, resampled)


def visible_from(lows: np.ndarray, windows: np.ndarray) -> float:
    """Number of the first window whose interval, and that of the next window, lie above chance.

    Parameters
    ----------
    lows : numpy.ndarray
        Lower ends of the intervals, NaN where there is none, shape (n,).
    windows : numpy.ndarray
        Numbers of the windows, ascending, shape (n,). A window may be missing (it does not hold
        both classes); then its neighbours do not follow each other.

    Returns
    -------
    float
        NaN when there is no such window.
    """
    above = np.nan_to_num(lows) > 0.5
    lasting = above[:-1] & above[1:] & (np.diff(windows) == 1)
    return float(windows[lasting.argmax()]) if lasting.any() else np.nan


class SisterPairs(NamedTuple):
    """Pairs of sister tracks.

    Attributes
    ----------
    distance : numpy.ndarray
        Mean distance over the frames in which both are seen, float64, shape (m,).
    different : numpy.ndarray
        Whether their fates differ, bool, shape (m,).
    row : numpy.ndarray
        First row of the first sister, to find what both share, int64, shape (m,).
    """

    distance: np.ndarray
    different: np.ndarray
    row: np.ndarray


def sister_pairs(
    features: np.ndarray,
    tracks: np.ndarray,
    parents: np.ndarray,
    t: np.ndarray,
    labels: np.ndarray,
) -> SisterPairs:
    """Distances of sister tracks, and whether they end differently.

    The fate of a track is its last known label.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).
    tracks, parents : numpy.ndarray
        Codes of the track and of its parent, -1 for none, shape (n,).
    t : numpy.ndarray
        Frames, shape (n,).
    labels : numpy.ndarray
        Class names, None where unknown, object, shape (n,).

    Returns
    -------
    SisterPairs
    """
    table = pd.DataFrame({"track": tracks, "parent": parents, "t": t, "row": np.arange(len(t))})
    labelled = table.assign(label=labels).sort_values(["track", "t"], kind="stable")
    fates = labelled.groupby("track")["label"].last().dropna()
    born = table[(table["parent"] >= 0) & table["track"].isin(fates.index)]
    both = born.merge(born, on=["parent", "t"], suffixes=("", "_sister"))
    both = both[both["track"] < both["track_sister"]]
    steps = features[both["row"].to_numpy()] - features[both["row_sister"].to_numpy()]
    both = both.assign(distance=np.linalg.norm(steps, axis=1))
    pairs = both.groupby(["track", "track_sister"], sort=True)
    means = pairs.agg(distance=("distance", "mean"), row=("row", "first")).reset_index()
    different = means["track"].map(fates) != means["track_sister"].map(fates)
    return SisterPairs(
        means["distance"].to_numpy(np.float64),
        different.to_numpy(bool),
        means["row"].to_numpy(np.int64),
    )
