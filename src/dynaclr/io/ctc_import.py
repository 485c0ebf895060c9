"""Import of sequences of the Cell Tracking Challenge: images, label masks and ``man_track.txt``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynaclr.config.errors import Problems, UserError
from dynaclr.io.tiff_import import ImportOptions, Movie, Progress, import_movie
from dynaclr.io.track_columns import TRACK_COLUMNS, add_ids


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
    ``<sequence>_GT/TRA/man_trackNNN.tif``, its parent is in ``man_track.txt`` beside it
    (https://celltrackingchallenge.net, "Annotations").

    Parameters
    ----------
    folder : str or Path
        Folder of the data set. It is never written to.
    out, options, labels, progress
        As in `dynaclr.io.tiff_import.import_stacks`.
    sequence : str
        Number of the sequence, as in the folder's name.
    channel : str
        Name to give to the only channel.

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
    images, masks = _numbered(folder / sequence, "t"), _numbered(truth, "man_track")
    if images.keys() != masks.keys():
        raise UserError(
            f"{folder}: frames {sorted(images.keys() ^ masks.keys())[:8]} have an image or a label "
            "mask, but not both. Add the missing files."
        )
    frames = [images[number] for number in sorted(images)]
    first = _read_plane(frames[0])
    movie = Movie(
        channels=(channel,),
        shape=(len(frames), *first.shape),
        dtype=first.dtype,
        read=lambda t: _read_plane(frames[t], first.shape)[None],
    )

    def write_tracks(path: Path) -> None:
        tables = [
            _centroids(_read_plane(masks[number], first.shape)).assign(frame=number)
            for number in sorted(masks)
        ]
        table = _tracks(pd.concat(tables), truth / "man_track.txt", first_frame=min(masks))
        table.to_csv(path, index=False)

    return import_movie(movie, write_tracks, Path(out), options, labels, progress)


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


def _read_plane(path: Path, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
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


def _tracks(observations: pd.DataFrame, man_track: Path, first_frame: int) -> pd.DataFrame:
    """Ultrack's columns, from the centroids in each frame and the table of tracks."""
    known = _read_man_track(man_track)
    _check_labels(observations, known, man_track)
    table = observations.sort_values(["track_id", "frame"], ignore_index=True)
    # A data set may begin to count anywhere; a plate begins at 0.
    table["t"] = table["frame"] - first_frame
    parent = table["track_id"].map(known["parent"])
    table["parent_track_id"] = parent.where(parent > 0, -1)
    return add_ids(table)[TRACK_COLUMNS]


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
        raise UserError(f"{path}: label {twice.iloc[0]} is listed twice. Keep one line for each.")
    return table.set_index("label")


def _check_labels(observations: pd.DataFrame, known: pd.DataFrame, man_track: Path) -> None:
    """Compare the labels in the masks with the table of tracks; all errors at once."""
    problems = Problems()
    spans = observations.groupby("track_id")["frame"].agg(["min", "max"])
    for label in spans.index.difference(known.index):
        problems.add(man_track, f"label {label} of the masks has no line", "Add it")
    for label in known.index.difference(spans.index):
        problems.add(man_track, f"label {label} is in no mask", "Remove the line or add the mask")
    both = spans.join(known, how="inner")
    outside = both[(both["min"] < both["begin"]) | (both["max"] > both["end"])]
    for label, row in outside.iterrows():
        what = (
            f"label {label} is listed for frames {row['begin']} to {row['end']}, "
            f"but is seen from {row['min']} to {row['max']}"
        )
        problems.add(man_track, what, "Correct the line")
    parents = known["parent"]
    for label in known.index[(parents > 0) & ~parents.isin(known.index)]:
        what = f"parent {parents[label]} of label {label} has no line"
        problems.add(man_track, what, "Add it")
    problems.raise_if_any()
