"""Temporal offsets: from a range in hours to whole frames and their probabilities."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Relative slack for comparing hours with multiples of a frame interval: 4.1 hours are 246 frames of
# a minute although 4.1 * 60 is just below 246 in floating point.
_SLACK = 1e-9


def offsets_in_frames(
    tau_range_hours: tuple[float, float], interval_minutes: float
) -> NDArray[np.int64]:
    """Return the offsets, in whole frames, that lie inside a range of hours.

    Parameters
    ----------
    tau_range_hours : tuple of float
        First and last offset in hours, both included. Negative offsets go back in time.
        ``(0, 0)`` asks for the observation itself; in every other range the offset 0 is left out,
        since an observation is no positive of itself.
    interval_minutes : float
        Time between two frames, in minutes.

    Returns
    -------
    ndarray of int64, shape (n,)
        Ascending, at least one.

    Raises
    ------
    ValueError
        If the range is not two finite numbers in ascending order, if the interval is not
        positive, or if no whole frame lies in the range; the message says which intervals would do.

    Examples
    --------
    >>> offsets_in_frames((0.5, 1.0), interval_minutes=15)
    array([2, 3, 4])
    """
    first, last = (float(hours) for hours in tau_range_hours)
    interval = float(interval_minutes)
    if not (math.isfinite(first) and math.isfinite(last)) or first > last:
        raise ValueError(
            f"tau_range_hours must be two finite numbers in ascending order, not "
            f"({first:g}, {last:g})."
        )
    if not (math.isfinite(interval) and interval > 0):
        raise ValueError(f"interval_minutes must be positive, not {interval:g}.")
    if first == last == 0:
        return np.zeros(1, dtype=np.int64)
    begin, end = first * 60 / interval, last * 60 / interval
    slack = _SLACK * max(1.0, abs(begin), abs(end))
    first_frame, last_frame = math.ceil(begin - slack), math.floor(end + slack)
    offsets: NDArray[np.int64] = np.arange(first_frame, last_frame + 1, dtype=np.int64)
    offsets = offsets[offsets != 0]
    if offsets.size == 0:
        raise ValueError(_no_frame_message(first, last, interval))
    return offsets


def offset_weights(offsets: ArrayLike, decay_rate: float = 2.0) -> NDArray[np.float64]:
    """Return the probability of each offset, decaying exponentially with the distance in time.

    The weight of offset ``tau`` is ``exp(-decay_rate * (tau - tau_min) / (tau_max - tau_min))``,
    with ``tau`` the distance in frames whatever its sign, so that the nearest offset is the
    likeliest both forwards and backwards in time.

    Parameters
    ----------
    offsets : array_like of int, shape (n,)
        In frames.
    decay_rate : float
        The farthest offset is ``exp(decay_rate)`` times rarer than the nearest; 0 makes all
        offsets equally likely.

    Returns
    -------
    ndarray of float64, shape (n,)
        They sum to 1, in the order of `offsets`.

    Raises
    ------
    ValueError
        If there is no offset, one is not finite, or the decay rate is negative or not finite.
    """
    distance = np.abs(np.asarray(offsets, dtype=np.float64))
    if distance.size == 0:
        raise ValueError("offsets is empty: there is nothing to weigh.")
    if not np.isfinite(distance).all():
        raise ValueError(f"offsets must be finite numbers of frames: {offsets!s}.")
    if not (math.isfinite(decay_rate) and decay_rate >= 0):
        raise ValueError(f"decay_rate must be finite and not negative, not {decay_rate:g}.")
    span = np.ptp(distance)
    weights = np.exp(-decay_rate * (distance - distance.min()) / (span or 1.0))
    probabilities: NDArray[np.float64] = weights / weights.sum()
    return probabilities


def _no_frame_message(first: float, last: float, interval: float) -> str:
    farthest = 60 * max(abs(first), abs(last))
    width = 60 * (last - first)
    always = f", and any of at most {width:g} minutes would" if 0 < width < farthest else ""
    return (
        f"tau_range_hours ({first:g}, {last:g}) holds no whole frame at interval_minutes="
        f"{interval:g}. The longest interval that would do is {farthest:g} minutes{always}; or "
        "widen the range to a multiple of the interval."
    )
