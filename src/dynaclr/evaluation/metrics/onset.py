"""Onset of the response of a single track, from a signal compared with control tracks.

Cells differ in their signal before they respond, often by more than the response changes it. So an
onset is a change within a track, and not the crossing of one threshold for all cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Share of the control tracks that may seem to rise, and that may seem to have risen before.
RISING, RISEN = 0.05, 0.025
# Bounds hold every hour whose step explains less than the best one by at most this many times what
# noise explains. For noise that is the same in all tracks 3.84 would hold 95 % of the onsets; in
# simulations of six other experiments it held 74 %, and 8 hold nine of ten.
LIKELIHOOD_RATIO = 8.0


class Step(NamedTuple):
    """The step up that is nearest to the signal of a track.

    Attributes
    ----------
    hours : float
        Middle of the two observations between which it lies.
    low, high : float
        Hours between which it lies in about nine of ten tracks.
    gain : float
        How much it reduces the sum of squares about the mean; 0 where no step up does.
    """

    hours: float
    low: float
    high: float
    gain: float


class ControlLimits(NamedTuple):
    """What the control tracks of an experiment look like without a response.

    Attributes
    ----------
    gain : float
        Gain of a step that a share `RISING` of them exceeds.
    level : float
        Mean signal that a share `RISEN` of them exceeds.
    noise : float
        Mean gain of a step at any one place.
    spread : float
        Variance of their mean signals.
    """

    gain: float
    level: float
    noise: float
    spread: float


class Onset(NamedTuple):
    """Time at which the signal of a track rises, with bounds.

    Attributes
    ----------
    hours : float
        NaN when the rise was not seen.
    low, high : float
        The signal rose after `low` and by `high`: -inf when it was high from the first observation
        on, and inf when it never rose.
    """

    hours: float
    low: float
    high: float

    def earlier(self, hours: float) -> Onset:
        """The onset and its bounds, moved back by some hours."""
        return Onset(self.hours - hours, self.low - hours, self.high - hours)


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


def response_signal(features: np.ndarray, control: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """``scaled_by_controls(...) @ axis`` of one experiment, without scaled copies of its features.

    Parameters
    ----------
    features : numpy.ndarray
        float32, shape (n, d), no NaN.
    control : numpy.ndarray
        bool, shape (n,), at least one.
    axis : numpy.ndarray
        Shape (d,).

    Returns
    -------
    numpy.ndarray
        float32, shape (n,).
    """
    controls = features[control]
    deviation = controls.std(axis=0, dtype=np.float64)
    weights = np.divide(axis, deviation, out=np.zeros_like(axis), where=deviation > 1e-9)
    mean = controls.mean(axis=0, dtype=np.float64).astype(np.float32)
    signal: np.ndarray = (features - mean) @ weights.astype(np.float32)
    return signal


def step_gains(signal: np.ndarray) -> np.ndarray:
    """Gain of a step between each two observations of a track, negative for a step down.

    With n observations and a step after k of them, it is k (n - k) / n times the squared difference
    of the two means: what two levels explain of the sum of squares about one.

    Parameters
    ----------
    signal : numpy.ndarray
        Of one track, by rising hour, shape (n,).

    Returns
    -------
    numpy.ndarray
        float64, shape (n - 1,).
    """
    n, before = len(signal), np.arange(1, len(signal))
    sums = np.cumsum(signal, dtype=np.float64)
    rise = (sums[-1] - sums[:-1]) / (n - before) - sums[:-1] / before
    gains: np.ndarray = np.sign(rise) * before * (n - before) / n * np.square(rise)
    return gains


def fit_step(hours: np.ndarray, signal: np.ndarray, noise: float) -> Step:
    """Two levels, the second not lower, with the least squared distance to the signal of a track.

    Hinkley (1970), Biometrika 57, 1, for the place of a change and its likelihood.

    Parameters
    ----------
    hours, signal : numpy.ndarray
        Of one track, by rising hour, shape (n,), n at least 2.
    noise : float
        Mean gain of a step without a response; of `ControlLimits`.

    Returns
    -------
    Step
    """
    gains = np.maximum(step_gains(signal), 0.0)
    best = int(gains.argmax())
    possible = np.flatnonzero(gains >= gains[best] - LIKELIHOOD_RATIO * noise)
    return Step(
        hours=0.5 * float(hours[best] + hours[best + 1]),
        low=float(hours[possible[0]]),
        high=float(hours[possible[-1] + 1]),
        gain=float(gains[best]),
    )


def control_limits(signals: Sequence[np.ndarray]) -> ControlLimits:
    """Limits that control tracks set; see `ControlLimits`.

    Parameters
    ----------
    signals : sequence of numpy.ndarray
        Of each control track, by rising hour; at least one track, each of two observations or more.
    """
    gains, levels = [step_gains(track) for track in signals], [track.mean() for track in signals]
    return ControlLimits(
        gain=float(np.quantile([max(0.0, track.max()) for track in gains], 1 - RISING)),
        level=float(np.quantile(levels, 1 - RISEN)),
        noise=max(1e-12, float(np.mean([np.abs(track).mean() for track in gains]))),
        spread=float(np.var(levels)),
    )


def onset_of_track(hours: np.ndarray, signal: np.ndarray, limits: ControlLimits) -> Onset:
    """Time at which the signal of a track rises by more than those of control tracks do.

    A track without such a rise had risen before (its mean lies above the limit of control tracks),
    or never rises while it is seen: the onset is censored on the left, or on the right.

    Parameters
    ----------
    hours, signal : numpy.ndarray
        Of one track, by rising hour, shape (n,), n at least 2.
    limits : ControlLimits
        Of the same experiment.

    Returns
    -------
    Onset
    """
    step = fit_step(hours, signal, limits.noise)
    if step.gain > limits.gain:
        return Onset(step.hours, step.low, step.high)
    if signal.mean() > limits.level:
        return Onset(np.nan, -np.inf, float(hours[0]))
    return Onset(np.nan, float(hours[-1]), np.inf)


def own_level(
    hours: np.ndarray, signal: np.ndarray, onset: Onset | None, limits: ControlLimits
) -> float:
    """Signal of a track before it responds, as far as cells differ in it: shrunk towards 0.

    0 stands for the mean of the control cells, and for what cannot be known: of a track without an
    onset, and of one whose signal was high from the first observation on.

    Parameters
    ----------
    hours, signal : numpy.ndarray
        Of one track, by rising hour, shape (n,).
    onset : Onset or None
        Of `onset_of_track`.
    limits : ControlLimits
        Of the same experiment.

    Returns
    -------
    float
    """
    if onset is None or onset.low == -np.inf:
        return 0.0
    before = signal[hours < onset.hours] if np.isfinite(onset.hours) else signal
    return float(before.mean() * limits.spread / (limits.spread + limits.noise))


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
