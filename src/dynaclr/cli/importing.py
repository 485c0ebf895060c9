"""Commands that import movies in other formats as plates, tracks and experiment entries."""

from __future__ import annotations

from pathlib import Path


def ctc(
    folder: Path,
    out: Path,
    interval_minutes: float,
    sequence: str = "01",
    channel: str = "Phase",
    name: str | None = None,
    condition: str = "untreated",
    start_hpi: float = 0.0,
    pixel_size_um: float | None = None,
    labels: Path | None = None,
) -> None:
    """Turn a Cell Tracking Challenge sequence into a plate, tracks and a ready entry.

    Args:
        folder: Folder that holds <sequence>/tNNN.tif and <sequence>_GT/TRA.
        out: Folder to make: plate.zarr, tracks, experiment.yaml, annotations.csv.
        interval_minutes: Minutes from one frame to the next.
        sequence: Number of the sequence.
        channel: Name of the channel in the plate.
        name: Name of the experiment; default: the name of `out`.
        condition: Condition of the cells.
        start_hpi: Hours post infection (or perturbation) at frame 0.
        pixel_size_um: Pixel size in micrometres, if it is known.
        labels: CSV of labels with track_id and t.
    """
    from dynaclr.io.ctc_import import import_ctc
    from dynaclr.io.tiff_import import ImportOptions

    options = ImportOptions(
        interval_minutes,
        name=name,
        start_hpi=start_hpi,
        condition=condition,
        pixel_size_um=pixel_size_um,
    )
    import_ctc(folder, out, options, sequence=sequence, channel=channel, labels=labels)


def stacks(
    channels: dict[str, Path],
    tracks: Path,
    out: Path,
    interval_minutes: float,
    name: str | None = None,
    condition: str = "untreated",
    start_hpi: float = 0.0,
    pixel_size_um: float | None = None,
    labels: Path | None = None,
) -> None:
    """Turn TIFF stacks (T, Y, X), one a channel, and a tracks CSV into a plate and a ready entry.

    Args:
        channels: Channel name to TIFF stack, as {Phase: phase.tif, GFP: gfp.tif}.
        tracks: Tracking table (CSV, Ultrack's columns).
        out: Folder to make: plate.zarr, tracks, experiment.yaml, annotations.csv.
        interval_minutes: Minutes from one frame to the next.
        name: Name of the experiment; default: the name of `out`.
        condition: Condition of the cells.
        start_hpi: Hours post infection (or perturbation) at frame 0.
        pixel_size_um: Pixel size in micrometres, if it is known.
        labels: CSV of labels with track_id and t.
    """
    from dynaclr.io.tiff_import import ImportOptions, import_stacks

    options = ImportOptions(
        interval_minutes,
        name=name,
        start_hpi=start_hpi,
        condition=condition,
        pixel_size_um=pixel_size_um,
    )
    import_stacks(channels, tracks, out, options, labels=labels)
