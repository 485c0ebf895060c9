"""Resolution of heterogeneous responses: who responds among cells of one condition and hour."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd

from dynaclr.evaluation.metrics.bootstrap import Interval, cluster_bootstrap, percentile_interval
from dynaclr.evaluation.metrics.classification import rank_scores


class Separation(NamedTuple):
    """AUROC over pairs within strata, with its interval over clusters.

    Attributes
    ----------
    value : float
    interval : Interval
    n_rows, n_lineages : int
        Of the strata that hold both classes.
    resampled : numpy.ndarray or None
        Its values on resampled clusters.
    """

    value: float
    interval: Interval
    n_rows: int
    n_lineages: int
    resampled: np.ndarray | None = None


def stratified_auroc(
    positive: np.ndarray,
    score: np.ndarray,
    strata: np.ndarray,
    weight: np.ndarray | None = None,
) -> np.ndarray:
    """Chance that a positive scores above a negative *of its own stratum*, ties counted half.

    Parameters
    ----------
    positive : numpy.ndarray
        bool, shape (n,).
    score : numpy.ndarray
        Shape (n,).
    strata : numpy.ndarray
        Codes, shape (n,): pairs across strata do not count.
    weight : numpy.ndarray, optional
        Shape (..., n).

    Returns
    -------
    numpy.ndarray
        Shape (...), NaN where no stratum holds both classes.
    """
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, dtype=float)
    pairs = np.zeros(weight.shape[:-1])
    ordered = np.zeros(weight.shape[:-1])
    for stratum in np.unique(strata):
        here = strata == stratum
        part = weight[..., here]
        n_positive = (part * positive[here]).sum(axis=-1)
        n_pairs = n_positive * (part.sum(axis=-1) - n_positive)
        area = rank_scores(positive[here], score[here], part)[0]
        pairs += n_pairs
        ordered += np.where(n_pairs > 0, np.nan_to_num(area) * n_pairs, 0.0)
    with np.errstate(invalid="ignore"):
        return ordered / pairs


def separation(
    positive: np.ndarray,
    score: np.ndarray,
    strata: np.ndarray,
    clusters: np.ndarray,
    n_bootstrap: int,
    seed: int,
) -> Separation:
    """`stratified_auroc` with a 95 % interval over clusters.

    Parameters
    ----------
    positive, score, strata : numpy.ndarray
        As for `stratified_auroc`.
    clusters : numpy.ndarray
        Lineages, shape (n,).
    n_bootstrap, seed : int
        Resamples of clusters.
    """
    both = np.zeros(len(strata), dtype=bool)
    for stratum in np.unique(strata):
        here = strata == stratum
        both[here] = 0 < positive[here].sum() < here.sum()
    positive, score, strata, clusters = (a[both] for a in (positive, score, strata, clusters))
    n_clusters = len(np.unique(clusters))
    if n_clusters == 0:
        reason = "both classes are nowhere together"
        return Separation(np.nan, Interval(np.nan, np.nan, reason), 0, 0)
    value = float(stratified_auroc(positive, score, strata))
    resampled = cluster_bootstrap(
        lambda weight: {"auroc": stratified_auroc(positive, score, strata, weight)},
        clusters,
        n_bootstrap,
        seed,
    )["auroc"]
    interval = percentile_interval(resampled, n_clusters)
    return Separation(value, interval, len(score), n_clusters, resampled)


def visible_from(lows: np.ndarray, windows: np.ndarray) -> float:
    """Number of the first window whose interval, and that of the window after, lie above chance.

    Parameters
    ----------
    lows : numpy.ndarray
        Lower ends of the intervals, NaN where there is none, shape (n,).
    windows : numpy.ndarray
        Numbers of the windows, ascending, shape (n,). Where one is missing (it does not hold both
        classes), those around it do not follow each other.

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
        A row of the first sister, for what else is to be known, int64, shape (m,).
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
    """Distances of sister cells, and whether they end differently.

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
    """
    table = pd.DataFrame({"track": tracks, "parent": parents, "t": t, "row": np.arange(len(t))})
    known = np.array([label is not None for label in labels], dtype=bool)
    fates = dict(zip(*_last_of_track(tracks[known], t[known], labels[known]), strict=True))
    born = table[(table["parent"] >= 0) & table["track"].isin(fates.keys())]
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


def _last_of_track(
    tracks: np.ndarray, t: np.ndarray, labels: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    order = np.lexsort((t, tracks))
    last = np.append(np.diff(tracks[order]) != 0, True) if len(order) else np.empty(0, bool)
    return tracks[order][last], labels[order][last]
