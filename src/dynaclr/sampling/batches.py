"""Batches that are pure in group, balanced in strata, enriched in time and fair to every row.

How a batch is composed
-----------------------
Every step of an epoch belongs to one group, and a group leads as many steps as its rows fill (or
as its weight asks for); `dynaclr.sampling.steps` shuffles them. Which rows fill a step is decided
in one of two ways: `dynaclr.sampling.coverage` goes through all rows of a group and stratum in
turn, `dynaclr.sampling.enrichment` draws most rows around a focal hour.

The rows of a batch are listed part by part and stratum by stratum and dealt to the replicas in
turn, so that each replica holds its proportion of every stratum of every part, give or take one.
A replica lists the strata of each global batch, which is a fraction of a millisecond of arithmetic
for a few hundred rows, and needs nothing from the others. Which rows of the strata they are it
finds for its own share alone; with temporal enrichment for all, since no row is drawn twice.
"""

from __future__ import annotations

import math
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from dynaclr.sampling.checks import as_fraction, as_group_weights, as_integer, as_number, as_size
from dynaclr.sampling.columns import (
    as_names,
    check_length,
    check_table,
    encode_numbers,
    encode_together,
    take_column,
)
from dynaclr.sampling.composer import Composer
from dynaclr.sampling.coverage import CoverageComposer
from dynaclr.sampling.description import BatchDescription, labels_of
from dynaclr.sampling.enrichment import EnrichedComposer
from dynaclr.sampling.pools import Pools
from dynaclr.sampling.randomness import Stream, derive_key
from dynaclr.sampling.steps import StepOrder, count_steps
from dynaclr.sampling.windows import HourTable


class FlexibleBatchSampler(Sampler[list[int]]):
    """Compose batches by group, stratum and hour, the same for any number of replicas.

    Batch ``i`` of epoch ``e`` is a function of the table, the options, the seed, ``e`` and ``i``.
    It is composed as one global batch of ``num_replicas * batch_size`` rows, of which each replica
    takes its share; all replicas yield the same number of batches. See the module's docstring
    for how rows are chosen and what is guaranteed.

    Parameters
    ----------
    anchors : pandas.DataFrame or mapping of str to array_like
        Columns by name, each 1-D with N rows. Batches are lists of positions ``0 ... N - 1`` in it.
    batch_size : int
        Rows for each replica and step.
    batch_group_by : str, sequence of str or None
        Column or columns whose values make a group; one group leads each batch. None puts all rows
        into one group.
    stratify_by : str, sequence of str or None
        Column or columns whose values are the strata; every part of a batch holds each stratum
        equally often, give or take one. None does not stratify.
    leaky : float
        Fraction of the global batch, rounded to rows, that comes from other groups, in proportion
        to their rows of each stratum.
    group_weights : mapping, optional
        Positive weight of each group, by its value (a tuple of values for several columns): its
        share of the steps. By default a group leads steps in proportion to its rows. Either way it
        leads a whole number of steps, rounded up.
    temporal_enrichment : bool
        Whether to draw most rows around a focal hour, one of the leading group's own hours.
    temporal_window_hours : float
        Half-width of the window around the focal hour, in the unit of `time_column`. Where it
        holds too few rows of a stratum, the smallest half-width that holds enough is taken.
    temporal_global_fraction : float
        Fraction of the leading group's rows, and of the cross-group rows, drawn from all hours
        instead.
    time_column : str
        Column of hours; used with `temporal_enrichment` only.
    num_replicas : int
        Processes that train together.
    rank : int
        Which of them this is.
    seed : int
        Any integer.

    Raises
    ------
    ValueError
        For an unknown column, an empty table, a missing value in a column used, weights that are
        unknown, missing or not positive, and options out of range. The message names the column,
        group or option.
    TypeError
        For a size, rank or seed that is no integer, a fraction, window or weight that is no number,
        and a table, columns or weights of another type. The message names the option.

    Warns
    -----
    UserWarning
        If `leaky` is given but there is only one group, so that there are no cross-group rows.

    Notes
    -----
    An epoch has ``sum(ceil(n_g / global_batch_size))`` steps over the groups' row counts ``n_g``:
    without strata, cross-group rows and enrichment every row is seen at least once. A stratum of a
    group with fewer rows than its quota is cycled through.

    Set-up sorts the rows once; what is kept is one integer for each row, one for each cross-group
    row of an epoch, and a few for each hour of each stratum and group. Composing a batch takes time
    and memory in proportion to the global batch, whatever N is (with cross-group rows and
    enrichment, also to the number of groups times the strata drawn from).
    """

    def __init__(
        self,
        anchors: Mapping[str, Any],
        batch_size: int,
        *,
        batch_group_by: str | Sequence[str] | None = "experiment",
        stratify_by: str | Sequence[str] | None = "condition",
        leaky: float = 0.0,
        group_weights: Mapping[Any, float] | None = None,
        temporal_enrichment: bool = False,
        temporal_window_hours: float = 2.0,
        temporal_global_fraction: float = 0.3,
        time_column: str = "hours",
        num_replicas: int = 1,
        rank: int = 0,
        seed: int = 0,
    ) -> None:
        self.batch_size = as_size(batch_size, "batch_size")
        self.num_replicas = as_size(num_replicas, "num_replicas")
        self.rank = as_integer(rank, "rank")
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f"rank={rank} is outside 0 to {num_replicas - 1} (num_replicas - 1).")
        self.seed = as_integer(seed, "seed")
        n_cross_group = round(as_fraction(leaky, "leaky") * self.global_batch_size)
        global_fraction = as_fraction(temporal_global_fraction, "temporal_global_fraction")
        half_width = as_number(temporal_window_hours, "temporal_window_hours")
        if not (math.isfinite(half_width) and half_width >= 0):
            raise ValueError(f"temporal_window_hours={temporal_window_hours} must be 0 or more.")
        self._sort_rows(
            anchors,
            as_names(batch_group_by, "batch_group_by"),
            as_names(stratify_by, "stratify_by"),
            time_column if temporal_enrichment else None,
        )
        if n_cross_group and len(self._groups) == 1:
            warnings.warn(
                f"leaky={leaky} has no effect: batch_group_by={batch_group_by!r} gives a single "
                "group, so there are no rows of other groups.",
                stacklevel=2,
            )
            n_cross_group = 0
        weights = None if group_weights is None else as_group_weights(group_weights, self._groups)
        steps = count_steps(self._pools.group_sizes, weights, self.global_batch_size)
        self._steps = StepOrder(steps, self.seed)
        self._composer = self._choose_composer(n_cross_group, half_width, global_fraction)
        self._epoch = 0
        self._next_step = 0
        self._resume_step = 0

    def _sort_rows(
        self,
        anchors: Mapping[str, Any],
        group_by: tuple[str, ...],
        stratify_by: tuple[str, ...],
        time_column: str | None,
    ) -> None:
        check_table(anchors, "anchors")
        for name in group_by:
            take_column(anchors, name, "batch_group_by")
        for name in stratify_by:
            take_column(anchors, name, "stratify_by")
        self._n_rows = len(take_column(anchors, next(iter(anchors.keys())), "anchors"))
        if self._n_rows == 0:
            raise ValueError("anchors is empty: there is no row to make a batch of.")
        group, self._groups = encode_together(anchors, group_by, self._n_rows, "batch_group_by")
        stratum, self._strata = encode_together(anchors, stratify_by, self._n_rows, "stratify_by")
        counts = len(self._groups), len(self._strata)
        self._hours: HourTable | None = None
        if time_column is None:
            self._pools = Pools(group, stratum, *counts)
            return
        column = take_column(anchors, time_column, "time_column")
        check_length(column, time_column, self._n_rows)
        hour, hours = encode_numbers(column, time_column)
        self._pools = Pools(group, stratum, *counts, hour, hours.size)
        self._hours = HourTable(self._pools, hour, hours)

    def _choose_composer(
        self, n_cross_group: int, half_width: float, global_fraction: float
    ) -> Composer:
        common = self._pools, self.global_batch_size, n_cross_group, self.seed
        if self._hours is None:
            return CoverageComposer(*common, self._steps.steps_of_group)
        return EnrichedComposer(*common, self._hours, half_width, global_fraction)

    @property
    def global_batch_size(self) -> int:
        """Rows in a step over all replicas."""
        return self.num_replicas * self.batch_size

    @property
    def groups(self) -> tuple[Any, ...]:
        """The groups' values, sorted."""
        return tuple(self._groups)

    @property
    def strata(self) -> tuple[Any, ...]:
        """The strata's values, sorted."""
        return tuple(self._strata)

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration goes through."""
        return self._epoch

    @property
    def resume_step(self) -> int:
        """The step at which the next iteration starts: 0, unless a state was just restored."""
        return self._resume_step

    @property
    def sampler(self) -> FlexibleBatchSampler:
        """The object itself: Lightning looks for `set_epoch` on a batch sampler's `sampler`."""
        return self

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[list[int]]:
        epoch, first_step = self._epoch, self._resume_step
        self._resume_step = 0
        for step in range(first_step, len(self)):
            self._next_step = step + 1
            yield self.replica_batch(epoch, step).tolist()
        # The epoch is over: a state saved from here on starts the next iteration at its beginning.
        self._next_step = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration goes through.

        A position restored by :meth:`load_state_dict` is kept if it is of the same epoch.
        """
        epoch = as_integer(epoch, "epoch")
        if epoch < 0:
            raise ValueError(f"epoch={epoch} is negative.")
        if epoch != self._epoch:
            self._next_step = self._resume_step = 0
        self._epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """Return the position in the epoch, and what it is only valid for.

        The position counts the batches handed out. A loader that prefetches is ahead of the
        training loop; torchdata's StatefulDataLoader saves the position that belongs to the batch
        it last gave out.
        """
        return {"epoch": self._epoch, "step": self._next_step, **self._fingerprint()}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue at a position saved by :meth:`state_dict`.

        Raises
        ------
        ValueError
            If the state was saved with another seed, table, global batch size or other options, or
            its step lies outside the epoch. The number of replicas may change as long as the
            global batch size does not.
        """
        expected = self._fingerprint()
        different = [name for name in expected if state.get(name) != expected[name]]
        if different:
            changes = ", ".join(
                f"{name} {state.get(name)} (now {expected[name]})" for name in different
            )
            raise ValueError(f"The sampler's state was saved under other conditions: {changes}.")
        epoch, step = (as_integer(state.get(name), name) for name in ("epoch", "step"))
        if epoch < 0 or not 0 <= step <= len(self):
            raise ValueError(
                f"The sampler's state is of epoch {epoch}, step {step}; an epoch has {len(self)} "
                "steps."
            )
        self._epoch = epoch
        self._next_step = self._resume_step = step

    def _fingerprint(self) -> dict[str, int]:
        """Return what batches depend on; of the table, the rows of each pool and their order."""
        composer, steps = self._composer, self._steps.steps_of_group.tolist()
        options = repr((composer.n_cross_group, composer.settings, steps))
        return {
            "seed": self.seed,
            "rows": self._n_rows,
            "global_batch_size": self.global_batch_size,
            "composition": zlib.crc32(options.encode(), self._table_digest),
        }

    @cached_property
    def _table_digest(self) -> int:
        # Once, as a state may be asked for after every batch, and this goes through all rows.
        hours = b"" if self._hours is None else self._hours.hours.tobytes()
        start = zlib.crc32(self._pools.start.data)
        return zlib.crc32(self._pools.order.data, zlib.crc32(hours, start))

    def global_batch(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Return the rows of one step over all replicas, at the cost of composing one batch.

        Parameters
        ----------
        epoch, step : int

        Returns
        -------
        ndarray of int64, shape (num_replicas * batch_size,)
            Row numbers, part by part and stratum by stratum.

        Raises
        ------
        IndexError
            If the epoch has no such step.
        """
        return self._rows(self._composer.compose(self._steps.step(epoch, step)).location)

    def replica_batch(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Return this replica's rows of one step, shape (batch_size,); see `global_batch`."""
        share = self._replicas(epoch, step) == self.rank
        return self._rows(self._composer.compose(self._steps.step(epoch, step), share).location)

    def describe(self, epoch: int, step: int) -> BatchDescription:
        """Return the rows of one step over all replicas with what each of them is there for."""
        at = self._steps.step(epoch, step)
        batch = self._composer.compose(at)
        pool = self._pools.at(batch.location)
        return BatchDescription(
            epoch=epoch,
            step=step,
            group=self._groups[at.group],
            focal_hour=batch.focal_hour,
            rows=self._rows(batch.location),
            part=np.array(self._composer.parts)[batch.part],
            group_of_row=labels_of(self._groups, self._pools.group[pool]),
            stratum_of_row=labels_of(self._strata, self._pools.stratum[pool]),
            replica=self._replicas(epoch, step),
            widened=batch.widened,
            outside_window=batch.outside_window,
        )

    def _rows(self, location: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._pools.order[location].astype(np.int64)

    def _replicas(self, epoch: int, step: int) -> NDArray[np.int64]:
        """Return the replica of each row; which replica is dealt the first row changes by step."""
        first = derive_key(self.seed, Stream.REPLICA, epoch, step) % self.num_replicas
        return (np.arange(self.global_batch_size) + first) % self.num_replicas


class FixedEpochBatchSampler(FlexibleBatchSampler):
    """A :class:`FlexibleBatchSampler` whose batches are the same in every epoch, for validation.

    Lightning sets the epoch of every sampler, in validation too; this one stays at epoch 0.
    """

    def set_epoch(self, epoch: int) -> None:
        """Stay at epoch 0."""
