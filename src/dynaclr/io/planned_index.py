"""What an index of experiments will hold, as far as entries, plates and label tables say it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

import pandas as pd

from dynaclr.config.columns import INDEX_COLUMNS, UNKNOWN
from dynaclr.config.errors import Problems, UserError
from dynaclr.config.experiment import ExperimentConfig
from dynaclr.config.expression import Expression
from dynaclr.config.simulation import SIMULATED_COLUMNS
from dynaclr.io.label_tables import OF_TRACKS, check_label_names, read_label_table
from dynaclr.io.plate import Plate

_FACTS = ("organelle", "microscope", "cell_type", "date", "moi")
# All rows of a well agree on these, and on metadata.
_OF_WELLS = {"experiment", "well", "condition", *_FACTS}


class MovieShape(NamedTuple):
    """Extent of a field of view."""

    frames: int
    planes: int
    height: int
    width: int
    pixel_size_um: float


class PlannedIndex:
    """Columns of an index that is not built yet.

    Parameters
    ----------
    entries : iterable of ExperimentConfig
        Its experiments.

    Attributes
    ----------
    wells : pandas.DataFrame
        The index's own columns and those of metadata, with one row a well: zeros where rows of a
        well differ in a number.
    labels : list of str
        Columns of the experiments' annotations.
    """

    def __init__(self, entries: Iterable[ExperimentConfig]) -> None:
        entries = list(entries)
        rows = [
            dict.fromkeys(INDEX_COLUMNS, 0)
            | {name: getattr(entry, name) for name in _FACTS}
            | entry.metadata
            | {"experiment": entry.name, "well": well, "fov": f"{well}/0", "condition": condition}
            for entry in entries
            for well, condition in entry.condition_of_well.items()
        ]
        table = pd.DataFrame(rows, dtype=object)
        self.wells = pd.DataFrame({name: _typed(table[name], name) for name in table})
        self.labels = sorted({name for entry in entries for name in _index_labels(entry)})
        self._of_wells = _OF_WELLS | {key for entry in entries for key in entry.metadata}

    @property
    def columns(self) -> list[str]:
        """Names of all columns."""
        return [*self.wells.columns, *self.labels]

    def groups(self, name: str) -> list[str] | None:
        """Values of a text column that rows of a well agree on, sorted; None of any other."""
        if name not in self._of_wells or self.wells[name].dtype != "category":
            return None
        return sorted(self.wells[name].cat.categories)

    def check(self, text: str, where: str, *more: str) -> None:
        """Check a condition on the columns.

        Parameters
        ----------
        text : str
            The condition, valid by itself.
        where : str
            What to call it in messages.
        *more : str
            Further columns that there will be.

        Raises
        ------
        UserError
            When it names no column, compares one with a value of another type, or no well of the
            experiments can fulfil it.
        """
        condition = Expression(text)
        condition.check_columns([*self.columns, *more], where)
        if not {*condition.columns} <= {*self.wells.columns}:
            return  # What labels hold is not read here.
        kept = condition.rows(self.wells, where)
        if {*condition.columns} <= self._of_wells and not kept.any():
            raise UserError(
                f"{where}: {text!r}: no well of {', '.join(self.wells['experiment'].unique())} "
                "fulfils it. Compare with values that the entries hold."
            )


def _typed(values: pd.Series, name: str) -> pd.Series:
    """Numbers, or text where some value is text or the entries give none."""
    given = values.dropna()
    if name == "moi" or (len(given) and not any(isinstance(v, str | bool) for v in given)):
        return pd.to_numeric(values)
    text = values.map(lambda v: str(v).lower() if isinstance(v, bool) else str(v))
    return text.where(values.notna(), UNKNOWN).astype("category")


def _index_labels(entry: ExperimentConfig) -> list[str]:
    """Columns of an experiment's annotations that become columns of the index."""
    names, problems = label_names(entry, "annotations"), Problems()
    where = f"experiment {entry.name}: annotations: {entry.annotations}"
    check_label_names(names, entry.metadata, where, problems)
    problems.raise_if_any()
    return names


def label_names(entry: ExperimentConfig, source: Literal["annotations", "truth"]) -> list[str]:
    """Columns of labels in a table of an experiment; of one that is yet to be simulated too.

    Raises
    ------
    UserError
        When the table cannot be read.
    """
    path: Path | None = getattr(entry, source)
    if path is None:
        return []
    if entry.simulation is not None:
        return list(SIMULATED_COLUMNS[source])
    try:
        names = read_label_table(path, header_only=True).labels
    except UserError as error:
        raise UserError(f"experiment {entry.name}: {source}: {error}") from None
    return [name for name in names if source == "truth" or name not in OF_TRACKS]


def movie_shapes(entry: ExperimentConfig) -> dict[str, MovieShape]:
    """Extent of each field of view that an entry uses, by name.

    Raises
    ------
    UserError
        When the plate cannot be read.
    """
    if (simulation := entry.simulation) is not None:
        extent = (simulation.frames, 1, simulation.height, simulation.width)
        shape, wells = MovieShape(*extent, entry.pixel_size_um or 1.0), entry.condition_of_well
        return {f"{well}/{n}": shape for well in wells for n in range(simulation.fovs_per_well)}
    shapes = {}
    for name, position in Plate.of(entry).positions.items():
        frames, _, planes, height, width = position.shape
        pixel_size = entry.pixel_size_um or position.pixel_size_um
        shapes[name] = MovieShape(frames, planes, height, width, pixel_size)
    return shapes
