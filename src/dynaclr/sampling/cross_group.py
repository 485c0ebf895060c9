"""Cross-group rows: which rows of other groups each step of an epoch draws.

They share the coverage of their pool with the rows that the pool's own group draws: a pool is one
long cyclic sequence of draws, the own group's steps take numbers 0, 1, 2, ... of it and cross-group
rows take -1, -2, ..., each number once. Taken together they are consecutive, so that after an epoch
any two rows of a pool were drawn equally often, give or take one.

To know the number of such a draw without replaying the epoch, those of all steps are laid out once,
at set-up: one integer for each cross-group row. An epoch changes the order of the steps and the
permutation of the rows inside each pool, not this layout.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dynaclr.sampling.columns import stable_order
from dynaclr.sampling.pools import Pools
from dynaclr.sampling.randomness import hash64

# Rows laid out at a time: keeps the temporary arrays of set-up small.
_BLOCK = 1 << 16


def lay_out_cross_group_rows(
    pools: Pools, steps_of_group: NDArray[np.int64], n_cross_group: int, key: int
) -> NDArray[np.int64]:
    """Return, for each step and cross-group row, where the draw lies before rows are permuted.

    In each step the cross-group rows are dealt to the strata in turn, going on where the group's
    previous step stopped. Inside a stratum they are spread over the rows of all other groups by
    systematic sampling (Madow and Madow 1944): every pool gets its proportional number of draws,
    rounded up or down, and none more than its rows as long as the stratum has enough.

    Parameters
    ----------
    pools : Pools
        The rows by group and stratum; at least two groups.
    steps_of_group : ndarray of int64, shape (n_groups,)
        Steps of an epoch that each group leads. Steps are numbered by group.
    n_cross_group : int
        Cross-group rows in a step.
    key : int
        For the random starts of the systematic samples.

    Returns
    -------
    ndarray of int, shape (n_steps * n_cross_group,)
        Locations in ``pools.order``; int32 where the table is small enough.
    """
    group = np.repeat(np.arange(pools.n_groups), steps_of_group)
    first_step = np.cumsum(steps_of_group) - steps_of_group
    locations = np.empty(group.size * n_cross_group, dtype=pools.order.dtype)
    drawn = np.zeros(pools.n_pools, dtype=np.int64)
    steps_at_once = max(1, _BLOCK // n_cross_group)
    for begin in range(0, group.size, steps_at_once):
        step = np.arange(begin, min(begin + steps_at_once, group.size))
        turn = step - first_step[group[step]]
        pool = _pools_of_rows(pools, group[step], turn, n_cross_group, hash64(key, step))
        number = -1 - drawn[pool] - _running_count(pool, pools.n_pools)
        offset = begin * n_cross_group
        locations[offset : offset + pool.size] = pools.start[pool] + number % pools.sizes[pool]
        drawn += np.bincount(pool, minlength=pools.n_pools)
    return locations


def _pools_of_rows(
    pools: Pools,
    group: NDArray[np.int64],
    turn: NDArray[np.int64],
    n_cross_group: int,
    key: NDArray[np.uint64],
) -> NDArray[np.int64]:
    """Return the pools of the cross-group rows of steps, each the `turn`-th of its group."""
    n_strata = np.repeat(pools.n_foreign_strata[group], n_cross_group)
    draw = np.tile(np.arange(n_cross_group), group.size)
    number = (np.repeat(turn, n_cross_group) * n_cross_group + draw) % n_strata
    group = np.repeat(group, n_cross_group)
    stratum = pools.foreign_stratum(group, number)
    quota = (n_cross_group - draw % n_strata + n_strata - 1) // n_strata
    rows = pools.outside_group(group, stratum)
    start = hash64(np.repeat(key, n_cross_group), stratum) % rows.size.astype(np.uint64)
    position = (draw // n_strata * rows.size + start.astype(np.int64)) // quota
    return pools.at(rows.locate(np.arange(position.size), position))


def _running_count(values: NDArray[np.int64], n_values: int) -> NDArray[np.int64]:
    """Return, for each element, how many equal elements come before it."""
    order = stable_order(values, n_values)
    sizes = np.bincount(values, minlength=n_values)
    count = np.empty(values.size, dtype=np.int64)
    count[order] = np.arange(values.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return count
