"""Choice of positives for anchors, by lineage, by track or by columns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dynaclr.config import ExperimentConfig, Problems, UserError
from dynaclr.config.columns import SPLIT, UNKNOWN
from dynaclr.config.errors import did_you_mean
from dynaclr.index import MultiExperimentIndex
from dynaclr.sampling import (
    ColumnPositiveSampler,
    PositiveSampler,
    offset_weights,
    offsets_in_frames,
)

# Hours from an anchor to its positive, unless a training says otherwise.
TAU_RANGE = (0.5, 2.0)
# Ways to choose a positive by name; else it is a list of columns.
POSITIVES = ("lineage", "track")


def as_names(chosen: str | list[str] | None) -> list[str]:
    """Names that are given as one, several or none."""
    return [chosen] if isinstance(chosen, str) else list(chosen or [])


def offsets_of_all(
    tau_range: tuple[float, float], entries: Mapping[str, ExperimentConfig], names: list[str]
) -> list[NDArray[np.int64]]:
    """Offsets in frames from an anchor to its positive in each experiment.

    Raises
    ------
    UserError
        With every experiment that has no whole frame in that range.
    """
    problems, offsets = Problems(), []
    for name in names:
        try:
            offsets.append(offsets_in_frames(tau_range, entries[name].interval_minutes))
        except ValueError as error:
            problems.found.append(f"experiment {name}: {error}")
    problems.raise_if_any()
    return offsets


def lineage_sampler(
    index: MultiExperimentIndex,
    candidates: NDArray[np.bool_],
    tau_range: tuple[float, float],
    decay_rate: float,
    same_track: bool,
    seed: int,
) -> PositiveSampler:
    """Draws positives that are the same cell, or a relative, some time later.

    Parameters
    ----------
    index : MultiExperimentIndex
    candidates : NDArray of bool, shape (N,)
        Rows that may be anchor or positive.
    tau_range : tuple of float
        Hours from an anchor to its positive.
    decay_rate : float
        How fast the probability of an offset falls over `tau_range`.
    same_track : bool
        Whether descendants are no positives.
    seed : int

    Raises
    ------
    UserError
        With every experiment that has no whole frame in `tau_range`.
    """
    experiment, names = index.codes("experiment")
    offsets = offsets_of_all(tau_range, index.registry, names)
    t, branch, branch_end = (index.column(column) for column in ("t", "branch", "branch_end"))
    return PositiveSampler(
        t,
        branch,
        branch + 1 if same_track else branch_end,
        experiment,
        offsets,
        weights=[offset_weights(own, decay_rate) for own in offsets],
        candidates=None if candidates.all() else candidates,
        seed=seed,
    )


def column_sampler(
    index: MultiExperimentIndex, candidates: NDArray[np.bool_], names: list[str], seed: int
) -> ColumnPositiveSampler:
    """Draws positives that agree with the anchor on columns of the index.

    Parameters
    ----------
    index : MultiExperimentIndex
    candidates : NDArray of bool, shape (N,)
        Rows that may be anchor or positive; rows that are "unknown" in a column are neither.
    names : list of str
        The columns.
    seed : int

    Raises
    ------
    UserError
        When the index has no such column, or it cannot be used.
    """
    for name in names:
        if name not in index.columns:
            raise UserError(
                f"data.positives: the index has no column {name!r}. "
                f"{did_you_mean(name, index.columns)}"
            )
        if index.is_text(name):
            codes, categories = index.codes(name)
            if UNKNOWN in categories:
                candidates = candidates & (codes != categories.index(UNKNOWN))
    # No positive comes from the other side of the split.
    table = index.frame(list(dict.fromkeys([*names, SPLIT])))
    try:
        return ColumnPositiveSampler(table, candidates=candidates, seed=seed)
    except ValueError as error:
        raise UserError(f"data.positives: {error}") from None
