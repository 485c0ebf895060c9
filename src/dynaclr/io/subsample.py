"""Which cells are taken where not all can be: the same ones in every stage."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


def whole_lineages(table: pd.DataFrame, max_rows: int) -> NDArray[np.int64]:
    """Positions of at most `max_rows` observations: whole lineages, drawn evenly.

    The order in which lineages are taken depends on their names alone. So stages that know nothing
    of each other choose alike, and those who take more take all that the others took.

    Parameters
    ----------
    table : pandas.DataFrame
        Observations with experiment, fov and lineage_id; n rows.
    max_rows : int
        The first lineage that would exceed it ends the selection; one is always taken.

    Returns
    -------
    numpy.ndarray
        Positions in the table, int64, ascending.
    """
    import numpy as np

    names = table[["experiment", "fov", "lineage_id"]].astype(str).agg("/".join, axis=1)
    lineages, lineage = np.unique(names.to_numpy(dtype=str), return_inverse=True)
    order = np.argsort([hashlib.sha256(name.encode()).hexdigest() for name in lineages])
    n_taken = np.searchsorted(np.bincount(lineage)[order].cumsum(), max_rows, side="right")
    return np.flatnonzero(np.isin(lineage, order[: max(int(n_taken), 1)]))


def balanced_subsample(experiments: NDArray, max_rows: int, seed: int) -> NDArray[np.int64]:
    """Positions of at most `max_rows` rows, as many of each experiment where it has them.

    Parameters
    ----------
    experiments : numpy.ndarray
        Shape (n,).
    max_rows : int
    seed : int

    Returns
    -------
    numpy.ndarray
        int64, ascending.
    """
    import numpy as np

    names, codes = np.unique(experiments.astype(str), return_inverse=True)
    generator = np.random.default_rng(seed)
    share = max(1, max_rows // max(1, len(names)))
    chosen = [
        generator.permutation(np.flatnonzero(codes == number))[:share]
        for number in range(len(names))
    ]
    return np.sort(np.concatenate(chosen)) if chosen else np.empty(0, dtype=np.int64)
