"""Rows sorted into pools, one for each (group, stratum) that occurs, and sets of such pools.

Sorting is all that is done with the rows: ``order`` lists row numbers by stratum, then group, then
hour. A pool is a stretch of `order`; a stratum is a stretch of pools; and a stratum without one of
its groups is a stretch with a hole. Everything a batch needs is found by arithmetic on the ends of
these stretches.
"""

from dataclasses import dataclass

import numpy as np

from dynaclr.sampling.columns import stable_order


@dataclass(frozen=True, eq=False)
class RowSets:
    """Several sets of rows, each one stretch of `Pools.order` with at most one hole.

    Attributes
    ----------
    start, size
        ``(n,)`` int64. Where each stretch begins in `order`, and how many rows it has outside
        the hole.
    hole, hole_size
        ``(n,)`` int64. Rows before the hole, and rows in it (0 without a hole).
    """

    start: np.ndarray
    size: np.ndarray
    hole: np.ndarray
    hole_size: np.ndarray

    def place(self, which: np.ndarray, position: np.ndarray) -> np.ndarray:
        """Return places in `order` of positions counted inside the sets, past the hole."""
        behind = position >= self.hole[which]
        return self.start[which] + position + behind * self.hole_size[which]

    def position(self, which: np.ndarray, place: np.ndarray) -> np.ndarray:
        """Return positions inside the sets of places in `order`; undoes :meth:`place`."""
        raw = place - self.start[which]
        return raw - (raw >= self.hole[which] + self.hole_size[which]) * self.hole_size[which]

    def join(self, other: "RowSets") -> "RowSets":
        """Return these sets followed by those of `other`."""
        return RowSets(
            *(
                np.concatenate([getattr(self, name), getattr(other, name)])
                for name in ("start", "size", "hole", "hole_size")
            )
        )


class Pools:
    """The rows of a table by stratum and group.

    Parameters
    ----------
    group, stratum
        ``(N,)`` integer codes; every code below the counts occurs.
    n_groups, n_strata
        How many codes there are.
    hour
        ``(N,)`` integer codes of the hours in ascending order, or None to leave the rows of a pool
        in table order.
    n_hours
        How many distinct hours there are.

    Attributes
    ----------
    order
        ``(N,)`` row numbers by stratum, group and hour; int32 where the table is small enough.
    start
        ``(n_pools + 1,)`` where each pool begins in `order`; pools go by stratum, then group.
    group, stratum
        ``(n_pools,)`` the codes of each pool.
    """

    def __init__(
        self,
        group: np.ndarray,
        stratum: np.ndarray,
        n_groups: int,
        n_strata: int,
        hour: np.ndarray | None = None,
        n_hours: int = 1,
    ) -> None:
        n_cells = n_groups * n_strata
        cell_type = np.uint16 if n_cells < 1 << 16 else np.int64
        cell = stratum.astype(cell_type) * cell_type(n_groups) + group.astype(cell_type)
        self.order, cell = _sort_rows(cell, n_cells, hour, n_hours)
        begins = np.flatnonzero(np.r_[True, cell[1:] != cell[:-1]])
        self._cell = cell[begins].astype(np.int64)
        self.start = np.r_[begins, cell.size].astype(np.int64)
        self.stratum, self.group = np.divmod(self._cell, n_groups)
        self.n_groups, self.n_strata = n_groups, n_strata
        self._index_pools()

    def _index_pools(self) -> None:
        self._pools_by_group = np.argsort(self.group, kind="stable")
        self._group_start = np.searchsorted(
            self.group[self._pools_by_group], np.arange(self.n_groups + 1)
        )
        self._stratum_start = np.searchsorted(self.stratum, np.arange(self.n_strata + 1))
        self._row_of_stratum = self.start[self._stratum_start]
        # Strata of a single group are the ones that this group's leaked rows cannot come from.
        lonely = np.flatnonzero(np.diff(self._stratum_start) == 1)
        owner = self.group[self._stratum_start[lonely]]
        by_owner = np.argsort(owner, kind="stable")
        self._lonely_start = np.searchsorted(owner[by_owner], np.arange(self.n_groups + 1))
        rank = np.arange(lonely.size) - self._lonely_start[owner[by_owner]]
        self._lonely_key = owner[by_owner] * self.n_strata + lonely[by_owner] - rank
        self.n_foreign_strata = self.n_strata - np.diff(self._lonely_start)

    @property
    def n_pools(self) -> int:
        """Number of (group, stratum) combinations that occur."""
        return self._cell.size

    @property
    def sizes(self) -> np.ndarray:
        """``(n_pools,)`` rows in each pool."""
        return np.diff(self.start)

    @property
    def group_sizes(self) -> np.ndarray:
        """``(n_groups,)`` rows in each group."""
        return np.bincount(self.group, weights=self.sizes, minlength=self.n_groups).astype(np.int64)

    def of_group(self, group: int) -> np.ndarray:
        """Return the pools of one group, by stratum."""
        return self._pools_by_group[self._group_start[group] : self._group_start[group + 1]]

    def at(self, place: np.ndarray) -> np.ndarray:
        """Return the pools that hold places in `order`."""
        return np.searchsorted(self.start, place, side="right") - 1

    def foreign_stratum(self, group: np.ndarray, rank: np.ndarray) -> np.ndarray:
        """Return the strata of given rank among those that other groups than `group` have.

        Ranks run from 0 to ``n_foreign_strata[group] - 1``, by stratum code.
        """
        key = group * self.n_strata + rank
        skipped = np.searchsorted(self._lonely_key, key, side="right") - self._lonely_start[group]
        return rank + skipped

    def as_sets(self, pools: np.ndarray) -> RowSets:
        """Return each pool as a set of rows."""
        size = self.start[pools + 1] - self.start[pools]
        return RowSets(self.start[pools], size, size, np.zeros_like(size))

    def outside_group(self, group: np.ndarray, strata: np.ndarray) -> RowSets:
        """Return the rows of each stratum without those of a group.

        Parameters
        ----------
        group
            ``(n,)`` or scalar, the group left out.
        strata
            ``(n,)`` strata.
        """
        cell = strata * self.n_groups + group
        own = np.minimum(np.searchsorted(self._cell, cell), self.n_pools - 1)
        hole_size = np.where(self._cell[own] == cell, self.start[own + 1] - self.start[own], 0)
        start, end = self._row_of_stratum[strata], self._row_of_stratum[strata + 1]
        size = end - start - hole_size
        hole = np.where(hole_size > 0, self.start[own] - start, size)
        return RowSets(start, size, hole, hole_size)

    def pools_outside_group(self, group: int, strata: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the pools that make up each stratum without a group.

        Returns
        -------
        pools : np.ndarray
            Pool numbers, stratum by stratum in the order given.
        which : np.ndarray
            For each of them, the position of its stratum in `strata`.
        """
        first = self._stratum_start[strata]
        counts = self._stratum_start[strata + 1] - first
        which = np.repeat(np.arange(strata.size), counts)
        pools = np.arange(which.size) + np.repeat(first - np.cumsum(counts) + counts, counts)
        foreign = self.group[pools] != group
        return pools[foreign], which[foreign]


def _sort_rows(
    cell: np.ndarray, n_cells: int, hour: np.ndarray | None, n_hours: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return row numbers sorted by cell, then hour, then row; and the sorted cells."""
    index_type = np.int32 if cell.size < 1 << 31 else np.int64
    if hour is None:
        order = stable_order(cell, n_cells).astype(index_type)
        return order, cell[order]
    by_hour = stable_order(hour, n_hours).astype(index_type)
    order = by_hour[stable_order(cell[by_hour], n_cells)]
    return order, cell[order]
