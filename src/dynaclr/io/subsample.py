"""Subsamples of observations, the same in every stage."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


def whole_lineages(table: pd.DataFrame, max_rows: int) -> NDArray[np.int64]:
    """Draw whole lineages, at most `max_rows` observations.

    The order in which lineages are drawn depends on their names alone. So independent stages
    choose the same ones, and a larger subsample contains the smaller ones.

    Parameters
    ----------
    table : pandas.DataFrame
        Observations with experiment, fov and lineage_id; n rows.
    max_rows : int
        The first lineage that would exceed it ends the selection; at least one is drawn.

    Returns
    -------
    numpy.ndarray
        Positions in the table, int64, ascending.
    """
    names = table[["experiment", "fov", "lineage_id"]].astype(str).agg("/".join, axis=1)
    lineages, lineage = np.unique(names.to_numpy(dtype=str), return_inverse=True)
    order = np.argsort([hashlib.sha256(name.encode()).hexdigest() for name in lineages])
    n_drawn = np.searchsorted(np.bincount(lineage)[order].cumsum(), max_rows, side="right")
    return np.flatnonzero(np.isin(lineage, order[: max(int(n_drawn), 1)]))


def balanced_subsample(experiments: NDArray, max_rows: int, seed: int) -> NDArray[np.int64]:
    """Draw at most `max_rows` rows, equally many of each experiment that has as many.

    Parameters
    ----------
    experiments : numpy.ndarray
        Experiment of each row, shape (n,).
    max_rows : int
    seed : int

    Returns
    -------
    numpy.ndarray
        Positions, int64, ascending.
    """
    names, codes = np.unique(experiments.astype(str), return_inverse=True)
    generator = np.random.default_rng(seed)
    n_each = max(1, max_rows // max(1, len(names)))
    chosen = [
        generator.permutation(np.flatnonzero(codes == number))[:n_each]
        for number in range(len(names))
    ]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)
