"""Batches that are pure in group, balanced in strata, enriched in time and fair to every row.

How a batch is composed
-----------------------
Every step of an epoch belongs to one group, and a group leads as many steps as its rows fill (or
as its weight asks for). The steps, numbered group by group, are shuffled by a pseudo-random
permutation that gives any of its elements alone; the step's turn within its group follows.

The rows that a group draws for itself are dealt to its strata in turn, like cards: draw ``x`` of
the epoch goes to stratum ``x mod m`` and is that stratum's draw number ``x // m``. Every batch
therefore holds each stratum ``q // m`` or ``q // m + 1`` times, the remainders move on from batch
to batch, and over an epoch no two strata differ by more than one row. Draw number ``c`` of a
stratum is row ``c mod n`` of a fresh permutation of its ``n`` rows in this group. Rows that leak
into other groups' steps continue the same sequence from its other end (see
:mod:`dynaclr.sampling.leaks`), so that the draws of any two rows of a group and stratum differ by
at most one in an epoch, leaked or not.

With temporal enrichment the group's hours take turns, in shuffled order, as focal hour. Rows
around it, and rows of all hours, are dealt to the strata as above, each with a turn of its own;
which rows of a stratum they are is drawn anew in each batch, without repetition. Leaked rows
follow the same hour and the same split.

The rows of a batch are listed part by part and stratum by stratum and dealt to the replicas in
turn, so that each replica holds its proportion of every stratum of every part, give or take one.
A replica lists the strata of each global batch, which is a fraction of a millisecond of arithmetic
for a few hundred rows, and needs to hear nothing from the others. Which rows of the strata they
are it finds for its own share alone; with temporal enrichment for all, since no row is drawn twice.
"""

import math
import operator
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from dynaclr.sampling.columns import (
    as_names,
    check_length,
    check_table,
    encode_numbers,
    encode_together,
    take_column,
)
from dynaclr.sampling.leaks import lay_out_leaks
from dynaclr.sampling.pools import Pools, RowSets
from dynaclr.sampling.randomness import derive_key, hash64, permute
from dynaclr.sampling.windows import (
    Draws,
    HourTable,
    Segments,
    draw_focal_and_global,
    find_windows,
)

# What a stream of random numbers is for; no two purposes share a stream.
_STEP_ORDER, _STRATUM_TURN, _ROW_ORDER, _LEAKS, _FOCAL_HOUR, _BATCH, _REPLICA = range(7)

# All places of a batch.
_ALL = slice(None)

_PLAIN_PARTS = ("primary", "leaked")
_ENRICHED_PARTS = ("focal", "leaked_focal", "global", "leaked_global")


@dataclass(frozen=True, eq=False)
class BatchDescription:
    """One composed batch, row by row, for figures and audits.

    Attributes
    ----------
    epoch, step
        Which batch it is.
    group
        The group that leads it, as in the table (a tuple if several columns make a group).
    focal_hour
        The focal hour, or None without temporal enrichment.
    rows
        ``(num_replicas * batch_size,)`` int64 row numbers.
    part
        For each row: "primary" or "leaked"; with temporal enrichment "focal", "global",
        "leaked_focal" or "leaked_global".
    group_of_row, stratum_of_row
        For each row: its group and stratum, as in the table (object arrays).
    replica
        For each row: the replica that trains on it.
    widened
        Number of sets of rows (a stratum of the group, or a stratum of the other groups) whose
        window held fewer rows than were to be drawn and was widened.
    outside_window
        Number of focal rows, leaked ones included, that lie outside the window asked for.
    """

    epoch: int
    step: int
    group: Any
    focal_hour: float | None
    rows: np.ndarray
    part: np.ndarray
    group_of_row: np.ndarray
    stratum_of_row: np.ndarray
    replica: np.ndarray
    widened: int
    outside_window: int


@dataclass(frozen=True, eq=False)
class _Batch:
    """A composed batch in codes; `place` is where each row stands in ``Pools.order``."""

    group: int
    place: np.ndarray
    part: np.ndarray
    focal_hour: float | None = None
    widened: int = 0
    outside_window: int = 0


class FlexibleBatchSampler(Sampler[list[int]]):
    """Compose batches by group, stratum and hour, the same for any number of replicas.

    Batch ``i`` of epoch ``e`` is a function of the table, the options, the seed, ``e`` and ``i``.
    It is composed as one global batch of ``num_replicas * batch_size`` rows, of which each replica
    takes its share; all replicas yield the same number of batches. See the module's description
    for how rows are chosen and what is guaranteed.

    Parameters
    ----------
    anchors
        A pandas.DataFrame, or a mapping of column name to 1-D array, with N rows. Batches are
        lists of positions ``0 ... N - 1`` in it.
    batch_size
        Rows for each replica and step.
    batch_group_by
        Column or columns whose values make a group; one group leads each batch. None puts all rows
        into one group.
    stratify_by
        Column or columns whose values are the strata; every part of a batch holds each stratum
        equally often, give or take one. None does not stratify.
    leaky
        Fraction of the global batch, rounded to rows, that comes from other groups, in proportion
        to their rows of each stratum.
    group_weights
        Positive weight of each group, by its value (a tuple of values for several columns): its
        share of the steps. By default a group leads steps in proportion to its rows. Either way it
        leads a whole number of steps, rounded up.
    temporal_enrichment
        Whether to draw most rows around a focal hour, one of the leading group's own hours.
    temporal_window_hours
        Half-width of the window around the focal hour, in the unit of `time_column`. Where it
        holds too few rows of a stratum, the smallest half-width that holds enough is taken.
    temporal_global_fraction
        Fraction of the leading group's rows, and of the leaked ones, drawn from all hours instead.
    time_column
        Column of hours; used with `temporal_enrichment` only.
    num_replicas
        Processes that train together.
    rank
        Which of them this is.
    seed
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
        If `leaky` is given but there is only one group, so that nothing can leak.

    Notes
    -----
    An epoch has ``sum(ceil(n_g / global_batch_size))`` steps over the groups' row counts ``n_g``:
    without strata, leaks and enrichment every row is seen at least once. A stratum of a group with
    fewer rows than its quota is cycled through.

    Set-up sorts the rows once; what is kept is one integer for each row, one for each leaked row of
    an epoch, and a few for each hour of each stratum and group. Composing a batch takes time and
    memory in proportion to the global batch, whatever N is (with leaks and enrichment together,
    also to the number of groups times the strata drawn from).
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
        self.batch_size = _size(batch_size, "batch_size")
        self.num_replicas = _size(num_replicas, "num_replicas")
        self.rank = _integer(rank, "rank")
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f"rank={rank} is outside 0 to {num_replicas - 1} (num_replicas - 1).")
        self.seed = _integer(seed, "seed")
        self._n_leaked = round(_fraction(leaky, "leaky") * self.global_batch_size)
        self._global_fraction = _fraction(temporal_global_fraction, "temporal_global_fraction")
        self._half_width = _number(temporal_window_hours, "temporal_window_hours")
        if not (math.isfinite(self._half_width) and self._half_width >= 0):
            raise ValueError(f"temporal_window_hours={temporal_window_hours} must be 0 or more.")

        check_table(anchors, "anchors")
        self._sort_rows(
            anchors,
            as_names(batch_group_by, "batch_group_by"),
            as_names(stratify_by, "stratify_by"),
            time_column if temporal_enrichment else None,
        )
        if self._n_leaked and len(self._groups) == 1:
            warnings.warn(
                f"leaky={leaky} has no effect: batch_group_by={batch_group_by!r} gives a single "
                "group, so there are no rows to leak from others.",
                stacklevel=2,
            )
            self._n_leaked = 0
        self._count_steps(group_weights)
        if self._n_leaked and not temporal_enrichment:
            key = derive_key(self.seed, _LEAKS)
            self._leaks = lay_out_leaks(self._pools, self._steps_of_group, self._n_leaked, key)
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
        for name in group_by:
            take_column(anchors, name, "batch_group_by")
        for name in stratify_by:
            take_column(anchors, name, "stratify_by")
        self._n_rows = _count_rows(anchors)
        group, self._groups = encode_together(anchors, group_by, self._n_rows, "batch_group_by")
        stratum, self._strata = encode_together(anchors, stratify_by, self._n_rows, "stratify_by")
        if time_column is None:
            self._pools = Pools(group, stratum, len(self._groups), len(self._strata))
            self._hours = None
            return
        column = take_column(anchors, time_column, "time_column")
        check_length(column, time_column, self._n_rows)
        hour, hours = encode_numbers(column, time_column)
        self._pools = Pools(group, stratum, len(self._groups), len(self._strata), hour, hours.size)
        self._hours = HourTable(self._pools, hour, hours)

    def _count_steps(self, group_weights: Mapping[Any, float] | None) -> None:
        rows = self._pools.group_sizes
        if group_weights is None:
            steps = -(-rows // self.global_batch_size)
        else:
            weights = _check_weights(group_weights, self._groups)
            # Numbers near the largest that there are would sum to infinity.
            weights = weights / weights.max()
            share = weights / weights.sum() * (rows.sum() / self.global_batch_size)
            # A share that is whole but for rounding is not to be rounded up.
            steps = np.maximum(np.ceil(share * (1 - 1e-12)), 1).astype(np.int64)
        self._steps_of_group = steps
        self._first_step = np.cumsum(steps) - steps
        self._n_steps = int(steps.sum())

    @property
    def global_batch_size(self) -> int:
        """Rows in a step over all replicas."""
        return self.num_replicas * self.batch_size

    @property
    def groups(self) -> tuple:
        """The groups' values, sorted."""
        return tuple(self._groups)

    @property
    def strata(self) -> tuple:
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
    def sampler(self) -> "FlexibleBatchSampler":
        """The object itself: Lightning looks for `set_epoch` on a batch sampler's `sampler`."""
        return self

    def __len__(self) -> int:
        return self._n_steps

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
        epoch = _integer(epoch, "epoch")
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
            its place lies outside the epoch. The number of replicas may change as long as the
            global batch size does not.
        """
        expected = self._fingerprint()
        different = [name for name in expected if state.get(name) != expected[name]]
        if different:
            told = ", ".join(
                f"{name} {state.get(name)} (now {expected[name]})" for name in different
            )
            raise ValueError(f"The sampler's state was saved under other conditions: {told}.")
        epoch, step = (_integer(state.get(name), name) for name in ("epoch", "step"))
        if epoch < 0 or not 0 <= step <= len(self):
            raise ValueError(
                f"The sampler's state is of epoch {epoch}, step {step}; an epoch has {len(self)} "
                "steps."
            )
        self._epoch = epoch
        self._next_step = self._resume_step = step

    def _fingerprint(self) -> dict[str, int]:
        """Return what batches depend on; of the table, the rows of each pool and their order."""
        enriched = self._hours and (self._global_fraction, self._half_width)
        options = repr((self._n_leaked, enriched, self._steps_of_group.tolist()))
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
        return zlib.crc32(self._pools.order, zlib.crc32(hours, zlib.crc32(self._pools.start)))

    def global_batch(self, epoch: int, step: int) -> np.ndarray:
        """Return the rows of one step over all replicas, at the cost of composing one batch.

        Returns
        -------
        np.ndarray
            ``(num_replicas * batch_size,)`` int64 row numbers, part by part and stratum by stratum.
        """
        return self._rows(self._compose(epoch, step))

    def replica_batch(self, epoch: int, step: int) -> np.ndarray:
        """Return this replica's rows of one step: ``(batch_size,)`` int64."""
        return self._rows(self._compose(epoch, step, self._replicas(epoch, step) == self.rank))

    def describe(self, epoch: int, step: int) -> BatchDescription:
        """Return the rows of one step over all replicas with what each of them is there for."""
        batch = self._compose(epoch, step)
        pool = self._pools.at(batch.place)
        parts = np.array(_PLAIN_PARTS if self._hours is None else _ENRICHED_PARTS)
        return BatchDescription(
            epoch=epoch,
            step=step,
            group=self._groups[batch.group],
            focal_hour=batch.focal_hour,
            rows=self._rows(batch),
            part=parts[batch.part],
            group_of_row=_label(self._groups, self._pools.group[pool]),
            stratum_of_row=_label(self._strata, self._pools.stratum[pool]),
            replica=self._replicas(epoch, step),
            widened=batch.widened,
            outside_window=batch.outside_window,
        )

    def _rows(self, batch: _Batch) -> np.ndarray:
        return self._pools.order[batch.place].astype(np.int64)

    def _replicas(self, epoch: int, step: int) -> np.ndarray:
        """Return the replica of each row; which replica is dealt the first row changes by step."""
        first = derive_key(self.seed, _REPLICA, epoch, step) % self.num_replicas
        return (np.arange(self.global_batch_size) + first) % self.num_replicas

    def _compose(self, epoch: int, step: int, share: np.ndarray | slice = _ALL) -> _Batch:
        """Compose a batch, or a share of the places in its list."""
        if not 0 <= step < len(self):
            raise IndexError(f"step={step} is outside the epoch, which has {len(self)} steps.")
        shuffled = permute(np.array([step]), len(self), derive_key(self.seed, _STEP_ORDER, epoch))
        slot = int(shuffled[0])
        group = int(np.searchsorted(self._first_step, slot, side="right")) - 1
        turn = slot - int(self._first_step[group])
        if self._hours is None:
            return self._compose_plain(epoch, slot, group, turn, share)
        return self._compose_enriched(epoch, step, group, turn, share)

    def _compose_plain(
        self, epoch: int, slot: int, group: int, turn: int, share: np.ndarray | slice
    ) -> _Batch:
        n_primary = self.global_batch_size - self._n_leaked
        own = self._pools.of_group(group)
        draw = turn * n_primary + np.arange(n_primary)
        first = derive_key(self.seed, _STRATUM_TURN, epoch, group) % own.size
        pool = own[(first + draw) % own.size]
        number = draw // own.size
        position = number % (self._pools.start[pool + 1] - self._pools.start[pool])
        part = np.zeros(self.global_batch_size, dtype=np.int64)
        if self._n_leaked:
            leaked = self._leaks[slot * self._n_leaked : (slot + 1) * self._n_leaked]
            leaked_pool = self._pools.at(leaked)
            position = np.r_[position, leaked - self._pools.start[leaked_pool]]
            pool = np.r_[pool, leaked_pool]
            part[n_primary:] = 1
        listed = np.lexsort((pool, part))[share]
        pool, position = pool[listed], position[listed]
        start = self._pools.start[pool]
        row_order = hash64(derive_key(self.seed, _ROW_ORDER, epoch), pool)
        place = start + permute(position, self._pools.start[pool + 1] - start, row_order)
        return _Batch(group, place, part[listed])

    def _compose_enriched(
        self, epoch: int, step: int, group: int, turn: int, share: np.ndarray | slice
    ) -> _Batch:
        hours = self._hours
        focal_hour = self._focal_hour(epoch, group, turn)
        dealt, rounds, n_focal = self._deal_parts(epoch, group, turn)
        used, which = np.unique(dealt, return_inverse=True)
        sets, segments = self._gather_sets(group, used)
        focal = Draws.of(which[:n_focal], rounds[:n_focal], used.size)
        everywhere = Draws.of(which[n_focal:], rounds[n_focal:], used.size)
        begin, end, widened = find_windows(
            hours, segments, focal_hour, self._half_width, np.minimum(focal.count, sets.size)
        )
        key = derive_key(self.seed, _BATCH, epoch, step)
        focal_places, other_places = draw_focal_and_global(
            hours, segments, sets, (begin, end), focal, everywhere, key
        )
        outside = 0
        if widened.any():
            outside = hours.count_outside(focal_places, focal_hour, self._half_width)
        is_leaked = dealt >= self._pools.of_group(group).size
        part = is_leaked + 2 * (np.arange(dealt.size) >= n_focal)
        listed = np.lexsort((which, part))[share]
        place = np.r_[focal_places, other_places][listed]
        return _Batch(group, place, part[listed], focal_hour, int(widened.sum()), outside)

    def _focal_hour(self, epoch: int, group: int, turn: int) -> float:
        own = self._hours.of_group(group)
        key = derive_key(self.seed, _FOCAL_HOUR, epoch, group)
        return float(own[permute(np.array([turn % own.size]), own.size, key)[0]])

    def _deal_parts(self, epoch: int, group: int, turn: int) -> tuple[np.ndarray, np.ndarray, int]:
        """Deal the rows of an enriched batch to strata.

        Returns
        -------
        dealt : np.ndarray
            For each row, focal ones first, the rank of its stratum among the group's own, or, for
            leaked rows, their number plus the rank among the strata of other groups.
        rounds : np.ndarray
            For each row, how many before it in its part went to the same stratum.
        n_focal : int
            Focal rows, leaked ones included.
        """
        n_own = self._pools.of_group(group).size
        # At least one, so that a single group, which leaks nothing, divides by no zero.
        n_foreign = max(int(self._pools.n_foreign_strata[group]), 1)
        first = derive_key(self.seed, _STRATUM_TURN, epoch, group)
        n_primary = self.global_batch_size - self._n_leaked
        own = self._deal(n_primary, turn, first % n_own, n_own)
        leaked = self._deal(self._n_leaked, turn, first % n_foreign, n_foreign)
        dealt = [own[0], n_own + leaked[0], own[1], n_own + leaked[1]]
        rounds = [
            np.arange(part.size) // n_strata
            for part, n_strata in zip(dealt, [n_own, n_foreign] * 2, strict=True)
        ]
        return np.concatenate(dealt), np.concatenate(rounds), dealt[0].size + dealt[1].size

    def _deal(
        self, n_rows: int, turn: int, first: int, n_strata: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the stratum of each focal row and of each row from all hours.

        The two are dealt in opposite directions from the same start. Each is balanced for itself
        to one row over an epoch, and so is their sum, as together they cover one stretch of turns.
        """
        n_global = round(self._global_fraction * n_rows)
        n_focal = n_rows - n_global
        forwards = first + turn * n_focal + np.arange(n_focal)
        backwards = first - 1 - turn * n_global - np.arange(n_global)
        return forwards % n_strata, backwards % n_strata

    def _gather_sets(self, group: int, dealt: np.ndarray) -> tuple[RowSets, Segments]:
        """Return the sets of rows that strata stand for, numbered as by :meth:`_deal_parts`."""
        own_pools = self._pools.of_group(group)
        is_own = dealt < own_pools.size
        pools = own_pools[dealt[is_own]]
        foreign = self._pools.foreign_stratum(group, dealt[~is_own] - own_pools.size)
        sets = self._pools.as_sets(pools).join(self._pools.outside_group(group, foreign))
        more_pools, which = self._pools.pools_outside_group(group, foreign)
        which = np.r_[np.arange(pools.size), pools.size + which]
        return sets, Segments.of(np.r_[pools, more_pools], which, dealt.size)


class FixedEpochBatchSampler(FlexibleBatchSampler):
    """A :class:`FlexibleBatchSampler` whose batches are the same in every epoch, for validation.

    Lightning tells every sampler the epoch, those of validation too; this one stays at epoch 0.
    """

    def set_epoch(self, epoch: int) -> None:
        """Stay at epoch 0."""


def _count_rows(anchors: Mapping[str, Any]) -> int:
    first = next(iter(anchors.keys()))
    n_rows = len(take_column(anchors, first, "anchors"))
    if n_rows == 0:
        raise ValueError("anchors is empty: there is no row to make a batch of.")
    return n_rows


def _label(labels: list, codes: np.ndarray) -> np.ndarray:
    # Filled one by one, since NumPy would unpack labels that are tuples.
    values = np.empty(len(codes), dtype=object)
    for row, code in enumerate(codes):
        values[row] = labels[code]
    return values


def _check_weights(group_weights: Mapping[Any, float], groups: list) -> np.ndarray:
    # A pandas.Series has the groups in its index.
    if not hasattr(group_weights, "items"):
        raise TypeError(f"group_weights must map groups to weights, unlike {group_weights!r}.")
    weight_of = dict(group_weights.items())
    if len(weight_of) < len(group_weights):
        raise ValueError("group_weights names a group twice.")
    unknown = [group for group in weight_of if group not in set(groups)]
    missing = [group for group in groups if group not in weight_of]
    if unknown or missing:
        told = [f"has no group {group!r}" for group in missing]
        told += [f"names {group!r}, which is not in the table" for group in unknown]
        raise ValueError(f"group_weights {'; '.join(told)}. The groups are: {groups}.")
    weights = [_number(weight_of[group], f"group_weights of {group!r}") for group in groups]
    for group, weight in zip(groups, weights, strict=True):
        if not (math.isfinite(weight) and weight > 0):
            raise ValueError(
                f"group_weights of {group!r} is {weight_of[group]!r}; it must be positive, finite."
            )
    return np.array(weights)


def _integer(value: Any, name: str) -> int:
    try:
        # True is an integer to Python, and never meant as one.
        return operator.index(None if isinstance(value, bool) else value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {value!r}.") from None


def _size(value: Any, name: str) -> int:
    size = _integer(value, name)
    if size < 1:
        raise ValueError(f"{name}={value} must be at least 1.")
    return size


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {value!r}.")
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _fraction(value: Any, name: str) -> float:
    fraction = _number(value, name)
    if not 0 <= fraction <= 1:
        raise ValueError(f"{name}={value} is outside 0 to 1.")
    return fraction
