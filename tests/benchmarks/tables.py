"""Synthetic cell indexes of any size: three-day movies in which cells divide."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dynaclr.config.columns import SPLIT
from dynaclr.index.columns import SCHEMA, constant_column, text_column

CONDITIONS = ("mock", "infected", "drug", "washout")
INTERVALS = (10, 15, 30)
FIELDS = 50
HOURS = 72
CYCLE_HOURS = 18
GENERATIONS = 3


@dataclass(frozen=True)
class Rows:
    """Observations as tracking tables give them; arrays of one entry a row, in table order."""

    experiment: NDArray[np.int64]
    fov: NDArray[np.int64]
    track_id: NDArray[np.int64]
    parent_track_id: NDArray[np.int64]
    t: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.t)

    @property
    def hours(self) -> NDArray[np.float64]:
        """Hours since the first frame."""
        return self.t * (np.asarray(INTERVALS)[self.experiment % len(INTERVALS)] / 60)


def make_rows(n: int, n_experiments: int, seed: int = 0) -> Rows:
    """Make about `n` observations of lineages of three generations, divided evenly."""
    rng = np.random.default_rng(seed)
    family = 2**GENERATIONS - 1
    own, wanted = [], n / n_experiments
    for number in range(n_experiments):
        cycle = CYCLE_HOURS * 60 // INTERVALS[number % len(INTERVALS)]
        n_lineages = max(round(wanted / (family * cycle)), 1)
        member = np.arange(family)
        generation = np.frexp(member + 1)[1] - 1
        slack = (HOURS - GENERATIONS * CYCLE_HOURS) / CYCLE_HOURS * cycle
        start = rng.integers(0, int(slack) + 1, n_lineages)
        first = (start[:, None] + generation * cycle).ravel()
        lineage = np.repeat(np.arange(n_lineages), family)
        track = lineage * family + np.tile(member, n_lineages)
        parent = np.where(member == 0, -1, (member - 1) // 2)
        parent = np.tile(parent, n_lineages)
        parent = np.where(parent < 0, -1, lineage * family + parent)
        own.append(
            Rows(
                np.full(len(track) * cycle, number),
                np.repeat(number * FIELDS + lineage % FIELDS, cycle),
                np.repeat(track, cycle),
                np.repeat(parent, cycle),
                (first[:, None] + np.arange(cycle)).ravel(),
            )
        )
    return Rows(*(np.concatenate([getattr(part, f) for part in own]) for f in vars(own[0])))


def as_batch(rows: Rows, columns: dict[str, NDArray]) -> pa.RecordBatch:
    """Give the rows, and numbers computed for them, as a merged index has them."""
    n = len(rows)
    experiments = [f"experiment_{number:02d}" for number in range(rows.experiment.max() + 1)]
    wells = [f"{'ABCD'[field % 4]}/{field % 12 + 1}" for field in range(FIELDS)]
    field = rows.fov % FIELDS
    well_of, fov_of = sorted(set(wells)), [f"{well}/{i}" for i, well in enumerate(wells)]
    rng = np.random.default_rng(1)
    made = {
        "experiment": text_column(rows.experiment, experiments),
        "well": text_column(np.searchsorted(well_of, wells)[field], well_of),
        "fov": text_column(field, fov_of),
        "condition": text_column(field % len(CONDITIONS), CONDITIONS),
        "t": rows.t,
        "hours": rows.hours,
        "track_id": rows.track_id,
        "parent_track_id": rows.parent_track_id,
        "y": rng.uniform(100, 1900, n),
        "x": rng.uniform(100, 1900, n),
        SPLIT: text_column(np.zeros(n), ["train"]),
    } | columns
    schema = SCHEMA.append(pa.field(SPLIT, SCHEMA.field("well").type))
    filled = []
    for name, kind in zip(schema.names, schema.types, strict=True):
        values = made.get(name)
        if values is None:
            values = constant_column(None, n) if pa.types.is_dictionary(kind) else np.zeros(n)
        filled.append(
            values if isinstance(values, pa.Array) else pa.array(values).cast(kind, False)
        )
    return pa.RecordBatch.from_arrays(filled, schema=schema)
