"""Commands that import movies in other formats as plates, tracks and experiment entries."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

log = logging.getLogger("dynaclr")


def ctc(
    folder: str,
    out: Path,
    interval_minutes: float | None = None,
    sequence: str = "01",
    channel: str = "Phase",
    name: str | None = None,
    condition: str = "untreated",
    start_hpi: float = 0.0,
    pixel_size_um: float | None = None,
    result: str | None = None,
    labels: str | None = None,
    fields: Path | None = None,
) -> None:
    """Turn Cell Tracking Challenge sequences into a plate, tracks and a ready entry.

    Args:
        folder: Folder that holds <sequence>/tNNN.tif and <sequence>_GT/TRA or <sequence>_RES; with
            names in braces for several fields of view: 'sets/{well}_{field}'.
        out: Folder to make: plate.zarr, tracks, experiment.yaml, annotations.csv.
        interval_minutes: Minutes from one frame to the next; stills need none.
        sequence: Number of the sequence; may hold names in braces.
        channel: Name of the channel in the plate.
        name: Name of the experiment; default: the name of `out`.
        condition: Condition of the cells.
        start_hpi: Hours post infection (or perturbation) at frame 0.
        pixel_size_um: Pixel size in micrometres, if it is known.
        result: Folder of a tracker's masks and table of tracks, instead of the sequence's own.
        labels: CSV of labels with track_id and t (frames numbered as the files are).
        fields: Table of the fields of view, a row each, whose columns the names in braces are;
            well, field and condition say where a field belongs.
    """
    from dynaclr.importers import ImportOptions, import_ctc

    options = ImportOptions(
        interval_minutes,
        name=name,
        start_hpi=start_hpi,
        condition=condition,
        pixel_size_um=pixel_size_um,
    )
    _log_counts(
        import_ctc(
            folder,
            out,
            options,
            sequence=sequence,
            channel=channel,
            result=result,
            labels=labels,
            fields=fields,
        )
    )


def stacks(
    channels: dict[str, str],
    tracks: str,
    out: Path,
    interval_minutes: float | None = None,
    name: str | None = None,
    condition: str = "untreated",
    start_hpi: float = 0.0,
    pixel_size_um: float | None = None,
    tracks_unit: Literal["pixel", "um"] = "pixel",
    tracks_first_frame: int = 0,
    labels: str | None = None,
    fields: Path | None = None,
) -> None:
    """Turn TIFF stacks (T, Y, X), one a channel, and their tracks into a plate and a ready entry.

    Args:
        channels: Channel name to TIFF stack, as {Phase: phase.tif, GFP: gfp.tif}; with names in
            braces for several fields of view: {Phase: 'movies/{well}_{field}_phase.tif'}.
        tracks: Tracking table or GEFF store; may hold names in braces.
        out: Folder to make: plate.zarr, tracks, experiment.yaml, annotations.csv.
        interval_minutes: Minutes from one frame to the next; stills need none.
        name: Name of the experiment; default: the name of `out`.
        condition: Condition of the cells.
        start_hpi: Hours post infection (or perturbation) at frame 0.
        pixel_size_um: Pixel size in micrometres, if it is known.
        tracks_unit: Unit of the positions in the tracking tables.
        tracks_first_frame: Number of the movie's first frame in the tracking tables.
        labels: CSV of labels with track_id and t; may hold names in braces.
        fields: Table of the fields of view, a row each, whose columns the names in braces are;
            well, field and condition say where a field belongs.
    """
    from dynaclr.importers import ImportOptions, import_stacks

    facts = {"tracks_unit": tracks_unit, "tracks_first_frame": tracks_first_frame}
    options = ImportOptions(
        interval_minutes,
        name=name,
        start_hpi=start_hpi,
        condition=condition,
        pixel_size_um=pixel_size_um,
        extra={key: value for key, value in facts.items() if value not in ("pixel", 0)},
    )
    _log_counts(import_stacks(channels, tracks, out, options, labels=labels, fields=fields))


def _log_counts(summary: dict[str, Any]) -> None:
    log.info(
        "%d fields of view, %d frames, %d observations of %d tracks, %d divisions, %d labels: %s",
        *(summary[name] for name in ("fields", "frames", "rows", "tracks", "divisions")),
        summary.get("labels", 0),
        summary["entry"],
    )


def ome_zarr(images: Path, out: Path, wells: dict[str, list[str | int]] | None = None) -> None:
    """Turn OME-Zarr images without a plate into one, by links instead of copies.

    Args:
        images: Folder that bioformats2raw wrote, a folder of images, or an image.
        out: Plate to make; its fields of view are links to the images.
        wells: Well to the names of its images, as {A/1: [0, 1], B/1: [2]}; default: all in A/1.
    """
    from dynaclr.importers.plate_view import make_plate_view

    named = {well: [str(name) for name in names] for well, names in (wells or {}).items()}
    make_plate_view(images, out, named)
