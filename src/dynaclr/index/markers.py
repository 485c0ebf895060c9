"""Bag of channels: numbers for all (row, marker) pairs, without multiplying the rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


class MarkerPairs:
    """Pairs of a row and a marker that the row's well has, numbered without being written out.

    Memory is a few numbers for each run of rows that have the same markers.

    Parameters
    ----------
    rows : ndarray of int64, shape (n,)
        Row numbers.
    group : ndarray of int, shape (n,)
        Group (such as the well) of each row.
    has_marker : ndarray of bool, shape (groups, markers)
        Which markers each group has.
    markers : sequence of str
        Names of the markers.
    """

    def __init__(
        self,
        rows: NDArray[np.int64],
        group: NDArray[np.integer],
        has_marker: NDArray[np.bool_],
        markers: list[str],
    ) -> None:
        self.rows = rows
        self.markers = markers
        changes = np.flatnonzero(np.diff(group)) + 1
        starts = np.concatenate([[0], changes]) if len(rows) else np.empty(0, np.int64)
        lengths = np.diff(np.append(starts, len(rows)))
        number = has_marker.sum(axis=1)
        # Markers of each group, moved to the front of its row.
        self._of_group = np.argsort(~has_marker, axis=1, kind="stable")
        self._group = group[starts]
        self._per_row = number[self._group]
        self._first_row = starts
        self._end = np.cumsum(lengths * self._per_row)

    def __len__(self) -> int:
        return int(self._end[-1]) if len(self._end) else 0

    def __getitem__(self, pairs: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row numbers and marker numbers of pairs, in O(pairs x log runs).

        Parameters
        ----------
        pairs : array_like of int, shape (m,)
            Numbers from 0 to ``len(self) - 1``.

        Returns
        -------
        rows, markers : ndarray of int64, shape (m,)
            `markers` are indices into the attribute `markers`.
        """
        pairs = np.asarray(pairs, np.int64)
        if pairs.size and (pairs.min() < 0 or pairs.max() >= len(self)):
            raise IndexError(f"pair numbers must lie in [0, {len(self)})")
        run = np.searchsorted(self._end, pairs, side="right")
        begin = np.concatenate([[0], self._end])[run]
        row, number = np.divmod(pairs - begin, self._per_row[run])
        return self.rows[self._first_row[run] + row], self._of_group[self._group[run], number]
