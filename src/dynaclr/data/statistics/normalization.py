"""Statistics that normalize a patch, as arrays indexed by a batch."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynaclr.config import UserError
from dynaclr.io.parquet import read_parquet

if TYPE_CHECKING:
    from dynaclr.data.pixels.patch_geometry import FieldsOfView

log = logging.getLogger(__name__)

# From the widest pool of pixels to the narrowest.
_LEVELS = ("experiment", "fov", "frame")


@dataclass(frozen=True)
class NormalizationConfig:
    """Which intensity statistics a patch is normalized with: ``(pixel - center) / spread``.

    Attributes
    ----------
    level
        Pool of pixels that the statistics come from.
    center, spread
        Statistic that is subtracted, and the one that is divided by; ``p1_p99`` and ``p5_p95`` are
        the differences of two percentiles.
    """

    level: Literal["frame", "fov", "experiment"] = "fov"
    center: Literal["mean", "median", "p1", "p5"] = "median"
    spread: Literal["std", "iqr", "p1_p99", "p5_p95"] = "std"

    def spread_of(self, statistics: pd.DataFrame) -> pd.Series:
        """Spread in each row of a table of statistics."""
        if self.spread in statistics:
            return statistics[self.spread]
        low, high = self.spread.split("_")
        return statistics[high] - statistics[low]


def read_statistics(experiments: Path, names: list[str]) -> pd.DataFrame:
    """Intensity statistics of several experiments as one table.

    Raises
    ------
    UserError
        When one of them has none yet.
    """
    tables = []
    for name in names:
        table = read_parquet(Path(experiments) / name / "statistics.parquet")
        tables.append(table.to_pandas())
    return pd.concat(tables, ignore_index=True)


def normalizers(
    fields: FieldsOfView,
    markers: tuple[str, ...],
    statistics: pd.DataFrame,
    normalization: NormalizationConfig,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Center and spread of each field of view, frame and marker, shape (F, T or 1, C).

    They are 0 and 1 where a marker is absent. Pixels that could not be read have no statistics:
    those of the next wider pool are used, of the field of view for a frame, of the experiment for a
    field of view. Where it has none either, the center is NaN.

    Parameters
    ----------
    fields : FieldsOfView
    markers : tuple of str
    statistics : DataFrame
        Rows of `dynaclr.data.compute_statistics`.
    normalization : NormalizationConfig

    Raises
    ------
    UserError
        When there are no statistics of a marker that was imaged.
    """
    chosen = normalization.level
    table = statistics[statistics["level"] == chosen]
    n_frames = int(table["t"].max()) + 1 if chosen == "frame" else 1
    shape = (len(fields), n_frames, len(markers))
    center, spread = np.full(shape, np.nan, np.float32), np.ones(shape, np.float32)
    known, read = np.zeros((2, len(fields), len(markers)), bool)
    # A narrower pool, where it has statistics, replaces what a wider one has set.
    for level in _LEVELS[: _LEVELS.index(chosen) + 1]:
        rows = _rows_of(fields, markers, statistics[statistics["level"] == level])
        if level == chosen:
            known[rows["field"], rows["column"]] = True
        rows = rows.dropna(subset=[normalization.center])
        field, column = rows["field"].to_numpy(), rows["column"].to_numpy()
        frame = rows["t"].to_numpy() if level == "frame" else slice(None)
        if level != "experiment" or chosen == "experiment":
            read[field, column] = True
        values = rows[normalization.center], normalization.spread_of(rows)
        for out, found in zip((center, spread), values, strict=True):
            pixels = found.to_numpy()
            out[field, frame, column] = pixels if level == "frame" else pixels[:, None]
    present = fields.present(markers)
    center[~np.broadcast_to(present[:, None], shape)] = 0
    spread[~np.broadcast_to(present[:, None], shape)] = 1
    _check_known(fields, markers, present & ~known)
    _warn_of_replaced(fields, markers, present & ~read, center)
    for number, column in np.argwhere(~(spread > 0).all(axis=1)):
        log.warning(
            "%s %s: %s is constant; it is not scaled", *fields.names[number], markers[column]
        )
    return center, spread


def _check_known(
    fields: FieldsOfView, markers: tuple[str, ...], unknown: NDArray[np.bool_]
) -> None:
    for number, column in np.argwhere(unknown):
        name, fov = fields.names[number]
        raise UserError(
            f"experiment {name}: no intensity statistics for {markers[column]!r} in {fov}. "
            "Run `dynaclr statistics` for it again."
        )


def _warn_of_replaced(
    fields: FieldsOfView,
    markers: tuple[str, ...],
    unread: NDArray[np.bool_],
    center: NDArray[np.float32],
) -> None:
    for number, column in np.argwhere(unread):
        consequence = "those of the experiment are used"
        if np.isnan(center[number, :, column]).any():
            consequence = "its observations cannot be used"
        log.warning(
            "%s %s: pixels of %s cannot be read, so it has no statistics; %s",
            *(*fields.names[number], markers[column], consequence),
        )


def with_plain_names(table: pd.DataFrame) -> pd.DataFrame:
    """The table with names as plain text, which any other table's can be compared with."""
    return table.astype(dict.fromkeys(("experiment", "fov", "marker"), object))


def _rows_of(fields: FieldsOfView, markers: tuple[str, ...], table: pd.DataFrame) -> pd.DataFrame:
    """Rows of these fields of view and markers, with their numbers ``field`` and ``column``."""
    keys = pd.DataFrame(fields.names, columns=["experiment", "fov"])
    keys = keys.assign(field=range(len(fields)))
    columns = pd.DataFrame({"marker": markers, "column": range(len(markers))})
    table, on = with_plain_names(table), ["experiment", "fov"]
    if (table["level"] == "experiment").all():
        # Its one row serves all of its fields of view.
        table, on = table.drop(columns="fov"), ["experiment"]
    return keys.merge(table, on=on).merge(columns, on="marker")
