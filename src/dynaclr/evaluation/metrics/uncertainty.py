"""Means over seeds, and their differences, with the uncertainty of seeds and of lineages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import false_discovery_control
from scipy.stats import t as student

from dynaclr.evaluation.metrics.bootstrap import MIN_CLUSTERS

LEVEL = 0.95
NOT_RESAMPLED = "lineages not resampled"


class Estimate(NamedTuple):
    """A mean over seeds.

    Attributes
    ----------
    value, low, high : float
        Mean and 95 % interval; NaN where the uncertainty is not known.
    p : float
        Two-sided, against 0.
    note : str
        Sources of variance that the interval does not include.
    """

    value: float
    low: float
    high: float
    p: float
    note: str


class Values(NamedTuple):
    """Values behind one mean over seeds.

    Attributes
    ----------
    per_seed : sequence of float
        Value of each seed; NaN are left out.
    resampled : numpy.ndarray or None
        Mean over seeds on each resample of lineages, shape (r,).
    n_lineages : int
        Number of lineages that were resampled.
    """

    per_seed: Sequence[float]
    resampled: np.ndarray | None = None
    n_lineages: int = 0

    @property
    def mean(self) -> float:
        """Mean over seeds, NaN where there is no value."""
        values = _finite(self.per_seed)
        return float(values.mean()) if len(values) else np.nan


def estimate_mean(
    per_seed: Sequence[float], resampled: np.ndarray | None = None, n_lineages: int = 0
) -> Estimate:
    """Mean over seeds, with an interval for other seeds and other lineages.

    Two sources add up: the variance between seeds over their number, and the variance of the mean
    over resampled lineages (which all seeds share). Degrees of freedom are Satterthwaite's (1946,
    Biometrics Bulletin 2, 110): few seeds give wide intervals, as they should. Where nothing
    varies, as with values that come in steps, the uncertainty is not known.

    Parameters
    ----------
    per_seed, resampled, n_lineages
        As in `Values`. Differences between two models, seed by seed and resample by resample,
        give a paired comparison.

    Returns
    -------
    Estimate
    """
    values = Values(per_seed, resampled, n_lineages)
    return _estimate(values.mean, *_sources(values))


def estimate_difference(first: Values, second: Values) -> Estimate:
    """First minus second without pairs: the variances of both add up.

    Over seeds alone it is the test of Welch (1947), Biometrika 34, 28.

    Parameters
    ----------
    first, second : Values

    Returns
    -------
    Estimate
    """
    (parts, notes), (other_parts, other_notes) = _sources(first), _sources(second)
    both = parts + other_parts if parts and other_parts else []
    return _estimate(first.mean - second.mean, both, list(dict.fromkeys(notes + other_notes)))


def _finite(values: Sequence[float]) -> np.ndarray:
    return np.array([value for value in values if np.isfinite(value)])


def _sources(values: Values) -> tuple[list[tuple[float, int]], list[str]]:
    """Variance and degrees of freedom of each source, and the sources that are missing."""
    seeds = _finite(values.per_seed)
    parts: list[tuple[float, int]] = []
    notes: list[str] = []
    if len(seeds) > 1:
        parts.append((seeds.var(ddof=1) / len(seeds), len(seeds) - 1))
    else:
        notes.append("one seed")
    resampled = np.empty(0) if values.resampled is None else values.resampled
    finite = resampled[np.isfinite(resampled)]
    if values.n_lineages >= MIN_CLUSTERS and len(finite) > 0.5 * len(resampled):
        parts.append((finite.var(ddof=1), values.n_lineages - 1))
    else:
        notes.append(NOT_RESAMPLED)
    return parts, notes


def _estimate(value: float, parts: list[tuple[float, int]], notes: list[str]) -> Estimate:
    if not np.isfinite(value):
        return Estimate(np.nan, np.nan, np.nan, np.nan, "no value")
    variance, note = sum(part for part, _ in parts), "; ".join(notes)
    if not parts:
        return Estimate(value, np.nan, np.nan, np.nan, f"{note}: no interval")
    error = np.sqrt(variance)
    # Equal differences of rounded numbers differ in their last digits.
    if error <= 1e-9 * abs(value) or error == 0:
        note = "; ".join([*notes, "all seeds alike: uncertainty not known"])
        return Estimate(value, np.nan, np.nan, np.nan, note)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    half = student.ppf(0.5 + LEVEL / 2, freedom) * error
    p = 2 * student.sf(abs(value) / error, freedom)
    return Estimate(value, float(value - half), float(value + half), float(p), note)


def adjust_p_values(p: np.ndarray) -> np.ndarray:
    """Adjust p values over all that are not NaN, to control the false discovery rate.

    Benjamini and Hochberg (1995), Journal of the Royal Statistical Society B 57, 289, by scipy.

    Parameters
    ----------
    p : numpy.ndarray
        Shape (n,).

    Returns
    -------
    numpy.ndarray
        float64, shape (n,), NaN where `p` is.
    """
    adjusted = np.full(len(p), np.nan)
    known = np.isfinite(p)
    if known.any():
        adjusted[known] = false_discovery_control(p[known])
    return adjusted
