"""Whether a new value is one that earlier ones lead to expect."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

MIN_VALUES = 3


class Expectation(NamedTuple):
    """A new value against earlier ones.

    Attributes
    ----------
    centre : float
        Mean of the earlier values; NaN with fewer than `MIN_VALUES`.
    low, high : float
        Interval that holds a further value of the same kind with the given probability.
    p : float
        Probability of a value as far from the centre; NaN with fewer than `MIN_VALUES`.
    """

    centre: float
    low: float
    high: float
    p: float


def expect(values: np.ndarray, new: float, floor: float, level: float) -> Expectation:
    """Compare a new value with earlier ones, which vary as a normal distribution.

    The prediction interval for one further observation: ``mean +- t * s * sqrt(1 + 1 / n)``, with t
    of n - 1 degrees of freedom (Hahn and Meeker, 1991, *Statistical Intervals*, chapter 4).

    Parameters
    ----------
    values : numpy.ndarray
        Shape (n,); NaN where unknown.
    new : float
    floor : float
        Least standard deviation: differences of this size mean nothing.
    level : float
        Probability that a further value is outside the interval.

    Returns
    -------
    Expectation
    """
    known = values[np.isfinite(values)]
    n = len(known)
    if n < MIN_VALUES:
        return Expectation(np.nan, np.nan, np.nan, np.nan)
    centre = float(known.mean())
    spread = max(float(known.std(ddof=1)), floor) * np.sqrt(1 + 1 / n)
    half = float(student.ppf(1 - level / 2, n - 1)) * spread
    p = float(2 * student.sf(abs(new - centre) / spread, n - 1)) if np.isfinite(new) else 0.0
    return Expectation(centre, centre - half, centre + half, p)
