"""Writing of imported movies: a folder with one plate, tracks, annotations and a ready entry.

All tracking tables are read before any pixel is written. The folder appears when it is complete and
its index could be made. Frames are read and written one by one.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynaclr.config.errors import Problems, UserError
from dynaclr.config.experiment import ExperimentConfig
from dynaclr.config.grammar import dump_yaml
from dynaclr.config.registry import validate_entry
from dynaclr.importers.fields import Field
from dynaclr.index import index_experiment
from dynaclr.io.artifacts import atomic_path, write_text
from dynaclr.io.disk_checks import check_on_disk
from dynaclr.io.plate_writer import PlateLayout, new_plate
from dynaclr.io.text_table import read_rows

log = logging.getLogger(__name__)

ENTRY = "experiment.yaml"

Progress = Callable[[int, int], None]
Reader = Callable[[int], NDArray[Any]]


@dataclass(frozen=True)
class ImportOptions:
    """What the images do not say about themselves.

    Attributes
    ----------
    interval_minutes : float, optional
        Minutes from one frame to the next; stills need none.
    name : str, optional
        Name of the experiment; by default that of the folder that is made.
    start_hpi : float
        Hours post infection or perturbation at frame 0.
    condition : str
        What was done to the cells, where a field of view does not say it.
    pixel_size_um : float, optional
        Pixel size in micrometres, when it is known.
    markers : mapping of str to str
        What a channel shows, by channel name; by default the channel's name in lower case.
    layout : PlateLayout
        NGFF version, chunks and shards of the plate.
    extra : mapping
        More keys of the entry, for example ``microscope`` or ``tracks_unit``.
    """

    interval_minutes: float | None = None
    name: str | None = None
    start_hpi: float = 0.0
    condition: str = "untreated"
    pixel_size_um: float | None = None
    markers: Mapping[str, str] = field(default_factory=dict)
    layout: PlateLayout = field(default_factory=PlateLayout)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Movie:
    """A field of view whose frames can be read one by one.

    Attributes
    ----------
    field : Field
    shape : tuple of int
        (T, Y, X) in pixels.
    dtype : numpy.dtype
    opened : callable
        Opens the images: a context whose value gives frame `t` as an array (C, Y, X).
    write_tracks : callable
        Writes the tracking table into a folder.
    labels : Path, optional
        CSV of labels by ``track_id`` and, where they change in time, ``t``.
    first_frame : int
        Number of frame 0 in the labels.
    """

    field: Field
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    opened: Callable[[], AbstractContextManager[Reader]]
    write_tracks: Callable[[Path], object]
    labels: Path | None = None
    first_frame: int = 0


def import_movies(
    movies: Sequence[Movie],
    channels: Sequence[str],
    out: Path,
    options: ImportOptions,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write plate, tracks, annotations and entry; `out` appears when all are there.

    Parameters
    ----------
    movies : sequence of Movie
        Those of one experiment.
    channels : sequence of str
        Names of their channels.
    out : Path
        Folder to make: ``plate.zarr``, ``tracks``, ``experiment.yaml`` and, with labels,
        ``annotations.csv``.
    options : ImportOptions
    progress : callable, optional
        Called with (frames done, frames in all).

    Returns
    -------
    dict
        Path of the entry and counts, JSON-able.

    Raises
    ------
    UserError
        When `out` exists, or the movies, tables and options do not make an experiment.
    """
    check_new(out)
    content = _entry(movies, channels, out, options)
    _validated(content, out)
    with atomic_path(out) as folder:
        for movie in movies:
            tracks = folder / content["tracks_path"] / movie.field.name
            tracks.mkdir(parents=True)
            movie.write_tracks(tracks)
        _write_plate(movies, channels, folder / content["data_path"], content, options, progress)
        write_text(folder / ENTRY, dump_yaml(content))
        entry = _validated(content | {"annotations": None}, folder)
        problems = Problems()
        check_on_disk(entry, "import", problems)
        problems.raise_if_any()
        cells, summary = index_experiment(entry)
        counts = {name: summary["counts"][name] for name in ("rows", "tracks", "divisions")}
        report = {"experiment": content["name"], "entry": str(out / ENTRY)}
        report |= {"channels": list(channels), "fields": len(movies)}
        report |= {"frames": sum(movie.shape[0] for movie in movies), **counts}
        if "annotations" in content:
            keys = cells.select(["fov", "track_id", "t"]).to_pandas()
            report["labels"] = _write_annotations(movies, keys, folder / content["annotations"])
    return report


def check_new(out: Path) -> None:
    """Refuse a folder that exists.

    Raises
    ------
    UserError
    """
    if out.exists():
        raise UserError(f"{out}: exists already. Remove it, or choose another folder.")


def _validated(content: dict[str, Any], folder: Path) -> ExperimentConfig:
    """Entry of the movies with its paths in a folder."""
    problems = Problems()
    entry = validate_entry(content, folder, "import", problems)
    problems.raise_if_any()
    assert entry is not None
    return entry


def _entry(
    movies: Sequence[Movie], channels: Sequence[str], out: Path, options: ImportOptions
) -> dict[str, Any]:
    interval = options.interval_minutes
    if interval is None:
        if any(movie.shape[0] > 1 for movie in movies):
            raise UserError("import: these are movies. Give interval_minutes.")
        interval = 1.0  # of stills nothing depends on it
    wells: dict[str, set[str]] = {}
    for movie in movies:
        wells.setdefault(movie.field.condition, set()).add(movie.field.name.rpartition("/")[0])
    with_labels = any(movie.labels is not None for movie in movies)
    content = {
        "name": options.name or out.name,
        "data_path": "plate.zarr",
        "tracks_path": "tracks",
        "annotations": "annotations.csv" if with_labels else None,
        "channels": [
            {"name": channel, "marker": options.markers.get(channel, channel.lower())}
            for channel in channels
        ],
        "condition_wells": {condition: sorted(of) for condition, of in wells.items()},
        "interval_minutes": interval,
        "start_hpi": options.start_hpi,
        "pixel_size_um": options.pixel_size_um,
        **options.extra,
    }
    return {key: value for key, value in content.items() if value is not None}


def _write_plate(
    movies: Sequence[Movie],
    channels: Sequence[str],
    path: Path,
    content: dict[str, Any],
    options: ImportOptions,
    progress: Progress | None,
) -> None:
    done, total = 0, sum(movie.shape[0] for movie in movies)
    with new_plate(
        path,
        positions=[movie.field.name for movie in movies],
        channels=channels,
        shape_TZYX={m.field.name: (m.shape[0], 1, *m.shape[1:]) for m in movies},
        dtype=np.result_type(*(movie.dtype for movie in movies)),
        interval_minutes=content["interval_minutes"],
        pixel_size_um=options.pixel_size_um,
        layout=options.layout,
    ) as plate:
        for movie in movies:
            with movie.opened() as read, plate.position(movie.field.name) as frames:
                for t in range(movie.shape[0]):
                    frames.append(read(t)[:, None])
                    done += 1
                    if progress is not None:
                        progress(done, total)


def _write_annotations(movies: Sequence[Movie], cells: pd.DataFrame, path: Path) -> int:
    """Labels of all fields of view, with the name of each in front; the number of rows."""
    tables = [
        _labels(movie, cells[cells["fov"] == movie.field.name])
        for movie in movies
        if movie.labels is not None
    ]
    table = pd.concat(tables).fillna("")
    table.to_csv(path, index=False)
    return len(table)


def _labels(movie: Movie, cells: pd.DataFrame) -> pd.DataFrame:
    """Labels of a field of view as text, so that none changes on the way, but for the frames."""
    assert movie.labels is not None
    table = read_rows(movie.labels)
    if "track_id" not in table:
        raise UserError(
            f"{movie.labels}: has no column track_id, only {', '.join(table)}. Rename or add it."
        )
    key = [name for name in ("track_id", "t") if name in table]
    numbers = table[key].apply(pd.to_numeric, errors="coerce")
    if "t" in key:
        numbers["t"] -= movie.first_frame
        table["t"] = numbers["t"].map(lambda t: f"{t:.0f}")
    known = pd.MultiIndex.from_frame(cells[key].drop_duplicates())
    matches = pd.MultiIndex.from_frame(numbers).isin(known)
    if not matches.any():
        raise UserError(
            f"{movie.labels}: none of its rows is of an observation (by {', '.join(key)}). "
            "Give the labels of this very movie, with its own numbers of tracks and frames."
        )
    if not matches.all():
        lost = np.count_nonzero(~matches)
        log.warning("%s: %d of %d rows match no observation", movie.labels, lost, len(table))
    # An observation's own number says nothing about the cell, and is not the same after import.
    table = table.drop(columns=["id", "fov"], errors="ignore")
    table.insert(0, "fov", movie.field.name)
    return table


def copy_table(source: Path, folder: Path) -> None:
    """Copy a tracking table or GEFF store as it is, under a name of our own."""
    if source.is_dir():
        shutil.copytree(source, folder / "tracks.geff")
    else:
        shutil.copyfile(source, folder / f"tracks{source.suffix or '.txt'}")
