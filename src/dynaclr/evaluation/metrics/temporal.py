"""How an embedding changes over time: smoothness, displacement over lag, true progression.

Distances are Euclidean, between features as they are given.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import gaussian_kde
from sklearn.linear_model import Ridge
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

PENALTIES = (1.0, 10.0, 100.0, 1000.0)
_MAX_PAIRS = 4000


class Smoothness(NamedTuple):
    """Distances of adjacent frames relative to those of random pairs.

    Attributes
    ----------
    ratio : float
        Mean adjacent over mean random distance: 1 when time has no effect, lower is smoother.
    dynamic_range : float
        Mode of the random distances minus mode of the adjacent ones, over the mean random one.
    n_pairs : int
        Number of adjacent pairs.
    """

    ratio: float
    dynamic_range: float
    n_pairs: int


def adjacent_pairs(tracks: np.ndarray, t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the same track at frames t and t + 1; see `lagged_pairs`."""
    return lagged_pairs(tracks, t, 1)


def lagged_pairs(tracks: np.ndarray, t: np.ndarray, lag: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the same track at frames t and t + lag.

    Parameters
    ----------
    tracks, t : numpy.ndarray
        Track codes and frames, shape (n,), in any order.
    lag : int
        Frames, at least 1.

    Returns
    -------
    earlier, later : numpy.ndarray
        Positions, int64, shape (m,).
    """
    tracks, t = tracks.astype(np.int64), t.astype(np.int64)
    span = int(t.max() - t.min()) + lag + 1 if len(t) else 1
    key = tracks * span + (t - (t.min() if len(t) else 0))
    order = np.argsort(key, kind="stable")
    position = np.minimum(np.searchsorted(key[order], key + lag), max(len(key) - 1, 0))
    found = key[order][position] == key + lag
    return np.flatnonzero(found), order[position[found]]


def smoothness(
    features: np.ndarray, tracks: np.ndarray, t: np.ndarray, seed: int = 0
) -> Smoothness:
    """Smoothness and dynamic range of tracks; random pairs are drawn among all given rows.

    Pass the rows of one experiment: over several, random pairs span experiments, and the further
    those lie apart, the smoother the embedding seems.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d).
    tracks, t : numpy.ndarray
        Track codes and frames, shape (n,), in any order.
    seed : int
        Seed of the random pairs.

    Returns
    -------
    Smoothness
        NaN with fewer than three pairs.
    """
    earlier, later = adjacent_pairs(tracks, t)
    if len(earlier) < 3 or len(features) < 3:
        return Smoothness(np.nan, np.nan, len(earlier))
    rng = np.random.default_rng(seed)
    # In random order, because the mode is estimated on the first ones.
    chosen = rng.permutation(len(earlier))[:_MAX_PAIRS]
    earlier, later = earlier[chosen], later[chosen]
    adjacent = np.linalg.norm(features[earlier] - features[later], axis=1)
    first = rng.integers(len(features), size=_MAX_PAIRS)
    second = (first + rng.integers(1, len(features), size=_MAX_PAIRS)) % len(features)
    random = np.linalg.norm(features[first] - features[second], axis=1)
    scale = random.mean()
    if scale == 0:
        return Smoothness(np.nan, np.nan, len(earlier))
    difference = (_mode(random) - _mode(adjacent)) / scale
    return Smoothness(float(adjacent.mean() / scale), float(difference), len(earlier))


def displacement(
    features: np.ndarray, tracks: np.ndarray, t: np.ndarray, max_lag: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean squared displacement of tracks over lag, relative to random pairs.

    Divided by the mean squared distance of random pairs, which is twice the total variance: 1 means
    that nothing is left of where a track was. Qian, Sheetz and Elson (1991), Biophysical Journal
    60, 910, for the mean squared displacement.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), rows of one experiment.
    tracks, t : numpy.ndarray
        Track codes and frames, shape (n,).
    max_lag : int
        Frames.

    Returns
    -------
    lags : numpy.ndarray
        Lags in frames with at least ten pairs, int64, shape (m,).
    msd : numpy.ndarray
        float64, shape (m,).
    n_pairs : numpy.ndarray
        int64, shape (m,).
    """
    total = 2.0 * features.var(axis=0, dtype=np.float64).sum()
    lags, values, counts = [], [], []
    for lag in range(1, max_lag + 1):
        earlier, later = lagged_pairs(tracks, t, lag)
        if len(earlier) < 10 or total == 0:
            continue
        squares = np.square(features[earlier] - features[later]).sum(axis=1)
        lags.append(lag)
        values.append(float(squares.mean()) / total)
        counts.append(len(earlier))
    return np.array(lags, np.int64), np.array(values), np.array(counts, np.int64)


def displacement_exponent(lags: np.ndarray, msd: np.ndarray) -> float:
    """Slope of log displacement over log lag: 0 for noise alone, 1 for diffusion, 2 for drift.

    Parameters
    ----------
    lags, msd : numpy.ndarray
        Of `displacement`, shape (m,).

    Returns
    -------
    float
        NaN with fewer than three lags.
    """
    if len(lags) < 3 or np.any(msd <= 0):
        return np.nan
    return float(np.polyfit(np.log(lags), np.log(msd), 1)[0])


class LinearPredictor(NamedTuple):
    """A linear function of features: ``features @ weights + intercept``.

    Attributes
    ----------
    weights : numpy.ndarray
        float64, shape (d,).
    intercept : float
    """

    weights: np.ndarray
    intercept: float

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Value of each row of features, shape (n, d); float64, shape (n,)."""
        return features @ self.weights + self.intercept


def fit_progression(
    features: np.ndarray, progression: np.ndarray, groups: np.ndarray
) -> LinearPredictor:
    """Ridge regression of the progression, penalty chosen on grouped folds.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN.
    progression : numpy.ndarray
        Shape (n,).
    groups : numpy.ndarray
        Lineages, never split between folds, shape (n,), at least two.

    Returns
    -------
    LinearPredictor
    """
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    folds = GroupKFold(min(3, len(np.unique(groups))))
    errors = np.zeros(len(PENALTIES))
    for inside, outside in folds.split(scaled, progression, groups):
        for number, penalty in enumerate(PENALTIES):
            model = Ridge(penalty).fit(scaled[inside], progression[inside])
            errors[number] += np.square(model.predict(scaled[outside]) - progression[outside]).sum()
    best = Ridge(PENALTIES[int(errors.argmin())]).fit(scaled, progression)
    weights = best.coef_ / scaler.scale_
    return LinearPredictor(weights, float(best.intercept_ - scaler.mean_ @ weights))


def r_squared(
    true: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None
) -> np.ndarray:
    """Coefficient of determination: 0 for the mean of these rows, negative below it.

    Parameters
    ----------
    true, predicted : numpy.ndarray
        Shape (n,).
    weight : numpy.ndarray, optional
        Shape (..., n).

    Returns
    -------
    numpy.ndarray
        float64, shape (...), NaN where the true values do not vary.
    """
    weight = np.ones(len(true)) if weight is None else weight
    total = weight.sum(axis=-1)
    mean = (weight @ true) / total
    variance = (weight @ np.square(true)) / total - np.square(mean)
    error = (weight @ np.square(true - predicted)) / total
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(variance > 1e-12, 1.0 - error / variance, np.nan)


def weighted_correlation(first: np.ndarray, second: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Pearson correlation of values that count `weight` times.

    Parameters
    ----------
    first, second : numpy.ndarray
        Shape (n,).
    weight : numpy.ndarray
        Shape (..., n).

    Returns
    -------
    numpy.ndarray
        float64, shape (...), NaN where one of them does not vary.
    """
    total = weight.sum(axis=-1)
    means = [(weight @ values) / total for values in (first, second)]
    product = (weight @ (first * second)) / total - means[0] * means[1]
    variances = [
        (weight @ np.square(values)) / total - np.square(mean)
        for values, mean in zip((first, second), means, strict=True)
    ]
    scale = np.sqrt(np.maximum(variances[0] * variances[1], 0.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(scale > 0, product / scale, np.nan)


def _mode(values: np.ndarray) -> float:
    """Highest point of a kernel density estimate of values in random order."""
    if np.ptp(values) == 0:
        return float(values[0])
    grid = np.linspace(values.min(), values.max(), 200)
    return float(grid[gaussian_kde(values[:1000])(grid).argmax()])
