"""What the statistics tell of each field of view, as arrays that a batch indexes."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynaclr.config import ExperimentConfig, UserError

log = logging.getLogger(__name__)

Place = tuple[str, str]
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
        path = Path(experiments) / name / "statistics.parquet"
        if not path.is_file():
            raise UserError(f"{path}: no such file. Run `dynaclr statistics` for {name} first.")
        tables.append(pd.read_parquet(path))
    return pd.concat(tables, ignore_index=True)


def normalizers(
    places: list[Place],
    registry: Mapping[str, ExperimentConfig],
    markers: tuple[str, ...],
    statistics: pd.DataFrame,
    normalization: NormalizationConfig,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Center and spread for each (field of view, frame or 0, marker); 0 and 1 where absent.

    Pixels that could not be read have no statistics: those of the next wider pool serve, of the
    field of view for a frame, of the experiment for a field of view. Where it has none either, the
    center is NaN.

    Parameters
    ----------
    places : list of (experiment, fov)
    registry, markers, statistics, normalization
        As in `dynaclr.data.loading.observation_reader.CellReader`.

    Raises
    ------
    UserError
        When there are no statistics of a marker that is there.
    """
    by_frame, by_fov = normalization.level == "frame", normalization.level != "experiment"
    table = statistics[statistics["level"] == normalization.level]
    shape = (len(places), int(table["t"].max()) + 1 if by_frame else 1, len(markers))
    center, spread = np.full(shape, np.nan, np.float32), np.ones(shape, np.float32)
    known, read = np.zeros((2, len(places), len(markers)), bool)
    present = _present(places, registry, markers)
    for level in _LEVELS[: _LEVELS.index(normalization.level) + 1]:
        table = statistics[statistics["level"] == level]
        rows = _rows_of(places, markers, table, pooled=level == "experiment")
        if level == normalization.level:
            known[rows["place"], rows["column"]] = True
        rows = rows.dropna(subset=[normalization.center])
        place, t, column = (rows[name].to_numpy() for name in ("place", "t", "column"))
        if level != "experiment" or not by_fov:
            read[place, column] = True
        values = rows[normalization.center], normalization.spread_of(rows)
        for out, found in zip((center, spread), values, strict=True):
            if level == "frame":
                out[place, t, column] = found
            else:
                out[place, :, column] = found.to_numpy()[:, None]
    center[~np.broadcast_to(present[:, None], shape)] = 0
    spread[~np.broadcast_to(present[:, None], shape)] = 1
    for number, column in np.argwhere(present & ~known):
        name, fov = places[number]
        raise UserError(
            f"experiment {name}: no intensity statistics for {markers[column]!r} in {fov}. "
            "Run `dynaclr statistics` for it again."
        )
    for number, column in np.argwhere(present & ~read):
        serves = "those of the experiment serve"
        if np.isnan(center[number, :, column]).any():
            serves = "its observations cannot be used"
        told = *places[number], markers[column], serves
        log.warning("%s %s: pixels of %s cannot be read, so it has no statistics; %s", *told)
    for number, column in np.argwhere(~(spread > 0).all(axis=1)):
        log.warning("%s %s: %s is constant; it is not scaled", *places[number], markers[column])
    return center, spread


def leading_markers(
    places: list[Place], registry: Mapping[str, ExperimentConfig], markers: tuple[str, ...]
) -> list[str]:
    """Marker whose focus each field of view follows: the first that is there, empty for none."""
    present = _present(places, registry, markers)
    return [markers[own.argmax()] if own.any() else "" for own in present]


def first_planes(
    places: list[Place],
    leading: list[str],
    statistics: pd.DataFrame,
    n_planes: NDArray[np.int64],
    depth: int,
) -> NDArray[np.int32]:
    """First plane of a window around the focus for each (field of view, frame).

    Where the statistics tell no focus, the window is in the middle of the stack.

    Parameters
    ----------
    places, statistics
        As in `normalizers`.
    leading : list of str
        Marker whose focus it is, for each field of view.
    n_planes : NDArray of int, shape (F,)
        Planes of each field of view's stack.
    depth : int
        Planes of the window.
    """
    table = statistics[statistics["level"] == "frame"]
    n_frames = int(table["t"].max()) + 1
    middle = (n_planes - depth) // 2
    first = np.repeat(middle[:, None], n_frames, axis=1).astype(np.int32)
    if "focus" not in table:
        return first
    keys = pd.DataFrame(places, columns=["experiment", "fov"])
    keys = keys.assign(marker=leading, place=range(len(places)))
    rows = keys.merge(_plain(table[table["focus"] >= 0]), on=["experiment", "fov", "marker"])
    place, focus = rows["place"].to_numpy(), rows["focus"].to_numpy().astype(np.int64)
    last = n_planes[place] - depth
    first[place, rows["t"].to_numpy()] = np.clip(focus - depth // 2, 0, last)
    return first


def _plain(table: pd.DataFrame) -> pd.DataFrame:
    """The table with names as plain text, by which any other table's can be found."""
    return table.astype(dict.fromkeys(("experiment", "fov", "marker"), object))


def _rows_of(
    places: list[Place], markers: tuple[str, ...], table: pd.DataFrame, pooled: bool = False
) -> pd.DataFrame:
    """Rows for these fields of view and markers, with their numbers ``place`` and ``column``."""
    keys = pd.DataFrame(places, columns=["experiment", "fov"]).assign(place=range(len(places)))
    columns = pd.DataFrame({"marker": markers, "column": range(len(markers))})
    on = ["experiment"] if pooled else ["experiment", "fov"]
    table = _plain(table).drop(columns="fov") if pooled else _plain(table)
    return keys.merge(table, on=on).merge(columns, on="marker")


def _present(
    places: list[Place], registry: Mapping[str, ExperimentConfig], markers: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Whether each field of view has each marker, (F, C)."""
    return np.array(
        [
            [registry[name].has_marker(marker, fov.rsplit("/", 1)[0]) for marker in markers]
            for name, fov in places
        ]
    )
