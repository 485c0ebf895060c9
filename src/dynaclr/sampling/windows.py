"""Rows around a focal hour, and other rows that were not among them.

Temporal enrichment draws part of a batch from the rows within a window around a focal hour and the
rest from all hours, without drawing a row twice. Both are done for many sets of rows at once; the
cost depends on the draws, the pools involved and the logarithm of the number of distinct hours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynaclr.sampling.pools import Pools, RowSets
from dynaclr.sampling.randomness import hash64, permute

# Slack in hours for the ends of a window: hours are multiples of frame intervals, so that a row
# on the very end of a window may miss it by a rounding error, in single precision by up to 1e-5.
_SLACK = 1e-5


class HourTable:
    """Where each hour of each pool lies in the sorted rows.

    Parameters
    ----------
    pools : Pools
        Rows sorted by pool and, inside a pool, by hour.
    hour : ndarray of int, shape (N,)
        Codes of the hours, in table order.
    hours : ndarray of float64, shape (n_hours,)
        The distinct hours, ascending.

    Attributes
    ----------
    hours : ndarray of float64, shape (n_hours,)
    """

    def __init__(self, pools: Pools, hour: NDArray[np.integer], hours: NDArray[np.float64]) -> None:
        self.hours = hours
        hour = hour[pools.order]
        new = np.r_[True, hour[1:] != hour[:-1]]
        new[pools.start[:-1]] = True
        begins = np.flatnonzero(new)
        self._hour = hour[begins].astype(np.int64)
        pool = pools.at(begins)
        self._key = pool * hours.size + self._hour
        self._start = np.r_[begins, hour.size]
        present = np.unique(pools.group[pool] * hours.size + self._hour)
        group, code = np.divmod(present, hours.size)
        self._hours_by_group = hours[code]
        self._group_start = np.searchsorted(group, np.arange(pools.n_groups + 1))

    def of_group(self, group: int) -> NDArray[np.float64]:
        """Return the distinct hours of a group, ascending."""
        return self._hours_by_group[self._group_start[group] : self._group_start[group + 1]]

    def count_outside(self, location: NDArray[np.int64], focal: float, half_width: float) -> int:
        """Return how many locations in the sorted rows lie outside a window."""
        first, end = self.around(focal, np.array(half_width))
        code = self._hour[np.searchsorted(self._start, location, side="right") - 1]
        return int(np.count_nonzero((code < first) | (code >= end)))

    def rows_between(
        self, pools: NDArray[np.int64], first: NDArray[np.int64], end: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return begin and end, in the sorted rows, of the hours ``[first, end)`` of pools."""
        base = pools * self.hours.size
        begin = np.searchsorted(self._key, base + first)
        stop = np.searchsorted(self._key, base + end)
        return self._start[begin], self._start[stop]

    def around(
        self, focal: float, half_width: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the hour codes ``[first, end)`` within half-widths of a focal hour."""
        reach = half_width + _SLACK
        first = np.searchsorted(self.hours, focal - reach)
        return first, np.searchsorted(self.hours, focal + reach, side="right")


@dataclass(frozen=True, eq=False)
class Segments:
    """The pools that sets of rows are made of, set by set.

    Attributes
    ----------
    pool, which : ndarray of int64, shape (n_segments,)
        Pool numbers, and the set each belongs to (ascending, none missing).
    first : ndarray of int64, shape (n_sets,)
        The first segment of each set.
    """

    pool: NDArray[np.int64]
    which: NDArray[np.int64]
    first: NDArray[np.int64]

    @classmethod
    def of(cls, pool: NDArray[np.int64], which: NDArray[np.int64], n_sets: int) -> Segments:
        """Make segments from pools and the sets they belong to."""
        return cls(pool, which, np.searchsorted(which, np.arange(n_sets)))

    def of_sets(self, chosen: NDArray[np.int64]) -> Segments:
        """Return the segments of some sets, which are numbered anew."""
        ends = np.r_[self.first[1:], self.pool.size]
        counts = ends[chosen] - self.first[chosen]
        which = np.repeat(np.arange(chosen.size), counts)
        begin = np.cumsum(counts) - counts
        segment = np.arange(which.size) + np.repeat(self.first[chosen] - begin, counts)
        return Segments(self.pool[segment], which, begin)


def find_windows(
    table: HourTable,
    segments: Segments,
    focal: float,
    half_width: float,
    needed: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Return the hours from which each set draws its focal rows.

    Parameters
    ----------
    table : HourTable
        The hours of the pools.
    segments : Segments
        The pools of each set.
    focal, half_width : float
        The window in hours: ``focal - half_width`` to ``focal + half_width``, ends included.
    needed : ndarray of int64, shape (n_sets,)
        Rows that each window must hold; at most those of the set.

    Returns
    -------
    first, end : ndarray of int64, shape (n_sets,)
        Hour codes, from `first` up to but not including `end`.
    widened : ndarray of bool, shape (n_sets,)
        Where the half-width asked for held too few rows and the smallest one
        that holds enough was taken.
    """
    n_sets = needed.size
    first, end = (np.full(n_sets, code) for code in table.around(focal, np.array(half_width)))
    widened = _count(table, segments, first, end) < needed
    short = np.flatnonzero(widened)
    if short.size:
        width = _smallest_half_width(table, segments.of_sets(short), focal, needed[short])
        first[short], end[short] = table.around(focal, width)
    return first, end, widened


def _count(
    table: HourTable, segments: Segments, first: NDArray[np.int64], end: NDArray[np.int64]
) -> NDArray[np.int64]:
    begin, stop = table.rows_between(segments.pool, first[segments.which], end[segments.which])
    return np.add.reduceat(stop - begin, segments.first)


def _smallest_half_width(
    table: HourTable, segments: Segments, focal: float, needed: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Bisect for the smallest half-width that holds enough rows, once on either side.

    The half-width sought is the distance of some hour before the focal hour, or of some hour after
    it. The two searches are one: set ``i`` goes backwards, set ``n + i`` forwards.
    """
    n = needed.size
    both = segments.of_sets(np.r_[np.arange(n), np.arange(n)])
    needed = np.r_[needed, needed]
    middle = np.searchsorted(table.hours, focal)
    sign = np.repeat([-1, 1], n)
    last = np.repeat([middle, table.hours.size - 1 - middle], n)
    low, high = np.zeros(2 * n, dtype=np.int64), last.copy()
    while np.any(low < high):
        half = (low + high) // 2
        width = np.abs(table.hours[middle + sign * half] - focal)
        enough = _count(table, both, *table.around(focal, width)) >= needed
        low, high = np.where(enough, low, half + 1), np.where(enough, half, high)
        low = np.minimum(low, high)
    width = np.abs(table.hours[middle + sign * high] - focal)
    enough = _count(table, both, *table.around(focal, width)) >= needed
    width[~enough] = np.inf
    smallest: NDArray[np.float64] = np.minimum(width[:n], width[n:])
    return smallest


@dataclass(frozen=True, eq=False)
class Draws:
    """Rows to draw from sets.

    Attributes
    ----------
    which, number : ndarray of int64, shape (n_draws,)
        For each draw its set, and how many of that set's draws come before it.
    count : ndarray of int64, shape (n_sets,)
        Draws from each set.
    """

    which: NDArray[np.int64]
    number: NDArray[np.int64]
    count: NDArray[np.int64]

    @classmethod
    def of(cls, which: NDArray[np.int64], number: NDArray[np.int64], n_sets: int) -> Draws:
        """Make draws, counting those of each set."""
        return cls(which, number, np.bincount(which, minlength=n_sets))


def draw_focal_and_global(
    table: HourTable,
    segments: Segments,
    sets: RowSets,
    hours: tuple[NDArray[np.int64], NDArray[np.int64]],
    focal: Draws,
    everywhere: Draws,
    key: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw rows inside a window and rows of all hours, none twice while rows last.

    Parameters
    ----------
    table : HourTable
    segments : Segments
    sets : RowSets
        The sets of rows and the pools and hours they are made of.
    hours : tuple of ndarray of int64, shape (n_sets,)
        First and end hour code of each set's window, from `find_windows`.
    focal, everywhere : Draws
        What to draw inside the windows, and from all hours.
    key : int
        Of this batch.

    Returns
    -------
    focal_locations, other_locations : ndarray of int64, shape (n_draws,)
        Locations in ``Pools.order``, one for each draw. Both together hold any two rows of a set
        equally often, give or take one, if the set has fewer rows than draws; no row twice if not.
    """
    in_window, locate_in_window = _lay_out_windows(table, segments, *hours)

    # The focal draws go through a set that is smaller than their number a whole number of times and
    # then through part of it. The other rows are one draw behind; the draws from all hours begin
    # with these.
    part = focal.count % sets.size
    behind = (sets.size - part)[everywhere.which]
    is_behind = everywhere.number < behind
    size = np.where(is_behind, behind, sets.size[everywhere.which])
    number = np.where(is_behind, everywhere.number, (everywhere.number - behind) % size)
    indices = permute(
        np.r_[focal.number % in_window[focal.which], number],
        np.r_[in_window[focal.which], size],
        np.r_[hash64(key, 2 * focal.which), hash64(key, 2 * everywhere.which + 1)],
    )
    focal_locations = locate_in_window(focal.which, indices[: focal.which.size])
    position = indices[focal.which.size :]

    ahead = focal.number >= (focal.count - part)[focal.which]
    taken_from = focal.which[ahead]
    taken = sets.position(taken_from, focal_locations[ahead])
    free = _skip_taken(sets.size, everywhere.which, position, taken_from, taken)
    position = np.where(is_behind, free, position)
    return focal_locations, sets.locate(everywhere.which, position)


def _lay_out_windows(
    table: HourTable, segments: Segments, first: NDArray[np.int64], end: NDArray[np.int64]
) -> tuple[NDArray[np.int64], Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.int64]]]:
    """Return the rows in each set's window, and a function from (set, index) to locations."""
    begin, stop = table.rows_between(segments.pool, first[segments.which], end[segments.which])
    size = stop - begin
    total = np.cumsum(size)
    before = (total - size)[segments.first]

    def locate(which: NDArray[np.int64], index: NDArray[np.int64]) -> NDArray[np.int64]:
        counted = before[which] + index
        segment = np.searchsorted(total, counted, side="right")
        location: NDArray[np.int64] = stop[segment] - total[segment] + counted
        return location

    return np.add.reduceat(size, segments.first), locate


def _skip_taken(
    sizes: NDArray[np.int64],
    which: NDArray[np.int64],
    index: NDArray[np.int64],
    taken_from: NDArray[np.int64],
    taken: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Turn an index among the rows of a set that are not taken into a position among all its rows.

    Below the ``i``-th taken position (from 0, ascending) ``p`` there are ``p - i`` rows that are
    not taken; a free row is therefore pushed up by as many positions as there are taken rows with
    ``p - i`` at most its index.
    """
    base = np.cumsum(sizes) - sizes
    keys = np.sort(base[taken_from] + taken)
    first = np.searchsorted(keys, base)
    free_before = keys - np.arange(keys.size) + first[np.sort(taken_from)]
    pushed = np.searchsorted(free_before, base[which] + index, side="right") - first[which]
    return index + pushed
