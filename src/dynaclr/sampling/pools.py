"""Rows sorted into pools, one for each (group, stratum) that occurs, and sets of such pools.

Sorting is all that is done with the rows: ``order`` lists row numbers by stratum, then group, then
hour. A pool is a stretch of `order`; a stratum is a stretch of pools; and a stratum without one of
its groups is a stretch with a hole. Everything a batch needs is found by arithmetic on the ends of
these stretches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dynaclr.sampling.columns import stable_order


@dataclass(frozen=True, eq=False)
class RowSets:
    """Several sets of rows, each one stretch of `Pools.order` with at most one hole.

    Attributes
    ----------
    start, size : ndarray of int64, shape (n,)
        Where each stretch begins in `order`, and how many rows it has outside the hole.
    hole, hole_size : ndarray of int64, shape (n,)
        Rows before the hole, and rows in it (0 without a hole).
    """

    start: NDArray[np.int64]
    size: NDArray[np.int64]
    hole: NDArray[np.int64]
    hole_size: NDArray[np.int64]

    def locate(self, which: NDArray[np.int64], position: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return locations in `order` of positions counted inside the sets, past the hole."""
        behind = position >= self.hole[which]
        return self.start[which] + position + behind * self.hole_size[which]

    def position(self, which: NDArray[np.int64], location: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return positions inside the sets of locations in `order`; undoes `locate`."""
        raw = location - self.start[which]
        return raw - (raw >= self.hole[which] + self.hole_size[which]) * self.hole_size[which]

    def join(self, other: RowSets) -> RowSets:
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
    group, stratum : ndarray of int, shape (N,)
        Codes; every code below the counts occurs.
    n_groups, n_strata : int
        How many codes there are.
    hour : ndarray of int, shape (N,), optional
        Codes of the hours in ascending order; by default the rows of a pool are left in table
        order.
    n_hours : int
        How many distinct hours there are.

    Attributes
    ----------
    order : ndarray of int32 or int64, shape (N,)
        Row numbers by stratum, group and hour; int32 where the table is small enough.
    start : ndarray of int64, shape (n_pools + 1,)
        Where each pool begins in `order`; pools go by stratum, then group.
    group, stratum : ndarray of int64, shape (n_pools,)
        The codes of each pool.
    n_foreign_strata : ndarray of int64, shape (n_groups,)
        How many strata other groups have.
    """

    def __init__(
        self,
        group: NDArray[np.integer],
        stratum: NDArray[np.integer],
        n_groups: int,
        n_strata: int,
        hour: NDArray[np.integer] | None = None,
        n_hours: int = 1,
    ) -> None:
        n_codes = n_groups * n_strata
        code_type = np.dtype(np.uint16 if n_codes < 1 << 16 else np.int64)
        code = stratum.astype(code_type) * code_type.type(n_groups) + group.astype(code_type)
        self.order, code = _sort_rows(code, n_codes, hour, n_hours)
        begins = np.flatnonzero(np.r_[True, code[1:] != code[:-1]])
        self._code = code[begins].astype(np.int64)
        self.start = np.r_[begins, code.size].astype(np.int64)
        self.stratum, self.group = np.divmod(self._code, n_groups)
        self.n_groups, self.n_strata = n_groups, n_strata
        self._index_pools()

    def _index_pools(self) -> None:
        self._pools_by_group = np.argsort(self.group, kind="stable")
        self._group_start = np.searchsorted(
            self.group[self._pools_by_group], np.arange(self.n_groups + 1)
        )
        self._stratum_start = np.searchsorted(self.stratum, np.arange(self.n_strata + 1))
        self._row_of_stratum = self.start[self._stratum_start]
        # Strata of a single group are the ones that its cross-group rows cannot come from.
        lonely = np.flatnonzero(np.diff(self._stratum_start) == 1)
        owner = self.group[self._stratum_start[lonely]]
        by_owner = np.argsort(owner, kind="stable")
        self._lonely_start = np.searchsorted(owner[by_owner], np.arange(self.n_groups + 1))
        before = np.arange(lonely.size) - self._lonely_start[owner[by_owner]]
        self._lonely_key = owner[by_owner] * self.n_strata + lonely[by_owner] - before
        self.n_foreign_strata = self.n_strata - np.diff(self._lonely_start)

    @property
    def n_pools(self) -> int:
        """Number of (group, stratum) combinations that occur."""
        return int(self._code.size)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Rows in each pool, shape (n_pools,)."""
        sizes: NDArray[np.int64] = np.diff(self.start)
        return sizes

    @property
    def group_sizes(self) -> NDArray[np.int64]:
        """Rows in each group, shape (n_groups,)."""
        return np.bincount(self.group, weights=self.sizes, minlength=self.n_groups).astype(np.int64)

    def of_group(self, group: int) -> NDArray[np.int64]:
        """Return the pools of one group, by stratum."""
        return self._pools_by_group[self._group_start[group] : self._group_start[group + 1]]

    def at(self, location: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return the pools that hold locations in `order`."""
        return np.searchsorted(self.start, location, side="right") - 1

    def foreign_stratum(
        self, group: NDArray[np.int64] | int, number: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return strata by their number among those that other groups than `group` have.

        Numbers run from 0 to ``n_foreign_strata[group] - 1``, by stratum code.
        """
        key = group * self.n_strata + number
        skipped = np.searchsorted(self._lonely_key, key, side="right") - self._lonely_start[group]
        return number + skipped

    def as_sets(self, pools: NDArray[np.int64]) -> RowSets:
        """Return each pool as a set of rows."""
        size = self.start[pools + 1] - self.start[pools]
        return RowSets(self.start[pools], size, size, np.zeros_like(size))

    def outside_group(self, group: NDArray[np.int64] | int, strata: NDArray[np.int64]) -> RowSets:
        """Return the rows of each stratum without those of a group.

        Parameters
        ----------
        group : ndarray of int64, shape (n,), or int
            The group left out.
        strata : ndarray of int64, shape (n,)
        """
        code = strata * self.n_groups + group
        own = np.minimum(np.searchsorted(self._code, code), self.n_pools - 1)
        hole_size = np.where(self._code[own] == code, self.start[own + 1] - self.start[own], 0)
        start, end = self._row_of_stratum[strata], self._row_of_stratum[strata + 1]
        size = end - start - hole_size
        hole = np.where(hole_size > 0, self.start[own] - start, size)
        return RowSets(start, size, hole, hole_size)

    def pools_outside_group(
        self, group: int, strata: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the pools that make up each stratum without a group.

        Returns
        -------
        pools : ndarray of int64
            Pool numbers, stratum by stratum in the order given.
        which : ndarray of int64
            For each of them, the position of its stratum in `strata`.
        """
        first = self._stratum_start[strata]
        counts = self._stratum_start[strata + 1] - first
        which = np.repeat(np.arange(strata.size), counts)
        pools = np.arange(which.size) + np.repeat(first - np.cumsum(counts) + counts, counts)
        foreign = self.group[pools] != group
        return pools[foreign], which[foreign]


def _sort_rows(
    pool: NDArray[np.integer], n_codes: int, hour: NDArray[np.integer] | None, n_hours: int
) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Return row numbers sorted by code of the pool, then hour, then row; and the sorted codes."""
    index_type: DTypeLike = np.int32 if pool.size < 1 << 31 else np.int64
    if hour is None:
        order = stable_order(pool, n_codes).astype(index_type)
        return order, pool[order]
    by_hour = stable_order(hour, n_hours).astype(index_type)
    order = by_hour[stable_order(pool[by_hour], n_codes)]
    return order, pool[order]
