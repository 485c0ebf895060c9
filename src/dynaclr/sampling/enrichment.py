"""Batches with most rows around a focal hour.

The group's hours take turns, in shuffled order, as focal hour. Rows around it, and rows of all
hours, are dealt to the strata as in `dynaclr.sampling.coverage`, each with a turn of its own; which
rows of a stratum they are is drawn anew in each batch, without repetition. Cross-group rows follow
the same hour and the same split.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dynaclr.sampling.composer import ALL, Composer, Composition
from dynaclr.sampling.pools import Pools, RowSets
from dynaclr.sampling.randomness import Stream, derive_key, permute
from dynaclr.sampling.steps import Step
from dynaclr.sampling.windows import (
    Draws,
    HourTable,
    Segments,
    draw_focal_and_global,
    find_windows,
)


class EnrichedComposer(Composer):
    """Draw rows around a focal hour, and rows of all hours.

    Parameters
    ----------
    pools, n_rows, n_cross_group, seed
        As in `Composer`.
    hours : HourTable
        The hours of the pools.
    half_width : float
        Half-width of the window around the focal hour.
    global_fraction : float
        Fraction of the rows that are drawn from all hours.
    """

    parts: ClassVar[tuple[str, ...]] = ("focal", "leaked_focal", "global", "leaked_global")

    def __init__(
        self,
        pools: Pools,
        n_rows: int,
        n_cross_group: int,
        seed: int,
        hours: HourTable,
        half_width: float,
        global_fraction: float,
    ) -> None:
        super().__init__(pools, n_rows, n_cross_group, seed)
        self._hours = hours
        self._half_width = half_width
        self._global_fraction = global_fraction

    @property
    def settings(self) -> tuple[float, ...]:
        """Global fraction and half-width."""
        return self._global_fraction, self._half_width

    def compose(self, step: Step, share: NDArray[np.bool_] | slice = ALL) -> Composition:
        """Compose a batch; see `Composer.compose`."""
        hours = self._hours
        focal_hour = self._focal_hour(step)
        dealt, rounds, n_focal = self._deal_parts(step)
        used, which = np.unique(dealt, return_inverse=True)
        sets, segments = self._gather_sets(step.group, used)
        focal = Draws.of(which[:n_focal], rounds[:n_focal], used.size)
        everywhere = Draws.of(which[n_focal:], rounds[n_focal:], used.size)
        begin, end, widened = find_windows(
            hours, segments, focal_hour, self._half_width, np.minimum(focal.count, sets.size)
        )
        key = derive_key(self.seed, Stream.BATCH, step.epoch, step.number)
        focal_locations, other_locations = draw_focal_and_global(
            hours, segments, sets, (begin, end), focal, everywhere, key
        )
        outside = 0
        if widened.any():
            outside = hours.count_outside(focal_locations, focal_hour, self._half_width)
        is_cross_group = dealt >= self.pools.of_group(step.group).size
        part = is_cross_group + 2 * (np.arange(dealt.size) >= n_focal)
        listed = np.lexsort((which, part))[share]
        location = np.r_[focal_locations, other_locations][listed]
        return Composition(location, part[listed], focal_hour, int(widened.sum()), outside)

    def _focal_hour(self, step: Step) -> float:
        own = self._hours.of_group(step.group)
        key = derive_key(self.seed, Stream.FOCAL_HOUR, step.epoch, step.group)
        return float(own[permute(np.array([step.turn % own.size]), own.size, key)[0]])

    def _deal_parts(self, step: Step) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
        """Deal the rows of a batch to strata.

        Returns
        -------
        dealt : ndarray of int64, shape (n_rows,)
            For each row, focal ones first, the number of its stratum among the group's own; for
            cross-group rows, how many these are plus the number among the strata of other groups.
        rounds : ndarray of int64, shape (n_rows,)
            For each row, how many before it in its part went to the same stratum.
        n_focal : int
            Focal rows, cross-group ones included.
        """
        n_own = self.pools.of_group(step.group).size
        # At least one, so that a single group, which has no cross-group rows, divides by no zero.
        n_foreign = max(int(self.pools.n_foreign_strata[step.group]), 1)
        first = derive_key(self.seed, Stream.STRATUM_TURN, step.epoch, step.group)
        own = self._deal(self.n_own, step.turn, first % n_own, n_own)
        foreign = self._deal(self.n_cross_group, step.turn, first % n_foreign, n_foreign)
        dealt = [own[0], n_own + foreign[0], own[1], n_own + foreign[1]]
        rounds = [
            np.arange(part.size) // n_strata
            for part, n_strata in zip(dealt, [n_own, n_foreign] * 2, strict=True)
        ]
        return np.concatenate(dealt), np.concatenate(rounds), dealt[0].size + dealt[1].size

    def _deal(
        self, n_rows: int, turn: int, first: int, n_strata: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the stratum of each focal row and of each row from all hours.

        The two are dealt in opposite directions from the same start. Each is balanced for itself
        to one row over an epoch, and so is their sum, as together they cover one stretch of turns.
        """
        n_global = round(self._global_fraction * n_rows)
        n_focal = n_rows - n_global
        forwards = first + turn * n_focal + np.arange(n_focal)
        backwards = first - 1 - turn * n_global - np.arange(n_global)
        return forwards % n_strata, backwards % n_strata

    def _gather_sets(self, group: int, dealt: NDArray[np.int64]) -> tuple[RowSets, Segments]:
        """Return the sets of rows that strata stand for, numbered as by `_deal_parts`."""
        own_pools = self.pools.of_group(group)
        is_own = dealt < own_pools.size
        pools = own_pools[dealt[is_own]]
        foreign = self.pools.foreign_stratum(group, dealt[~is_own] - own_pools.size)
        sets = self.pools.as_sets(pools).join(self.pools.outside_group(group, foreign))
        more_pools, which = self.pools.pools_outside_group(group, foreign)
        which = np.r_[np.arange(pools.size), pools.size + which]
        return sets, Segments.of(np.r_[pools, more_pools], which, dealt.size)
