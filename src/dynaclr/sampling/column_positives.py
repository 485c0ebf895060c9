"""The positive of an observation: any other one that agrees with it on given columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaclr.sampling.checks import as_mask
from dynaclr.sampling.columns import encode_together, stable_order
from dynaclr.sampling.randomness import derive_key, hash64

# Number of the stream of random numbers, the same as `_CANDIDATE` in `dynaclr.sampling.positives`:
# both choose one of several candidates, and a training uses only one of the two samplers. It must
# stay as it is, for another number would draw other positives.
_DRAW = 2


class ColumnPositiveSampler:
    """Draw, for observations, any other observation that agrees with them on given columns.

    Parameters
    ----------
    columns : pandas.DataFrame or mapping of str to array_like, shape (N,)
        The columns, by name.
    candidates : ndarray of bool, shape (N,), optional
        The observations that may be drawn as positives; by default all.
    seed : int
        Any integer.

    Raises
    ------
    ValueError
        If there is no column, a value is missing, or the columns differ in length.
    """

    def __init__(
        self,
        columns: Mapping[str, Any],
        *,
        candidates: NDArray[np.bool_] | None = None,
        seed: int = 0,
    ) -> None:
        names = tuple(columns.keys())
        if not names:
            raise ValueError("columns is empty: name at least one column that positives share.")
        n_rows = len(columns[names[0]])
        self._code, labels = encode_together(columns, names, n_rows, "columns")
        self._candidates = (
            np.ones(n_rows, dtype=bool)
            if candidates is None
            else as_mask(candidates, n_rows, "candidates")
        )
        self._seed = int(seed)
        rows = np.flatnonzero(self._candidates)
        order = rows[stable_order(self._code[rows], len(labels))]
        self._order = order.astype(np.int32 if n_rows < 1 << 31 else np.int64, copy=False)
        sizes = np.bincount(self._code[rows], minlength=len(labels))
        self._start = np.cumsum(sizes) - sizes
        self._size = sizes

    @property
    def has_positive(self) -> NDArray[np.bool_]:
        """Which observations have another one that agrees with them, shape (N,)."""
        has_positive: NDArray[np.bool_] = self._size[self._code] > self._candidates
        return has_positive

    def sample(self, rows: NDArray[np.integer], epoch: int) -> NDArray[np.int64]:
        """Return the positive of each row, never the row itself.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)
            Row numbers, in any order.
        epoch : int
            Each epoch has its own draws.

        Returns
        -------
        ndarray of int64, shape (n,)
            Row numbers.

        Raises
        ------
        ValueError
            If no other observation agrees with a row.
        """
        rows = np.asarray(rows, dtype=np.int64)
        code = self._code[rows]
        others = self._size[code] - self._candidates[rows]
        if np.any(others < 1):
            alone = rows[others < 1]
            raise ValueError(
                f"{alone.size} row(s) agree with no other row, the first is row {alone[0]}. "
                "Draw anchors only where has_positive is true."
            )
        key = derive_key(self._seed, _DRAW, epoch)
        pick = (hash64(key, rows) % others.astype(np.uint64)).astype(np.int64)
        out: NDArray[np.int64] = self._order[self._start[code] + pick].astype(np.int64)
        # Drawn are the first `others` of the candidates, so that the last one is left over. A row
        # that drew itself takes that one.
        drew_itself = np.flatnonzero(out == rows)
        left_over = self._start[code[drew_itself]] + others[drew_itself]
        out[drew_itself] = self._order[left_over]
        return out
