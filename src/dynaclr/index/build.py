"""One experiment's cell index: from its plate's metadata and tracking tables to a table.

The rules for bad input are in the docstring of `dynaclr.index.tracks`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dynaclr.config import ExperimentConfig, Problems, UserError
from dynaclr.index.columns import SCHEMA, entry_columns, text_column, with_shapes
from dynaclr.index.labels import CELLS, build_labels, label_columns
from dynaclr.index.lineage import (
    Forest,
    Links,
    TrackTable,
    build_forest,
    division_frame,
    group_tracks,
    resolve_links,
)
from dynaclr.index.repairs import Repairs, location_of
from dynaclr.index.table_units import warn_of_units
from dynaclr.index.tracks import Observations, find_table, list_tables, read_tracks
from dynaclr.io import Plate, Position
from dynaclr.io.artifacts import atomic_path, write_digest, write_json
from dynaclr.io.disk_checks import check_on_disk

log = logging.getLogger(__name__)

SUMMARY = "summary.json"
# What merging and training do not need, and a change of which must not change the index.
NOT_INDEXED = {"annotations", "truth", "simulation"}


def build_index(entry: ExperimentConfig, out_dir: str | Path) -> dict[str, Any]:
    """Write an experiment's ``cells.parquet`` with its digest, and ``summary.json``.

    Where the entry has `annotations`, its labels too: see `dynaclr.index.labels`.

    The same content gives the same bytes of ``cells.parquet``, whatever the order of the rows in
    the tracking tables, the folder they lie in, or the Zarr format of the plate.

    Parameters
    ----------
    entry : ExperimentConfig
    out_dir : str or Path
        Folder of the experiment's results; made when missing.

    Returns
    -------
    dict
        Content of ``summary.json``.

    Raises
    ------
    UserError
        With every error of the entry, the plate and the tracking tables; or of the annotations.
    """
    table, summary = index_experiment(entry.model_copy(update={"annotations": None}))
    out_dir = Path(out_dir)
    with atomic_path(out_dir / CELLS) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    summary["digest"] = write_digest(out_dir / CELLS)
    write_json(out_dir / SUMMARY, summary)
    if entry.annotations is not None:
        build_labels(entry, out_dir)
    return summary


def index_experiment(entry: ExperimentConfig) -> tuple[pa.Table, dict[str, Any]]:
    """Build an experiment's cell index in memory.

    Parameters
    ----------
    entry : ExperimentConfig

    Returns
    -------
    table : pyarrow.Table
        Columns of `dynaclr.index.columns`, labels included, sorted by (fov, t, branch).
    summary : dict
        What ``summary.json`` holds, but for the digest.

    Raises
    ------
    UserError
        With every error of the entry, the plate and the tracking tables.
    """
    problems, repairs = Problems(), Repairs()
    check_on_disk(entry, f"experiment {entry.name}", problems)
    problems.raise_if_any()
    plate = Plate.of(entry)
    positions, left_out = plate.positions, _left_out(entry, plate)
    _warn_of_pixel_size(entry, positions)
    files = _find_tables(entry, plate, positions, problems, repairs)
    read = {fov: _read(entry, positions[fov], files[fov], problems, repairs) for fov in files}
    filled = {fov: rows for fov, rows in read.items() if rows is not None and len(rows)}
    warn_of_units(entry, positions, filled, repairs)
    movie = _Movie.join(entry, filled, files)
    links = resolve_links(movie.tracks)
    _report_links(movie, links, problems, repairs)
    problems.raise_if_any()
    if not len(movie.rows):
        raise UserError(
            f"experiment {entry.name}: the tracking tables in {entry.tracks_path} hold no "
            "observation that can be used. Check them against the plate."
        )
    forest = build_forest(links.parent)
    shapes = {fov: positions[fov].shape for fov in movie.fovs}
    table = with_shapes(_table(entry, movie, links, forest), {entry.name: shapes})
    for name, values in label_columns(entry, table).items():
        table = table.append_column(name, values)
    summary = {
        "experiment": entry.name,
        "counts": _counts(entry, movie, forest),
        "repairs": repairs.as_dict(),
        "left_out": left_out,
        "plate": _plate_facts(entry, plate, positions),
        "entry": entry.dump(exclude=NOT_INDEXED),
    }
    return table, summary


def _left_out(entry: ExperimentConfig, plate: Plate) -> dict[str, list[str]]:
    """What of the plate the entry does not use."""
    used, named = entry.condition_of_well, set().union(*entry.condition_wells.values())
    if not plate.positions:
        raise UserError(
            f"experiment {entry.name}: no field of view is left of {entry.data_path}. "
            "Check condition_wells, include_wells and exclude_fovs."
        )
    return {
        "wells_without_condition": sorted(set(plate.wells) - named),
        "wells_not_included": sorted(named - set(used)),
        "fovs_excluded": sorted(set(entry.exclude_fovs)),
    }


def _warn_of_pixel_size(entry: ExperimentConfig, positions: dict[str, Position]) -> None:
    if entry.pixel_size_um is not None:
        return
    for reason in dict.fromkeys(p.size_unknown for p in positions.values() if p.size_unknown):
        log.warning(
            "experiment %s: %s; it is taken as micrometres. Say `pixel_size_um` in the entry",
            *(entry.name, reason),
        )


def _find_tables(
    entry: ExperimentConfig,
    plate: Plate,
    positions: dict[str, Position],
    problems: Problems,
    repairs: Repairs,
) -> dict[str, Path]:
    """Tracking table of each field of view that has one, in sorted order."""
    before = len(problems.found)
    files = {}
    for fov in positions:
        folder = entry.tracks_path / fov
        if not folder.is_dir():
            repairs.add("fov_without_tracks", fov)
            continue
        table = find_table(folder, problems)
        if table is not None:
            files[fov] = table
    folders = [folder for folder in entry.tracks_path.glob("*/*/*") if list_tables(folder)]
    names = sorted(folder.relative_to(entry.tracks_path).as_posix() for folder in folders)
    for name in names:
        well = name.rsplit("/", 1)[0]
        # Fields of view of wells that are not used are not known.
        known = plate.listed_fovs if well in entry.condition_of_well else plate.wells
        if name not in known and well not in known:
            repairs.add("tracks_without_fov", name)
    if not files and len(problems.found) == before:
        problems.add(
            f"experiment {entry.name}: tracks_path",
            f"{entry.tracks_path} has no table for any field of view that is used "
            f"({_shown(list(positions))}); it has tables for {_shown(names) or 'none'}",
            "Put each field's table at <row>/<column>/<fov>/, named as on the plate",
        )
    return files


def _read(
    entry: ExperimentConfig, position: Position, path: Path, problems: Problems, repairs: Repairs
) -> Observations | None:
    n_t, _, n_z, n_y, n_x = position.shape
    step_um = None
    if entry.tracks_unit == "um":
        z, y, x = position.levels[0].scale[2:]
        step_um = (z, entry.pixel_size_um or y, entry.pixel_size_um or x)
    return read_tracks(
        path,
        (n_t, n_z, n_y, n_x),
        problems,
        repairs,
        _relative(path, entry),
        entry.tracks_first_frame,
        step_um,
    )


def _shown(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _relative(path: Path, entry: ExperimentConfig) -> str:
    return path.relative_to(entry.tracks_path).as_posix()


@dataclass(frozen=True)
class _Movie:
    """Observations of all fields of view that have any, gathered into tracks.

    `fov` is the number in `fovs` of each row; `paths` and `files` are the tables as the user and
    as ``summary.json`` name them.
    """

    fovs: list[str]
    paths: list[Path]
    files: list[str]
    fov: NDArray[np.int64]
    rows: Observations
    tracks: TrackTable

    @classmethod
    def join(
        cls, entry: ExperimentConfig, read: dict[str, Observations], paths: dict[str, Path]
    ) -> _Movie:
        rows = Observations.join(list(read.values()))
        fov = np.repeat(np.arange(len(read)), [len(r) for r in read.values()])
        return cls(
            fovs=list(read),
            paths=[paths[name] for name in read],
            files=[_relative(paths[name], entry) for name in read],
            fov=fov,
            rows=rows,
            tracks=group_tracks(fov, rows.track_id, rows.t, rows.parent_track_id),
        )

    @cached_property
    def line(self) -> NDArray[np.int64]:
        """Line of the file where each track begins."""
        line = np.full(len(self.tracks), np.iinfo(np.int64).max)
        np.minimum.at(line, self.tracks.of_row, self.rows.line)
        return line

    def by_file(self, tracks: NDArray[np.int64]) -> Iterable[tuple[int, NDArray[np.int64]]]:
        """Give the number of each field of view among `tracks`, and the lines where these begin."""
        fov = self.tracks.fov[tracks]
        for number in np.unique(fov):
            yield int(number), self.line[tracks[fov == number]]


def _report_links(movie: _Movie, links: Links, problems: Problems, repairs: Repairs) -> None:
    """Report tracks of two parents and circles; count the links that were repaired."""
    tracks = movie.tracks
    of_track = tracks.parent_track_id[tracks.of_row]
    differs = movie.rows.parent_track_id != of_track
    clash = differs & (movie.rows.parent_track_id >= 0)
    for fov, lines in movie.by_file(np.unique(tracks.of_row[clash])):
        problems.add(
            location_of(movie.paths[fov], lines),
            "a track that begins here is given more than one parent_track_id",
            "Give all rows of a track the same parent",
        )
    for cycle in links.cycles:
        for fov, lines in movie.by_file(cycle):
            ids = _shown([str(number) for number in tracks.track_id[cycle]])
            problems.add(
                location_of(movie.paths[fov], lines),
                f"the tracks {ids} descend from each other in a circle",
                "Correct their parent_track_id",
            )
    for rule, found in {
        "parent_on_some_rows": np.unique(tracks.of_row[differs]),
        "own_parent": links.own_parent,
        "parent_missing": links.parent_missing,
        "parent_starts_after_child": links.starts_after_child,
        "parent_overlaps_child": links.overlaps_child,
    }.items():
        for fov, lines in movie.by_file(found):
            repairs.add(rule, movie.files[fov], lines)


def _table(entry: ExperimentConfig, movie: _Movie, links: Links, forest: Forest) -> pa.Table:
    rows, tracks = movie.rows, movie.tracks
    parent_id = np.where(links.parent >= 0, tracks.track_id[links.parent], -1)
    divides = division_frame(forest, tracks.last)
    order = np.lexsort((forest.branch[tracks.of_row], rows.t, movie.fov))
    rows, track, fov = rows.take(order), tracks.of_row[order], movie.fov[order]

    wells = [name.rsplit("/", 1)[0] for name in movie.fovs]
    conditions = [entry.condition_of_well[well] for well in wells]
    columns = entry_columns(entry, len(rows))
    columns |= {
        "experiment": text_column(np.zeros(len(rows)), [entry.name]),
        "well": _labels(wells, fov),
        "fov": text_column(fov, movie.fovs),
        "condition": _labels(conditions, fov),
        "t": rows.t,
        "hours": entry.hours(rows.t.astype(np.float64)),
        "track_id": rows.track_id,
        "parent_track_id": parent_id[track],
        "lineage_id": forest.lineage[track],
        "generation": forest.generation[track],
        "branch": forest.branch[track],
        "branch_end": forest.branch_end[track],
        "y": rows.y,
        "x": rows.x,
        "z": rows.z,
        "frames_to_division": np.where(divides[track] >= 0, divides[track] - rows.t, -1),
        "track_length": tracks.length[track],
    }
    metadata = [name for name in columns if name not in SCHEMA.names]
    arrays = [_typed(columns[field.name], field.type) for field in SCHEMA]
    return pa.table(arrays + [columns[name] for name in metadata], names=[*SCHEMA.names, *metadata])


def _labels(of_fov: list[str], fov: NDArray[np.int64]) -> pa.DictionaryArray:
    """Label of each row by its field of view, with sorted categories."""
    categories, codes = np.unique(np.array(of_fov, dtype=object), return_inverse=True)
    return text_column(codes[fov], categories.tolist())


def _typed(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.Array):
        return values
    return pa.array(np.asarray(values, kind.to_pandas_dtype()))


def _counts(entry: ExperimentConfig, movie: _Movie, forest: Forest) -> dict[str, Any]:
    n = len(movie.fovs)
    wells = [fov.rsplit("/", 1)[0] for fov in movie.fovs]
    per_fov = pd.DataFrame(
        {
            "fovs": np.ones(n, np.int64),
            "rows": np.bincount(movie.fov, minlength=n),
            "tracks": np.bincount(movie.tracks.fov, minlength=n),
            "lineages": np.bincount(movie.tracks.fov[np.unique(forest.root)], minlength=n),
            "divisions": np.bincount(movie.tracks.fov[forest.n_daughters > 1], minlength=n),
        }
    )

    def grouped(labels: list[str]) -> dict[str, dict[str, int]]:
        by_label = per_fov.groupby(np.array(labels, dtype=object)).sum()
        return dict(by_label.to_dict("index"))

    totals = per_fov[["rows", "tracks", "lineages", "divisions", "fovs"]].sum()
    return dict(totals.to_dict()) | {
        "frames": len(np.unique(movie.rows.t)),
        "per_condition": grouped([entry.condition_of_well[well] for well in wells]),
        "per_well": grouped(wells),
        "per_fov": grouped(movie.fovs),
    }


def _plate_facts(
    entry: ExperimentConfig, plate: Plate, positions: dict[str, Position]
) -> dict[str, Any]:
    """Collect what the plate's metadata says; a list where fields of view differ."""
    return {
        "zarr_format": _common(p.zarr_format for p in positions.values()),
        "channels": plate.channels,
        "shape_tczyx": _common(list(p.shape) for p in positions.values()),
        "pixel_size_um": entry.pixel_size_um
        or _common(p.pixel_size_um for p in positions.values()),
        "image_shapes": {name: list(p.shape[-2:]) for name, p in positions.items()},
    }


def _common(values: Iterable[Any]) -> Any:
    distinct: list[Any] = []
    for value in values:
        if value not in distinct:
            distinct.append(value)
    return distinct[0] if len(distinct) == 1 else sorted(distinct)
