"""Schedule of an epoch: the group of each step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dynaclr.sampling.randomness import Stream, derive_key, permute


@dataclass(frozen=True)
class Step:
    """One step of an epoch.

    Attributes
    ----------
    epoch, number : int
        Which step it is.
    slot : int
        Its number when the steps of an epoch are listed group by group.
    group : int
        The group that leads it.
    turn : int
        How many steps of the group come before it in that list.
    """

    epoch: int
    number: int
    slot: int
    group: int
    turn: int


class StepOrder:
    """The steps of an epoch, listed group by group and shuffled anew in each epoch.

    Parameters
    ----------
    steps_of_group : ndarray of int64, shape (n_groups,)
        Steps that each group leads in an epoch.
    seed : int
    """

    def __init__(self, steps_of_group: NDArray[np.int64], seed: int) -> None:
        self.steps_of_group = steps_of_group
        self._seed = seed
        self._first_slot = np.cumsum(steps_of_group) - steps_of_group
        self._size = int(steps_of_group.sum())

    def __len__(self) -> int:
        return self._size

    def step(self, epoch: int, number: int) -> Step:
        """Return a step at the cost of one permuted number.

        Raises
        ------
        IndexError
            If the epoch has no such step.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"step={number} is outside the epoch, which has {len(self)} steps.")
        key = derive_key(self._seed, Stream.STEP_ORDER, epoch)
        slot = int(permute(np.array([number]), len(self), key)[0])
        group = int(np.searchsorted(self._first_slot, slot, side="right")) - 1
        return Step(epoch, number, slot, group, slot - int(self._first_slot[group]))


def count_steps(
    rows_of_group: NDArray[np.int64], weights: NDArray[np.float64] | None, n_rows: int
) -> NDArray[np.int64]:
    """Return how many steps each group leads in an epoch, at least one.

    Parameters
    ----------
    rows_of_group : ndarray of int64, shape (n_groups,)
    weights : ndarray of float64, shape (n_groups,), optional
        Each group's share of the steps; by default its rows.
    n_rows : int
        Rows of a step over all replicas.
    """
    if weights is None:
        return -(-rows_of_group // n_rows)
    # Numbers near the largest that there are would sum to infinity.
    weights = weights / weights.max()
    share = weights / weights.sum() * (rows_of_group.sum() / n_rows)
    # A share that is whole but for rounding is not to be rounded up.
    steps: NDArray[np.int64] = np.maximum(np.ceil(share * (1 - 1e-12)), 1).astype(np.int64)
    return steps
