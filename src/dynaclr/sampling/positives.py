"""The positive of an observation: itself or a descendant a little later, or an ancestor earlier.

A cell lineage is a forest of tracks. Numbering its tracks depth first, parents before children,
gives each track a number ``branch`` and puts all its descendants into the range from ``branch`` up
to ``branch_end``. Two facts follow, and everything here rests on them:

- With the observations sorted by frame and branch, those of a track and its descendants at a given
  frame are one stretch, which two binary searches find.
- The tracks alive at a frame have disjoint ranges, so that the one among them that is the track
  itself or its ancestor, if there is one, is the last that begins at or before it: one search.

Draws are functions of the seed, the epoch and the row alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dynaclr.sampling.checks import as_mask
from dynaclr.sampling.offsets import offset_weights
from dynaclr.sampling.randomness import derive_key, hash64, uniform

# What a stream of random numbers is for; no two purposes share a stream.
_OFFSET, _OFFSET_AGAIN, _CANDIDATE = range(3)

# Rows looked up at a time when all rows are: keeps the temporary arrays small.
_BLOCK = 1 << 20


class PositiveSampler:
    """Draw, for observations, one of the same track or of a descendant some frames away.

    The offset is drawn by its weight among the offsets at which there is such an observation, and
    the observation evenly among those of that frame (after a division there may be several). With
    negative offsets it is one of the same track or of an ancestor. Sisters and cousins never
    qualify. An experiment whose only offset is 0 has each observation as its own positive.

    Parameters
    ----------
    t : ndarray of int, shape (N,)
        Frame of each observation, counted within its experiment.
    branch, branch_end : ndarray of int, shape (N,)
        Depth-first number of the observation's track in the forest of all
        lineages, unique over all experiments and fields of view; and one past the last number
        among the track and its descendants.
    experiment : ndarray of int, shape (N,)
        Indices into `offsets`.
    offsets : sequence of ndarray of int, shape (n,)
        For each experiment, distinct offsets in frames; 0 only on its own.
    weights : sequence of array_like of float, shape (n,), optional
        For each experiment, the positive weights of its offsets. By default
        `dynaclr.sampling.offset_weights`.
    candidates : ndarray of bool, shape (N,), optional
        The observations that may be drawn as positives; by default all.
    seed : int
        Any integer.

    Raises
    ------
    ValueError
        If the arrays or lists disagree in length, a range of branches is empty, an experiment has
        no offsets, or, with negative offsets, a track and its descendant share a frame.
    TypeError
        If an array is not of integers.

    Notes
    -----
    Columns that are integers already are kept as they are, not copied. The sorted keys and their
    rows take another 12 bytes for each candidate (16 from 2**31 rows on).
    """

    def __init__(
        self,
        t: NDArray[np.integer],
        branch: NDArray[np.integer],
        branch_end: NDArray[np.integer],
        experiment: NDArray[np.integer],
        offsets: Sequence[NDArray[np.integer]],
        *,
        weights: Sequence[ArrayLike] | None = None,
        candidates: NDArray[np.bool_] | None = None,
        seed: int = 0,
    ) -> None:
        self._t = _integers(t, "t")
        self._branch = _integers(branch, "branch", self._t.size)
        self._branch_end = _integers(branch_end, "branch_end", self._t.size)
        self._experiment = _integers(experiment, "experiment", self._t.size)
        self._candidates = (
            None if candidates is None else as_mask(candidates, self._t.size, "candidates")
        )
        self._seed = int(seed)
        self._set_offsets(offsets, weights)
        self._check_branches()
        self._sort_candidates()
        if np.any(self._offsets < 0):
            self._check_ancestors()

    def _set_offsets(
        self, offsets: Sequence[NDArray[np.integer]], weights: Sequence[ArrayLike] | None
    ) -> None:
        lowest, highest = self._experiment.min(initial=0), self._experiment.max(initial=0)
        if lowest < 0 or highest >= len(offsets):
            raise ValueError(
                f"experiment holds codes from {lowest} to {highest}, but offsets are given for "
                f"{len(offsets)} experiments."
            )
        if weights is not None and len(weights) != len(offsets):
            raise ValueError(
                f"weights are given for {len(weights)} experiments, but offsets for {len(offsets)}."
            )
        shape = len(offsets), max(len(own) for own in offsets)
        # Shorter lists are filled up with offsets of no weight. The nearest offset comes first,
        # since it is the one that most rows have.
        self._offsets = np.zeros(shape, dtype=np.int64)
        self._weights = np.zeros(shape)
        for code, own in enumerate(offsets):
            own = _check_offsets(own, code)
            own_weights = offset_weights(own) if weights is None else weights[code]
            nearest = np.argsort(np.abs(own), kind="stable")
            self._offsets[code, : own.size] = own[nearest]
            self._weights[code, : own.size] = _check_weights(own_weights, own, code)[nearest]
        self._is_itself = np.array([own[0] == 0 for own in self._offsets])

    def _check_branches(self) -> None:
        bad = np.flatnonzero((self._branch < 0) | (self._branch >= self._branch_end))
        if bad.size:
            raise ValueError(
                f"Row {bad[0]} has branch {self._branch[bad[0]]} and branch_end "
                f"{self._branch_end[bad[0]]}; branch must be at least 0 and below branch_end."
            )
        self._n_branches = int(self._branch_end.max(initial=0))
        farthest = int(np.abs(self._t, dtype=np.int64).max(initial=0))
        farthest += int(np.abs(self._offsets).max()) + 1
        if farthest * self._n_branches >= 1 << 63:
            raise ValueError(
                f"Frames up to {farthest} times branch_end up to {self._n_branches} exceed 64 "
                "bits. Number the branches without gaps."
            )

    def _sort_candidates(self) -> None:
        key = self._key(slice(None))
        rows = None if self._candidates is None else np.flatnonzero(self._candidates)
        order = np.argsort(key if rows is None else key[rows], kind="stable")
        order = order if rows is None else rows[order]
        self._order = order.astype(np.int32 if key.size < 1 << 31 else np.int64, copy=False)
        self._sorted_key = key[order]

    def _check_ancestors(self) -> None:
        end = self._branch_end[self._order[:-1]] - self._branch[self._order[:-1]]
        overlap = np.flatnonzero(self._sorted_key[1:] < self._sorted_key[:-1] + end)
        if overlap.size:
            first, second = self._order[overlap[0]], self._order[overlap[0] + 1]
            raise ValueError(
                f"Rows {first} and {second} are of one line of descent and share frame "
                f"{self._t[first]}: with negative offsets the ancestor of a row at a frame must be "
                "unique. End the ancestor's track before its descendant's begins."
            )

    def _key(self, rows: NDArray[np.int64] | slice) -> NDArray[np.int64]:
        return self._t[rows].astype(np.int64) * self._n_branches + self._branch[rows]

    @cached_property
    def has_positive(self) -> NDArray[np.bool_]:
        """Which observations have a positive at one of their offsets at least, shape (N,)."""
        found = np.zeros(self._t.size, dtype=bool)
        for begin in range(0, found.size, _BLOCK):
            block = slice(begin, min(begin + _BLOCK, found.size))
            # In the order of the keys, so that one search touches what the last one did.
            open_rows = begin + np.argsort(self._key(block))
            itself = self._is_itself[self._experiment[open_rows]]
            found[open_rows[itself]] = self._may_be_drawn(open_rows[itself])
            open_rows = open_rows[~itself]
            for choice in range(self._offsets.shape[1]):
                _, exists = self._find(open_rows, np.full(open_rows.size, choice))
                found[open_rows[exists]] = True
                open_rows = open_rows[~exists]
        return found

    def sample(self, rows: NDArray[np.integer], epoch: int) -> NDArray[np.int64]:
        """Return the positive of each row.

        Parameters
        ----------
        rows : ndarray of int, shape (n,)
            Row numbers, in any order.
        epoch : int
            Each epoch has its own draws.

        Returns
        -------
        ndarray of int64, shape (n,)
            Row numbers.

        Raises
        ------
        ValueError
            If a row has no positive.
        """
        out = np.array(rows, dtype=np.int64)
        itself = self._is_itself[self._experiment[out]]
        self._check_none(out[itself & ~self._may_be_drawn(out)])
        others = np.flatnonzero(~itself)
        out[others] = self._sample_others(out[others], epoch)
        return out

    def _sample_others(self, rows: NDArray[np.int64], epoch: int) -> NDArray[np.int64]:
        # Drawing among all offsets, and among those that exist only where the first draw does not,
        # gives each that exists its own weight over the sum of theirs.
        weights = self._weights[self._experiment[rows]]
        choice = _draw(weights, uniform(derive_key(self._seed, _OFFSET, epoch), rows))
        first, exists = self._find(rows, choice)
        again = np.flatnonzero(~exists)
        if again.size:
            choice[again] = self._draw_existing(rows[again], weights[again], epoch)
            first[again], _ = self._find(rows[again], choice[again])
        count = self._count(rows, choice, first)
        pick = hash64(derive_key(self._seed, _CANDIDATE, epoch), rows) % count.astype(np.uint64)
        return self._order[first + pick.astype(np.int64)].astype(np.int64)

    def _draw_existing(
        self, rows: NDArray[np.int64], weights: NDArray[np.float64], epoch: int
    ) -> NDArray[np.int64]:
        choices = np.arange(weights.shape[1])
        _, exists = self._find(np.repeat(rows, choices.size), np.tile(choices, rows.size))
        weights = weights * exists.reshape(weights.shape)
        self._check_none(rows[weights.sum(axis=1) == 0])
        return _draw(weights, uniform(derive_key(self._seed, _OFFSET_AGAIN, epoch), rows))

    def _find(
        self, rows: NDArray[np.int64], choice: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Look up one offset of each row.

        Returns
        -------
        first : ndarray of int64, shape (n,)
            Position of the first candidate in the sorted keys; meaningless where there is none.
        exists : ndarray of bool, shape (n,)
            Whether there is one.
        """
        if not self._sorted_key.size:
            return np.zeros(rows.size, dtype=np.int64), np.zeros(rows.size, dtype=bool)
        code = self._experiment[rows]
        offset = self._offsets[code, choice]
        key = self._key(rows) + offset * self._n_branches
        branch = self._branch[rows].astype(np.int64)
        back = offset < 0
        # The last key that is at most k is the one before the first that is at least k + 1.
        first = np.searchsorted(self._sorted_key, key + back) - back
        exists = (first >= 0) & (first < self._sorted_key.size) & (self._weights[code, choice] > 0)
        at = np.where(exists, first, 0)
        found = self._sorted_key[at]
        is_later = found < key - branch + self._branch_end[rows]
        if back.any():
            is_ancestor = (found >= key - branch) & (self._branch_end[self._order[at]] > branch)
            return first, exists & np.where(back, is_ancestor, is_later)
        return first, exists & is_later

    def _count(
        self, rows: NDArray[np.int64], choice: NDArray[np.int64], first: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """Return how many candidates there are from `first` on."""
        offset = self._offsets[self._experiment[rows], choice]
        frame = self._t[rows].astype(np.int64) + offset
        beyond = frame * self._n_branches + self._branch_end[rows]
        end = np.searchsorted(self._sorted_key, beyond)
        return np.where(offset < 0, 1, end - first)

    def _may_be_drawn(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        if self._candidates is None:
            return np.ones(rows.size, dtype=bool)
        return self._candidates[rows]

    def _check_none(self, rows: NDArray[np.int64]) -> None:
        if rows.size:
            raise ValueError(
                f"{rows.size} row(s) have no positive at any offset, the first is row {rows[0]}. "
                "Draw anchors only where has_positive is true."
            )


def _draw(weights: NDArray[np.float64], number: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return an index into each row of weights, given a number in [0, 1) for each row."""
    total = np.cumsum(weights, axis=1)
    choice = np.count_nonzero(total <= (number * total[:, -1])[:, None], axis=1)
    # Rounding may carry the number to the total itself, behind the last index that has weight.
    last = weights.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)
    bounded: NDArray[np.int64] = np.minimum(choice, last)
    return bounded


def _integers(values: ArrayLike, name: str, n_rows: int | None = None) -> NDArray[np.integer]:
    values = np.asarray(values)
    if values.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, not {values.dtype}.")
    if values.ndim != 1 or (n_rows is not None and values.size != n_rows):
        expected = "(N,)" if n_rows is None else f"({n_rows},), like t"
        raise ValueError(f"{name} has the shape {values.shape}, not {expected}.")
    # Mixed with signed integers, NumPy would turn unsigned 64-bit ones into floats.
    return values.astype(np.int64) if values.dtype == np.uint64 else values


def _check_offsets(offsets: ArrayLike, code: int) -> NDArray[np.int64]:
    offsets = _integers(offsets, f"offsets[{code}]").astype(np.int64)
    if offsets.size == 0 or np.unique(offsets).size < offsets.size:
        raise ValueError(f"offsets[{code}] must hold distinct frames, at least one: {offsets}.")
    if offsets.size > 1 and np.any(offsets == 0):
        raise ValueError(
            f"offsets[{code}] holds 0 among others: an observation is no positive of itself, "
            "unless 0 is the only offset."
        )
    return offsets


def _check_weights(
    weights: ArrayLike, offsets: NDArray[np.int64], code: int
) -> NDArray[np.float64]:
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != offsets.shape or not np.all((weights > 0) & np.isfinite(weights)):
        raise ValueError(
            f"weights[{code}] must hold one positive number for each of the {offsets.size} "
            f"offsets: {weights}."
        )
    return weights
