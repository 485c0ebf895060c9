"""Import of movies from TIFF stacks into the form that every stage reads.

An imported movie becomes a folder with a plate of one field of view, its tracks, its annotations
and an entry that is ready to use. Frames are read and written one by one.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
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
from dynaclr.io.artifacts import atomic_path, write_text
from dynaclr.io.disk_checks import check_on_disk
from dynaclr.io.plate_writer import PlateLayout, new_plate

WELL = "A/1"
FOV = "A/1/0"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImportOptions:
    """What the images do not say about themselves.

    Attributes
    ----------
    interval_minutes : float
        Minutes from one frame to the next.
    name : str, optional
        Name of the experiment; by default that of the folder that is made.
    start_hpi : float
        Hours post infection or perturbation at frame 0.
    condition : str
        What was done to the cells.
    pixel_size_um : float, optional
        Pixel size in micrometres, when it is known.
    markers : mapping of str to str
        What a channel shows, by channel name; by default the channel's name in lower case.
    layout : PlateLayout
        NGFF version, chunks and shards of the plate.
    extra : mapping
        More keys of the entry, for example ``microscope`` or ``metadata``.
    """

    interval_minutes: float
    name: str | None = None
    start_hpi: float = 0.0
    condition: str = "untreated"
    pixel_size_um: float | None = None
    markers: Mapping[str, str] = field(default_factory=dict)
    layout: PlateLayout = field(default_factory=PlateLayout)
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Movie:
    """Frames that can be read one by one.

    Attributes
    ----------
    channels : tuple of str
    shape : tuple of int
        (T, Y, X) in pixels.
    dtype : numpy.dtype
    read : callable
        Gives frame `t` as an array (C, Y, X).
    """

    channels: tuple[str, ...]
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    read: Callable[[int], NDArray[Any]]


def import_stacks(
    stacks: Mapping[str, str | Path],
    tracks: str | Path,
    out: str | Path,
    options: ImportOptions,
    *,
    labels: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Import TIFF stacks (axes T, Y, X), one for each channel, and a table of tracks.

    Parameters
    ----------
    stacks : mapping of str to path
        Stack of each channel, by channel name. They are never written to.
    tracks : str or Path
        CSV with at least ``track_id, t, y, x`` (frames and pixels); it is copied as it is.
    out : str or Path
        Folder to make: ``plate.zarr``, ``tracks/A/1/0/tracks.csv``, ``experiment.yaml`` and, with
        `labels`, ``annotations.csv``.
    options : ImportOptions
        What the images do not say.
    labels : str or Path, optional
        CSV of labels by ``track_id`` and, where they change in time, ``t``.
    progress : callable, optional
        Called with (frames done, frames in all).

    Returns
    -------
    dict
        Counts of what was imported, JSON-able.

    Raises
    ------
    UserError
        When `out` exists, stacks differ in extent, or a table has not the columns.
    """
    if not stacks:
        raise UserError("import: no stack given. Name at least one channel and its TIFF file.")
    tracks = Path(tracks)
    _check_columns(tracks, ["track_id", "t", "y", "x"])
    with ExitStack() as stack:
        opened = [_Stack(stack, Path(path)) for path in stacks.values()]
        for other in opened[1:]:
            if other.shape != opened[0].shape:
                raise UserError(
                    f"{other.path}: has (T, Y, X) = {other.shape}, but {opened[0].path} has "
                    f"{opened[0].shape}. All channels need the same extent."
                )
        movie = Movie(
            channels=tuple(stacks),
            shape=opened[0].shape,
            dtype=np.result_type(*(channel.dtype for channel in opened)),
            read=lambda t: np.stack([channel.read(t) for channel in opened]),
        )
        return import_movie(
            movie, lambda path: shutil.copyfile(tracks, path), Path(out), options, labels, progress
        )


class _Stack:
    """A TIFF file of T planes, read plane by plane."""

    def __init__(self, stack: ExitStack, path: Path) -> None:
        import tifffile

        self.path = path
        try:
            self._file = stack.enter_context(tifffile.TiffFile(path))
            series = self._file.series[0]
        except (OSError, tifffile.TiffFileError) as error:
            raise UserError(f"{path}: no readable TIFF file ({error}). Correct the path.") from None
        if len(series.shape) != 3:
            raise UserError(
                f"{path}: has axes {series.axes} of {series.shape}; a stack of T, Y, X is needed. "
                "Save each channel as its own stack."
            )
        self.shape, self.dtype = series.shape, series.dtype
        # ImageJ describes only the first plane and appends the others as plain bytes.
        self._mapped = tifffile.memmap(path, mode="r") if series.dataoffset is not None else None

    def read(self, t: int) -> NDArray[Any]:
        """Plane `t`, (Y, X)."""
        if self._mapped is not None:
            return np.asarray(self._mapped[t])
        return self._file.asarray(key=t, series=0)


def import_movie(
    movie: Movie,
    write_tracks: Callable[[Path], object],
    out: Path,
    options: ImportOptions,
    labels: str | Path | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """Write plate, tracks, annotations and entry of a movie; `out` appears when all are there.

    Parameters
    ----------
    movie : Movie
    write_tracks : callable
        Writes the table of tracks to a path.
    out, options, labels, progress
        As in `import_stacks`.
    """
    if out.exists():
        raise UserError(f"{out}: exists already. Remove it, or choose another folder.")
    if labels is not None:
        _check_columns(Path(labels), ["track_id"])
    content = _entry(movie, out, options, with_labels=labels is not None)
    _validated(content, out)
    with atomic_path(out) as folder:
        file = folder / "tracks" / FOV / "tracks.csv"
        file.parent.mkdir(parents=True)
        write_tracks(file)
        summary = {"experiment": content["name"], **_count(file, movie)}
        if labels is not None:
            summary["labels"] = _write_annotations(Path(labels), file, folder / "annotations.csv")
        _write_plate(movie, folder / content["data_path"], options, progress)
        write_text(folder / "experiment.yaml", dump_yaml(content))
        problems = Problems()
        check_on_disk(_validated(content, folder), "import", problems)
        problems.raise_if_any()
    return summary


def _validated(content: dict[str, Any], folder: Path) -> ExperimentConfig:
    """Entry of the movie with its paths in a folder."""
    problems = Problems()
    entry = validate_entry(content, folder, "import", problems)
    problems.raise_if_any()
    assert entry is not None
    return entry


def _entry(movie: Movie, out: Path, options: ImportOptions, *, with_labels: bool) -> dict[str, Any]:
    content = {
        "name": options.name or out.name,
        "data_path": "plate.zarr",
        "tracks_path": "tracks",
        "annotations": "annotations.csv" if with_labels else None,
        "channels": [
            {"name": channel, "marker": options.markers.get(channel, channel.lower())}
            for channel in movie.channels
        ],
        "condition_wells": {options.condition: [WELL]},
        "interval_minutes": options.interval_minutes,
        "start_hpi": options.start_hpi,
        "pixel_size_um": options.pixel_size_um,
        **options.extra,
    }
    return {key: value for key, value in content.items() if value is not None}


def _write_plate(
    movie: Movie, path: Path, options: ImportOptions, progress: Progress | None
) -> None:
    n_frames, height, width = movie.shape
    with (
        new_plate(
            path,
            positions=[FOV],
            channels=movie.channels,
            shape_TZYX=(n_frames, 1, height, width),
            dtype=movie.dtype,
            interval_minutes=options.interval_minutes,
            pixel_size_um=options.pixel_size_um,
            layout=options.layout,
        ) as plate,
        plate.position(FOV) as frames,
    ):
        for t in range(n_frames):
            frames.append(movie.read(t)[:, None])
            if progress is not None:
                progress(t + 1, n_frames)


def _count(file: Path, movie: Movie) -> dict[str, Any]:
    tracks = pd.read_csv(file)
    parents = tracks.get("parent_track_id", pd.Series(dtype=float)).dropna()
    return {
        "channels": list(movie.channels),
        "frames": movie.shape[0],
        "observations": len(tracks),
        "tracks": int(tracks["track_id"].nunique()),
        "divisions": int(parents[parents >= 0].nunique()),
    }


def _check_columns(path: Path, needed: list[str]) -> None:
    try:
        columns = list(pd.read_csv(path, nrows=0).columns)
    except (FileNotFoundError, pd.errors.EmptyDataError) as error:
        raise UserError(f"{path}: no readable table ({error}). Correct the path.") from None
    missing = [name for name in needed if name not in columns]
    if missing:
        raise UserError(
            f"{path}: has no columns {', '.join(missing)}, only {', '.join(columns)}. "
            "Rename or add them."
        )


def _write_annotations(labels: Path, tracks: Path, path: Path) -> int:
    """Labels with the field of view's name in front; the number of rows.

    Values are copied as text, so that none changes on the way.
    """
    table = pd.read_csv(labels, dtype=str, keep_default_na=False)
    known = set(pd.read_csv(tracks, usecols=["track_id"])["track_id"])
    if not known & set(pd.to_numeric(table["track_id"], errors="coerce")):
        raise UserError(
            f"{labels}: none of its track_ids is among the tracks. "
            "Give the labels of this very movie."
        )
    # An observation's own number says nothing about the cell, and is not the same after import.
    table = table.drop(columns=["id", "fov"], errors="ignore")
    table.insert(0, "fov", FOV)
    table.to_csv(path, index=False)
    return len(table)
