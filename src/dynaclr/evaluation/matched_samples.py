"""Samples for comparisons: independent observations, and observations of matched biology."""

from __future__ import annotations

import numpy as np

from dynaclr.evaluation.metrics.bootstrap import MIN_LINEAGES

MAX_PER_EXPERIMENT = 50
MAX_STRATA = 4


def independent_rows(
    lineages: np.ndarray, windows: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw one observation of every lineage and window.

    Parameters
    ----------
    lineages, windows : numpy.ndarray
        Codes, shape (n,).
    rng : numpy.random.Generator

    Returns
    -------
    numpy.ndarray
        Positions, int64, ascending.
    """
    order = rng.permutation(len(lineages))
    key = np.stack([lineages[order], windows[order]], axis=1)
    _, first = np.unique(key, axis=0, return_index=True)
    return np.sort(order[first])


def matched_strata(
    rows: np.ndarray,
    experiments: np.ndarray,
    conditions: np.ndarray,
    windows: np.ndarray,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """Rows of each condition and window that several experiments share, equally many of each.

    Parameters
    ----------
    rows : numpy.ndarray
        Positions to choose from, of `independent_rows`.
    experiments, conditions, windows : numpy.ndarray
        Of all observations, shape (n,).
    rng : numpy.random.Generator

    Returns
    -------
    list of numpy.ndarray
        Positions; at most `MAX_STRATA` strata, those with the most rows.
    """
    strata = []
    for condition in np.unique(conditions[rows].astype(str)):
        of_condition = rows[conditions[rows] == condition]
        for window in np.unique(windows[of_condition]):
            here = of_condition[windows[of_condition] == window]
            names, counts = np.unique(experiments[here].astype(str), return_counts=True)
            enough = counts >= MIN_LINEAGES
            if enough.sum() < 2:
                continue
            n_each = min(counts[enough].min(), MAX_PER_EXPERIMENT)
            parts = [
                rng.permutation(here[experiments[here] == name])[:n_each] for name in names[enough]
            ]
            strata.append(np.sort(np.concatenate(parts)))
    return sorted(strata, key=len, reverse=True)[:MAX_STRATA]
