"""Interface of batch composers: what they take and return."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from dynaclr.sampling.pools import Pools
from dynaclr.sampling.steps import Step

# All rows of a batch.
ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Composition:
    """The rows of a batch, or of one replica's share of it.

    Attributes
    ----------
    location : ndarray of int64, shape (n,)
        Where each row stands in ``Pools.order``.
    part : ndarray of int64, shape (n,)
        Index into ``Composer.parts``.
    focal_hour, widened, outside_window
        See `dynaclr.sampling.BatchDescription`.
    """

    location: NDArray[np.int64]
    part: NDArray[np.int64]
    focal_hour: float | None = None
    widened: int = 0
    outside_window: int = 0


class Composer(ABC):
    """A way to fill the batches of a group.

    Parameters
    ----------
    pools : Pools
        The rows by group and stratum.
    n_rows : int
        Rows of a batch over all replicas.
    n_cross_group : int
        How many of them come from other groups.
    seed : int

    Attributes
    ----------
    parts : tuple of str
        Names of the parts of a batch.
    """

    parts: ClassVar[tuple[str, ...]]

    def __init__(self, pools: Pools, n_rows: int, n_cross_group: int, seed: int) -> None:
        self.pools = pools
        self.n_rows = n_rows
        self.n_cross_group = n_cross_group
        self.n_own = n_rows - n_cross_group
        self.seed = seed

    @abstractmethod
    def compose(self, step: Step, share: NDArray[np.bool_] | slice = ALL) -> Composition:
        """Compose a batch.

        Parameters
        ----------
        step : Step
        share : ndarray of bool, shape (n_rows,), or slice
            Which rows of the batch, listed part by part and stratum by stratum, are wanted.
        """

    @property
    def settings(self) -> tuple[float, ...] | None:
        """Options beyond the common ones that batches depend on; None if there are none."""
        return None
