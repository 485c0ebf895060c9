"""Description of one composed batch, row by row, for figures and audits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class BatchDescription:
    """A composed batch and what each of its rows is there for.

    Attributes
    ----------
    epoch, step : int
        Which batch it is.
    group : object
        The group that leads it, as in the table (a tuple if several columns make a group).
    focal_hour : float or None
        The focal hour; None without temporal enrichment.
    rows : ndarray of int64, shape (num_replicas * batch_size,)
        Row numbers.
    part : ndarray of str, shape (num_replicas * batch_size,)
        For each row: "primary" or "leaked" (a cross-group row); with temporal enrichment "focal",
        "global", "leaked_focal" or "leaked_global".
    group_of_row, stratum_of_row : ndarray of object, shape (num_replicas * batch_size,)
        For each row: its group and stratum, as in the table.
    replica : ndarray of int64, shape (num_replicas * batch_size,)
        For each row: the replica that trains on it.
    widened : int
        Number of sets of rows (a stratum of the group, or a stratum of the other groups) whose
        window held fewer rows than were to be drawn and was widened.
    outside_window : int
        Number of focal rows, cross-group ones included, that lie outside the window asked for.
    """

    epoch: int
    step: int
    group: Any
    focal_hour: float | None
    rows: NDArray[np.int64]
    part: NDArray[np.str_]
    group_of_row: NDArray[np.object_]
    stratum_of_row: NDArray[np.object_]
    replica: NDArray[np.int64]
    widened: int
    outside_window: int


def labels_of(labels: Sequence[Any], codes: NDArray[np.int64]) -> NDArray[np.object_]:
    """Return the label of each code, in an array of objects."""
    # Filled one by one, since NumPy would unpack labels that are tuples.
    values = np.empty(len(codes), dtype=object)
    for row, code in enumerate(codes):
        values[row] = labels[code]
    return values
