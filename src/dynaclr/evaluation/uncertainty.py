"""Means over seeds and their differences, uncertain by seed and by lineage at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

LEVEL = 0.95


class Estimate(NamedTuple):
    """A mean over seeds.

    Attributes
    ----------
    value, low, high : float
        Mean and 95 % interval; NaN where the uncertainty is not known.
    p : float
        Two-sided, against 0.
    note : str
        What the interval leaves out.
    """

    value: float
    low: float
    high: float
    p: float
    note: str


def estimate_mean(
    per_seed: Sequence[float], resampled: np.ndarray | None = None, n_lineages: int = 0
) -> Estimate:
    """Mean over seeds, with an interval for other seeds and other lineages.

    Two sources add up: the variance between seeds over their number, and the variance of the mean
    over resampled lineages (which all seeds share). Degrees of freedom are Satterthwaite's (1946,
    Biometrics Bulletin 2, 110): few seeds give wide intervals, as they should.

    Parameters
    ----------
    per_seed : sequence of float
        Value of each seed; those that are NaN are left out. Differences between two models, seed
        by seed, give a paired comparison.
    resampled : numpy.ndarray, optional
        Mean over seeds on each resample of lineages, shape (r,).
    n_lineages : int
        Lineages that were resampled.
    """
    values = np.array([value for value in per_seed if np.isfinite(value)])
    if not len(values):
        return Estimate(np.nan, np.nan, np.nan, np.nan, "no value")
    parts, notes = [], []
    if len(values) > 1:
        parts.append((values.var(ddof=1) / len(values), len(values) - 1))
    else:
        notes.append("one seed")
    finite = np.empty(0) if resampled is None else resampled[np.isfinite(resampled)]
    if len(finite) > 1 and n_lineages > 1:
        parts.append((finite.var(ddof=1), n_lineages - 1))
    else:
        notes.append("lineages not resampled")
    value, note = float(values.mean()), "; ".join(notes)
    if not parts:
        return Estimate(value, np.nan, np.nan, np.nan, f"{note}: no interval")
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Estimate(value, value, value, float(value == 0), note)
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    error = np.sqrt(variance)
    reach = student.ppf(0.5 + LEVEL / 2, freedom) * error
    p = 2 * student.sf(abs(value) / error, freedom)
    return Estimate(value, float(value - reach), float(value + reach), float(p), note)


def adjust(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's p values over all that are not NaN: false discoveries, not errors.

    Benjamini and Hochberg (1995), Journal of the Royal Statistical Society B 57, 289.
    """
    adjusted = np.full(len(p), np.nan)
    known = np.flatnonzero(np.isfinite(p))
    order = known[np.argsort(-p[known], kind="stable")]
    ranks = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.minimum.accumulate(p[order] * len(order) / ranks), 1.0)
    return adjusted
