"""Import of movies from TIFF files into the form that every stage reads.

An imported movie becomes a folder with a plate of one field of view, its tracks, its annotations
and an entry that is ready to use. Frames are read and written one by one.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from dynaclr.config.errors import Problems, UserError
from dynaclr.config.experiment import ExperimentConfig
from dynaclr.config.registry import validate_entry
from dynaclr.io.artifacts import atomic_path, write_text
from dynaclr.io.disk_checks import check_on_disk
from dynaclr.io.plate_writer import PlateLayout, new_plate

WELL = "A/1"
FOV = "A/1/0"
TRACK_COLUMNS = ["track_id", "t", "y", "x", "id", "parent_track_id", "parent_id"]

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


def import_ctc(
    folder: str | Path,
    out: str | Path,
    options: ImportOptions,
    *,
    sequence: str = "01",
    channel: str = "Phase",
    labels: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Import a two-dimensional sequence of the Cell Tracking Challenge.

    Images are ``<sequence>/tNNN.tif``. A cell's position is the centroid of its label in
    ``<sequence>_GT/TRA/man_trackNNN.tif``, its parent stands in ``man_track.txt`` beside it
    (https://celltrackingchallenge.net, "Annotations").

    Parameters
    ----------
    folder : str or Path
        Folder of the data set. It is never written to.
    out : str or Path
        Folder to make: ``plate.zarr``, ``tracks/A/1/0/tracks.csv``, ``experiment.yaml`` and, with
        `labels`, ``annotations.csv``.
    options : ImportOptions
        What the images do not say.
    sequence : str
        Number of the sequence, as it stands in the folder's name.
    channel : str
        Name to give to the only channel.
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
        When `out` exists, or the data set is not complete or not consistent.
    """
    folder = Path(folder)
    truth = folder / f"{sequence}_GT" / "TRA"
    images = _numbered(folder / sequence, "t")
    masks = _numbered(truth, "man_track")
    if sorted(images) != sorted(masks):
        odd = sorted(set(images) ^ set(masks))
        raise UserError(
            f"{folder}: frames {odd[:8]} have an image or a label mask, but not both. "
            "Add the missing files."
        )
    frames = [images[number] for number in sorted(images)]
    shape = _read_plane(frames[0]).shape
    movie = _Movie(
        channels=(channel,),
        shape=(len(frames), *shape),
        dtype=_read_plane(frames[0]).dtype,
        read=lambda t: _read_plane(frames[t], shape)[None],
    )

    def write_tracks(path: Path) -> None:
        seen = {number: _centroids(_read_plane(masks[number], shape)) for number in sorted(masks)}
        _ctc_tracks(seen, truth / "man_track.txt").to_csv(path, index=False)

    return _import(movie, write_tracks, Path(out), options, labels, progress)


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
        When `out` exists, stacks differ in extent, or a table lacks a column.
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
        movie = _Movie(
            channels=tuple(stacks),
            shape=opened[0].shape,
            dtype=np.result_type(*(channel.dtype for channel in opened)),
            read=lambda t: np.stack([channel.read(t) for channel in opened]),
        )
        return _import(
            movie, lambda path: shutil.copyfile(tracks, path), Path(out), options, labels, progress
        )


@dataclass(frozen=True)
class _Movie:
    """Frames that can be read one by one.

    `shape` is (T, Y, X) in pixels; `read` gives frame `t` as (C, Y, X).
    """

    channels: tuple[str, ...]
    shape: tuple[int, int, int]
    dtype: np.dtype
    read: Callable[[int], NDArray]


class _Stack:
    """A TIFF file of T planes, read plane by plane."""

    def __init__(self, stack: ExitStack, path: Path) -> None:
        import tifffile

        self.path = path
        try:
            series = stack.enter_context(tifffile.TiffFile(path)).series[0]
        except (OSError, tifffile.TiffFileError) as error:
            raise UserError(f"{path}: no readable TIFF file ({error}). Correct the path.") from None
        if len(series.shape) != 3:
            raise UserError(
                f"{path}: has axes {series.axes} of {series.shape}; a stack of T, Y, X is needed. "
                "Save each channel as its own stack."
            )
        self.shape, self.dtype = series.shape, series.dtype
        self._pages = series.pages
        # Some programs describe only the first plane and append the others as plain bytes.
        self._mapped = tifffile.memmap(path, mode="r") if series.dataoffset is not None else None

    def read(self, t: int) -> NDArray:
        if self._mapped is not None:
            return np.asarray(self._mapped[t])
        return self._pages[t].asarray()


def _import(
    movie: _Movie,
    write_tracks: Callable[[Path], object],
    out: Path,
    options: ImportOptions,
    labels: str | Path | None,
    progress: Progress | None,
) -> dict[str, Any]:
    """Write plate, tracks, annotations and entry of a movie; `out` appears when all are there."""
    if out.exists():
        raise UserError(f"{out}: exists already. Remove it, or choose another folder.")
    if labels is not None:
        _check_columns(Path(labels), ["track_id"])
    content = _entry(movie, out, options, with_labels=labels is not None)
    _checked(content, out)
    with atomic_path(out) as folder:
        file = folder / "tracks" / FOV / "tracks.csv"
        file.parent.mkdir(parents=True)
        write_tracks(file)
        summary = {"experiment": content["name"], **_count(file, movie)}
        if labels is not None:
            summary["labels"] = _write_annotations(Path(labels), file, folder / "annotations.csv")
        _write_plate(movie, folder / content["data_path"], options, progress)
        write_text(folder / "experiment.yaml", yaml.safe_dump(content, sort_keys=False))
        problems = Problems()
        check_on_disk(_checked(content, folder), str(folder), problems)
        problems.raise_if_any()
    return summary


def _entry(
    movie: _Movie, out: Path, options: ImportOptions, *, with_labels: bool
) -> dict[str, Any]:
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


def _checked(content: dict[str, Any], folder: Path) -> ExperimentConfig:
    problems = Problems()
    entry = validate_entry(content, folder, "import", problems)
    problems.raise_if_any()
    return entry


def _write_plate(
    movie: _Movie, path: Path, options: ImportOptions, progress: Progress | None
) -> None:
    n_frames, *extent = movie.shape
    with (
        new_plate(
            path,
            positions=[FOV],
            channels=movie.channels,
            shape_TZYX=(n_frames, 1, *extent),
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


def _count(file: Path, movie: _Movie) -> dict[str, Any]:
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
            f"{path}: lacks the columns {', '.join(missing)}; it has {', '.join(columns)}. "
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


def _numbered(folder: Path, stem: str) -> dict[int, Path]:
    """TIFF files ``<stem><digits>.tif`` of a folder by their number, which must be consecutive."""
    found = {
        int(match[1]): file
        for file in (folder.iterdir() if folder.is_dir() else ())
        if (match := re.fullmatch(rf"{stem}(\d+)\.tiff?", file.name))
    }
    if not found:
        raise UserError(f"{folder}: no files named {stem}000.tif and so on. Correct the folder.")
    missing = sorted(set(range(min(found), max(found))) - set(found))
    if missing:
        raise UserError(f"{folder}: frames {missing[:8]} are missing. Copy the data set again.")
    return found


def _read_plane(path: Path, shape: tuple[int, ...] | None = None) -> NDArray:
    import tifffile

    plane = tifffile.imread(path)
    if plane.ndim != 2:
        raise UserError(
            f"{path}: has shape {plane.shape}; only two-dimensional movies are imported. "
            "Choose or project a plane first."
        )
    if shape is not None and plane.shape != shape:
        raise UserError(
            f"{path}: has shape {plane.shape}, the first image {shape}. Copy the data set again."
        )
    return plane


def _centroids(mask: NDArray) -> pd.DataFrame:
    """Label and mean position (y, x in pixels) of every object of a label image."""
    y, x = np.nonzero(mask)
    label, index, area = np.unique(mask[y, x], return_inverse=True, return_counts=True)
    return pd.DataFrame(
        {
            "track_id": label.astype(np.int64),
            "y": (np.bincount(index, weights=y) / area).round(3),
            "x": (np.bincount(index, weights=x) / area).round(3),
        }
    )


def _ctc_tracks(seen: dict[int, pd.DataFrame], man_track: Path) -> pd.DataFrame:
    """Ultrack's columns from the centroids of each frame and the table of tracks."""
    table = pd.concat([rows.assign(frame=number) for number, rows in seen.items()])
    known = _read_man_track(man_track)
    _check_against(table, known, man_track)
    table = table.sort_values(["track_id", "frame"], ignore_index=True)
    # A data set may begin to count anywhere; a plate begins at 0.
    table["t"] = table["frame"] - min(seen)
    table["id"] = (table["t"] + 1) * 1_000_000 + table["track_id"]
    parent = table["track_id"].map(known["parent"])
    table["parent_track_id"] = parent.where(parent > 0, -1)
    last = table.drop_duplicates("track_id", keep="last").set_index("track_id")["id"]
    of_mother = table["parent_track_id"].map(last).fillna(-1).astype(np.int64)
    first = ~table["track_id"].duplicated()
    table["parent_id"] = table["id"].shift(fill_value=-1).where(~first, of_mother)
    return table[TRACK_COLUMNS]


def _read_man_track(path: Path) -> pd.DataFrame:
    """Begin, end and parent (0 = none) of each track, by label."""
    names = ["label", "begin", "end", "parent"]
    try:
        table = pd.read_csv(path, sep=r"\s+", header=None, names=names, dtype=np.int64)
    except (FileNotFoundError, ValueError) as error:
        raise UserError(
            f"{path}: no readable table of tracks ({error}). Each line needs four whole numbers: "
            "label, first frame, last frame, parent."
        ) from None
    twice = table["label"][table["label"].duplicated()]
    if len(twice):
        raise UserError(f"{path}: label {twice.iloc[0]} stands twice. Keep one line for each.")
    return table.set_index("label")


def _check_against(table: pd.DataFrame, known: pd.DataFrame, man_track: Path) -> None:
    """Hold the labels in the masks against the table of tracks; all faults at once."""
    problems = Problems()
    where = str(man_track)
    spans = table.groupby("track_id")["frame"].agg(["min", "max"])
    for label in spans.index.difference(known.index):
        problems.add(where, f"label {label} of the masks has no line", "Add it")
    for label in known.index.difference(spans.index):
        problems.add(where, f"label {label} is in no mask", "Remove the line or add the mask")
    both = spans.join(known, how="inner")
    outside = both[(both["min"] < both["begin"]) | (both["max"] > both["end"])]
    for label, row in outside.iterrows():
        problems.add(
            where,
            f"label {label} shall live from frame {row['begin']} to {row['end']}, "
            f"but is seen from {row['min']} to {row['max']}",
            "Correct the line",
        )
    parents = known["parent"]
    for label in known.index[(parents > 0) & ~parents.isin(known.index)]:
        problems.add(where, f"parent {parents[label]} of label {label} has no line", "Add it")
    problems.raise_if_any()
