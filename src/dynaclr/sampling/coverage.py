"""Batches in which every row of a pool is drawn equally often over an epoch.

The rows that a group draws for itself are dealt to its strata in turn, like cards: draw ``x`` of
the epoch goes to stratum ``x mod m`` and is that stratum's draw number ``x // m``. Every batch
therefore holds each stratum ``q // m`` or ``q // m + 1`` times, the remainders move on from batch
to batch, and over an epoch no two strata differ by more than one row. Draw number ``c`` of a
stratum is row ``c mod n`` of a fresh permutation of its ``n`` rows in this group. Cross-group rows
continue the same sequence from its other end (see `dynaclr.sampling.cross_group`), so that the
draws of any two rows of a group and stratum differ by at most one in an epoch.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dynaclr.sampling.composer import ALL, Composer, Composition
from dynaclr.sampling.cross_group import lay_out_cross_group_rows
from dynaclr.sampling.pools import Pools
from dynaclr.sampling.randomness import Stream, derive_key, hash64, permute
from dynaclr.sampling.steps import Step


class CoverageComposer(Composer):
    """Draw the rows of each pool in turn.

    Parameters
    ----------
    pools, n_rows, n_cross_group, seed
        As in `Composer`.
    steps_of_group : ndarray of int64, shape (n_groups,)
        Steps that each group leads in an epoch.
    """

    parts: ClassVar[tuple[str, ...]] = ("primary", "leaked")

    def __init__(
        self,
        pools: Pools,
        n_rows: int,
        n_cross_group: int,
        seed: int,
        steps_of_group: NDArray[np.int64],
    ) -> None:
        super().__init__(pools, n_rows, n_cross_group, seed)
        if n_cross_group:
            key = derive_key(seed, Stream.CROSS_GROUP)
            self._cross_group = lay_out_cross_group_rows(pools, steps_of_group, n_cross_group, key)

    def compose(self, step: Step, share: NDArray[np.bool_] | slice = ALL) -> Composition:
        """Compose a batch; see `Composer.compose`."""
        own = self.pools.of_group(step.group)
        draw = step.turn * self.n_own + np.arange(self.n_own)
        first = derive_key(self.seed, Stream.STRATUM_TURN, step.epoch, step.group) % own.size
        pool = own[(first + draw) % own.size]
        number = draw // own.size
        position = number % (self.pools.start[pool + 1] - self.pools.start[pool])
        part = np.zeros(self.n_rows, dtype=np.int64)
        if self.n_cross_group:
            begin = step.slot * self.n_cross_group
            location = self._cross_group[begin : begin + self.n_cross_group]
            others = self.pools.at(location)
            position = np.r_[position, location - self.pools.start[others]]
            pool = np.r_[pool, others]
            part[self.n_own :] = 1
        listed = np.lexsort((pool, part))[share]
        pool, position = pool[listed], position[listed]
        start = self.pools.start[pool]
        row_order = hash64(derive_key(self.seed, Stream.ROW_ORDER, step.epoch), pool)
        location = start + permute(position, self.pools.start[pool + 1] - start, row_order)
        return Composition(location, part[listed])
