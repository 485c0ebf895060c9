"""Onset of the response of a single track, from a signal compared with control tracks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

QUANTILE = 0.95
# A signal has risen when it stays above the threshold for this number of observations.
CONSECUTIVE = 2


class Onset(NamedTuple):
    """Time at which the signal of a track rises, with bounds.

    Attributes
    ----------
    hours : float
        Middle of the bounds; NaN when the rise was not seen.
    low, high : float
        The signal rose after `low` and by `high`: -inf when it was above from the first
        observation on, and inf when it never rose.
    """

    hours: float
    low: float
    high: float


def centred_on_controls(
    features: np.ndarray, experiments: np.ndarray, control: np.ndarray
) -> np.ndarray:
    """Features minus the mean of the control observations of the same experiment.

    Parameters
    ----------
    features : numpy.ndarray
        Shape (n, d), no NaN.
    experiments : numpy.ndarray
        Shape (n,).
    control : numpy.ndarray
        bool, shape (n,).

    Returns
    -------
    numpy.ndarray
        float64, shape (n, d); NaN for an experiment without control observations.
    """
    centred = np.full(features.shape, np.nan)
    for name in np.unique(experiments.astype(str)):
        here = experiments == name
        if (here & control).any():
            centred[here] = features[here] - features[here & control].mean(axis=0)
    return centred


def scaled_by_controls(
    features: np.ndarray, experiments: np.ndarray, control: np.ndarray
) -> np.ndarray:
    """`centred_on_controls`, divided by the standard deviation of those control observations."""
    scaled = centred_on_controls(features.astype(np.float64), experiments, control)
    for name in np.unique(experiments.astype(str)):
        here = experiments == name
        if (here & control).any():
            deviation = scaled[here & control].std(axis=0)
            scaled[here] /= np.where(deviation > 1e-9, deviation, np.inf)
    return scaled


def response_axis(treated: np.ndarray, control: np.ndarray) -> np.ndarray:
    """Unit vector along which treated differ most from control observations for their spread.

    The difference of means divided feature by feature by the pooled variance: the discriminant of
    Fisher (1936), Annals of Eugenics 7, 179, with a diagonal covariance, which needs few rows.

    Parameters
    ----------
    treated, control : numpy.ndarray
        Shapes (m, d) and (n, d).

    Returns
    -------
    numpy.ndarray
        float64, shape (d,); 0 where the groups do not differ.
    """
    variance = 0.5 * (treated.var(axis=0) + control.var(axis=0))
    difference = treated.mean(axis=0) - control.mean(axis=0)
    axis = np.divide(difference, variance, out=np.zeros_like(difference), where=variance > 1e-12)
    length = np.linalg.norm(axis)
    return axis / length if length > 0 else axis


def control_threshold(signal: np.ndarray, quantile: float = QUANTILE) -> float:
    """Value that a share `quantile` of the control observations' signals stay below."""
    return float(np.quantile(signal, quantile))


def onset_of_track(hours: np.ndarray, signal: np.ndarray, threshold: float) -> Onset:
    """Time at which a signal rises above a threshold for `CONSECUTIVE` observations.

    The rise lies between the last observation before and the first one above (interval censoring).

    Parameters
    ----------
    hours, signal : numpy.ndarray
        Of one track, by rising hour, shape (n,).
    threshold : float

    Returns
    -------
    Onset
    """
    above = signal > threshold
    run = above.copy()
    for ahead in range(1, CONSECUTIVE):
        run &= np.append(above[ahead:], np.zeros(min(ahead, len(above)), dtype=bool))
    if not run.any():
        return Onset(np.nan, float(hours[-1]), np.inf)
    first = int(run.argmax())
    if first == 0:
        return Onset(np.nan, -np.inf, float(hours[0]))
    low, high = float(hours[first - 1]), float(hours[first])
    return Onset(0.5 * (low + high), low, high)


def weighted_median(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Median of values that count `weight` times, NaN where none counts.

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n,).
    weight : numpy.ndarray
        Whole numbers, shape (..., n).

    Returns
    -------
    numpy.ndarray
        float64, shape (...).
    """
    order = np.argsort(values, kind="stable")
    values, reached = values[order], np.cumsum(weight[..., order], axis=-1)
    if len(values) == 0:
        return np.full(weight.shape[:-1], np.nan)
    total = reached[..., -1:]
    # With an odd count the two middle values are the same one.
    middle = [(reached >= half).argmax(axis=-1) for half in ((total + 1) // 2, total // 2 + 1)]
    return np.where(total[..., 0] > 0, 0.5 * (values[middle[0]] + values[middle[1]]), np.nan)
