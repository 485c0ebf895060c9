"""Which rows of other groups leak into each step of an epoch.

Leaked rows share the coverage of their pool with the rows that the pool's own group draws: a pool
is one long cyclic sequence of draws, the own group's steps take numbers 0, 1, 2, ... of it and the
leaks take -1, -2, ..., each number once. Taken together they are consecutive, so that after an
epoch any two rows of a pool were drawn equally often, give or take one.

To know the number of a leak without replaying the epoch, the leaks of all steps are laid out once,
at set-up: one integer for each leaked row. An epoch changes the order of the steps and the
permutation of the rows inside each pool, not this layout.
"""

import numpy as np

from dynaclr.sampling.columns import stable_order
from dynaclr.sampling.pools import Pools
from dynaclr.sampling.randomness import hash64

# Leaked rows laid out at a time: keeps the temporary arrays of set-up small.
_BLOCK = 1 << 16


def lay_out_leaks(pools: Pools, steps_of_group: np.ndarray, n_leaked: int, key: int) -> np.ndarray:
    """Return, for each step and leaked row, where the draw lies before rows are permuted.

    In each step the leaked rows are dealt to the strata in turn, going on where the group's
    previous step stopped. Inside a stratum they are spread over the rows of all other groups by
    systematic sampling (Madow and Madow 1944): every pool gets its proportional number of draws,
    rounded up or down, and none more than its rows as long as the stratum has enough.

    Parameters
    ----------
    pools
        The rows by group and stratum; at least two groups.
    steps_of_group
        ``(n_groups,)`` steps of an epoch that each group leads. Steps are numbered by group.
    n_leaked
        Leaked rows in a step.
    key
        For the random starts of the systematic samples.

    Returns
    -------
    np.ndarray
        ``(n_steps * n_leaked,)`` places in ``pools.order``.
    """
    group = np.repeat(np.arange(pools.n_groups), steps_of_group)
    first_step = np.cumsum(steps_of_group) - steps_of_group
    places = np.empty(group.size * n_leaked, dtype=pools.order.dtype)
    drawn = np.zeros(pools.n_pools, dtype=np.int64)
    steps_at_once = max(1, _BLOCK // n_leaked)
    for begin in range(0, group.size, steps_at_once):
        step = np.arange(begin, min(begin + steps_at_once, group.size))
        turn = step - first_step[group[step]]
        pool = _leaked_pools(pools, group[step], turn, n_leaked, hash64(key, step))
        number = -1 - drawn[pool] - _running_count(pool, pools.n_pools)
        offset = begin * n_leaked
        places[offset : offset + pool.size] = pools.start[pool] + number % pools.sizes[pool]
        drawn += np.bincount(pool, minlength=pools.n_pools)
    return places


def _leaked_pools(
    pools: Pools, group: np.ndarray, turn: np.ndarray, n_leaked: int, key: np.ndarray
) -> np.ndarray:
    """Return the pools of the leaked rows of several steps, each the `turn`-th of its group."""
    n_strata = np.repeat(pools.n_foreign_strata[group], n_leaked)
    draw = np.tile(np.arange(n_leaked), group.size)
    rank = (np.repeat(turn, n_leaked) * n_leaked + draw) % n_strata
    group = np.repeat(group, n_leaked)
    stratum = pools.foreign_stratum(group, rank)
    quota = (n_leaked - draw % n_strata + n_strata - 1) // n_strata
    rows = pools.outside_group(group, stratum)
    start = hash64(np.repeat(key, n_leaked), stratum) % rows.size.astype(np.uint64)
    position = (draw // n_strata * rows.size + start.astype(np.int64)) // quota
    return pools.at(rows.place(np.arange(position.size), position))


def _running_count(values: np.ndarray, n_values: int) -> np.ndarray:
    """Return, for each element, how many equal elements come before it."""
    order = stable_order(values, n_values)
    sizes = np.bincount(values, minlength=n_values)
    count = np.empty(values.size, dtype=np.int64)
    count[order] = np.arange(values.size) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return count
