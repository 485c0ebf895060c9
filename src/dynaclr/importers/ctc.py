"""Import of sequences of the Cell Tracking Challenge: images, label masks and a table of tracks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynaclr.config.errors import Problems, UserError
from dynaclr.importers.fields import Field, list_fields
from dynaclr.importers.movies import (
    ImportOptions,
    Movie,
    Progress,
    Reader,
    check_new,
    import_movies,
)
from dynaclr.importers.tiff import read_plane
from dynaclr.io.track_columns import TRACK_COLUMNS, add_ids

# Table of tracks and stem of the masks: of annotators, and of trackers.
_FORMS = {"man_track.txt": "man_track", "res_track.txt": "mask"}
# Folders beside that of a sequence.
_NO_IMAGES = re.compile(r".*_(GT|ST|RES|ERR_SEG)")


def import_ctc(
    folder: str | Path,
    out: str | Path,
    options: ImportOptions,
    *,
    sequence: str = "01",
    channel: str = "Phase",
    result: str | Path | None = None,
    labels: str | Path | None = None,
    fields: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Import two-dimensional sequences of the Cell Tracking Challenge.

    Images are ``<sequence>/tNNN.tif``. A cell's position is the centroid of its label in
    ``<sequence>_GT/TRA/man_trackNNN.tif``, its parent is in ``man_track.txt`` beside it
    (https://celltrackingchallenge.net, "Annotations"). Where there is no such folder, both are what
    a tracker wrote: ``<sequence>_RES/maskNNN.tif`` and ``res_track.txt``. The first frame may have
    any number; it becomes frame 0, of labels too.

    Parameters
    ----------
    folder : str or Path
        Folder of the data set. It is never written to.
    out, options, labels, fields, progress
        As in `dynaclr.importers.stacks.import_stacks`; `folder`, `sequence`, `result` and `labels`
        may hold names in braces.
    sequence : str
        Number of the sequence, as in the folder's name.
    channel : str
        Name to give to the only channel.
    result : str or Path, optional
        Folder of masks and table of tracks, of either form, instead of the sequence's own.

    Returns
    -------
    dict
        Path of the entry and counts, JSON-able.

    Raises
    ------
    UserError
        When `out` exists, or a data set is not complete or not consistent.
    """
    out, images = Path(out), f"{folder}/{sequence}"
    check_new(out)
    table = None if fields is None else Path(fields)
    listed = list_fields(images, table, options.condition, _is_sequence)
    movies = [_movie(of, images, result, labels) for of in listed]
    return import_movies(movies, [channel], out, options, progress)


def _is_sequence(path: Path) -> bool:
    return path.is_dir() and _NO_IMAGES.fullmatch(path.name) is None


def _movie(
    field: Field, images: str, result: str | Path | None, labels: str | Path | None
) -> Movie:
    folder = field.path(images)
    tracks = _track_file(folder, None if result is None else field.path(result))
    frames, masks = _numbered(folder, "t"), _numbered(tracks.parent, _FORMS[tracks.name])
    if frames.keys() != masks.keys():
        raise UserError(
            f"{folder}: frames {sorted(frames.keys() ^ masks.keys())[:8]} have an image or a label "
            "mask, but not both. Add the missing files."
        )
    first_frame = min(frames)
    first = read_plane(frames[first_frame])

    def write_tracks(to: Path) -> None:
        tables = [
            _centroids(read_plane(masks[number], first.shape)).assign(frame=number)
            for number in sorted(masks)
        ]
        table = _tracks(pd.concat(tables), tracks, first_frame)
        table.to_csv(to / "tracks.csv", index=False)

    return Movie(
        field,
        (len(frames), *first.shape),
        first.dtype,
        partial(_frames, [frames[number] for number in sorted(frames)], first.shape),
        write_tracks,
        None if labels is None else field.path(labels),
        first_frame,
    )


@contextmanager
def _frames(files: list[Path], shape: tuple[int, ...]) -> Iterator[Reader]:
    yield lambda t: read_plane(files[t], shape)[None]


def _track_file(images: Path, result: Path | None) -> Path:
    """Table of tracks of a sequence, which lies beside its masks."""
    own = [images.with_name(f"{images.name}_GT") / "TRA", images.with_name(f"{images.name}_RES")]
    folders = own if result is None else [result]
    for folder in folders:
        for name in _FORMS:
            if (folder / name).is_file():
                return folder / name
    raise UserError(
        f"{' and '.join(map(str, folders))}: no {' or '.join(_FORMS)}. Each line of such a table "
        "needs four whole numbers: label, first frame, last frame, parent."
    )


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


def _centroids(mask: NDArray[Any]) -> pd.DataFrame:
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


def _tracks(observations: pd.DataFrame, file: Path, first_frame: int) -> pd.DataFrame:
    """Ultrack's columns, from the centroids in each frame and the table of tracks."""
    known = _read_track_file(file)
    _check_labels(observations, known, file)
    table = observations.sort_values(["track_id", "frame"], ignore_index=True)
    # A data set may begin to count anywhere; a plate begins at 0.
    table["t"] = table["frame"] - first_frame
    parent = table["track_id"].map(known["parent"])
    table["parent_track_id"] = parent.where(parent > 0, -1)
    return add_ids(table)[TRACK_COLUMNS]


def _read_track_file(path: Path) -> pd.DataFrame:
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
        raise UserError(f"{path}: label {twice.iloc[0]} is listed twice. Keep one line for each.")
    return table.set_index("label")


def _check_labels(observations: pd.DataFrame, known: pd.DataFrame, file: Path) -> None:
    """Compare the labels in the masks with the table of tracks; all errors at once."""
    problems = Problems()
    spans = observations.groupby("track_id")["frame"].agg(["min", "max"])
    for label in spans.index.difference(known.index):
        problems.add(file, f"label {label} of the masks has no line", "Add it")
    for label in known.index.difference(spans.index):
        problems.add(file, f"label {label} is in no mask", "Remove the line or add the mask")
    both = spans.join(known, how="inner")
    outside = both[(both["min"] < both["begin"]) | (both["max"] > both["end"])]
    for label, row in outside.iterrows():
        what = (
            f"label {label} is listed for frames {row['begin']} to {row['end']}, "
            f"but is seen from {row['min']} to {row['max']}"
        )
        problems.add(file, what, "Correct the line")
    parents = known["parent"]
    for label in known.index[(parents > 0) & ~parents.isin(known.index)]:
        what = f"parent {parents[label]} of label {label} has no line"
        problems.add(file, what, "Add it")
    problems.raise_if_any()
