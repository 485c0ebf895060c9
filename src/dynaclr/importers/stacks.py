"""Import of TIFF stacks, one for each channel, and tracking tables of any program."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from dynaclr.config.errors import Problems, UserError
from dynaclr.importers.fields import Field, list_fields
from dynaclr.importers.movies import (
    ImportOptions,
    Movie,
    Progress,
    Reader,
    check_new,
    copy_table,
    import_movies,
)
from dynaclr.importers.tiff import TiffStack
from dynaclr.index.repairs import Repairs
from dynaclr.index.tracks import read_tracks


def import_stacks(
    stacks: Mapping[str, str | Path],
    tracks: str | Path,
    out: str | Path,
    options: ImportOptions,
    *,
    labels: str | Path | None = None,
    fields: str | Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Import TIFF stacks (axes T, Y, X, or Y, X for a still) and their tracking tables.

    Parameters
    ----------
    stacks : mapping of str to path
        Stack of each channel, by channel name. They are never written to.
    tracks : str or Path
        Tracking table or GEFF store, as `dynaclr.index.tracks` reads them; copied as it is.
    out : str or Path
        Folder to make, see `dynaclr.importers.movies.import_movies`.
    options : ImportOptions
        What the images do not say.
    labels : str or Path, optional
        CSV of labels by ``track_id`` and, where they change in time, ``t``.
    fields : str or Path, optional
        Table of fields of view. The paths of `stacks`, `tracks` and `labels` may hold names in
        braces, with it and without: see `dynaclr.importers.fields`.
    progress : callable, optional
        Called with (frames done, frames in all).

    Returns
    -------
    dict
        Path of the entry and counts, JSON-able.

    Raises
    ------
    UserError
        When `out` exists, a stack or table cannot be read, or stacks of a field of view differ in
        extent.
    """
    out = Path(out)
    check_new(out)
    if not stacks:
        raise UserError("import: no stack given. Name at least one channel and its TIFF file.")
    table = None if fields is None else Path(fields)
    listed = list_fields(next(iter(stacks.values())), table, options.condition)
    problems = Problems()
    movies = [_movie(of, stacks, tracks, labels, options, problems) for of in listed]
    problems.raise_if_any()
    return import_movies(movies, list(stacks), out, options, progress)


def _movie(
    field: Field,
    stacks: Mapping[str, str | Path],
    tracks: str | Path,
    labels: str | Path | None,
    options: ImportOptions,
    problems: Problems,
) -> Movie:
    paths = [field.path(path) for path in stacks.values()]
    with ExitStack() as stack:
        opened = [TiffStack(path, stack) for path in paths]
    for other in opened[1:]:
        if other.shape != opened[0].shape:
            raise UserError(
                f"{other.path}: has (T, Y, X) = {other.shape}, but {opened[0].path} has "
                f"{opened[0].shape}. All channels need the same extent."
            )
    table, (n_t, n_y, n_x) = field.path(tracks), opened[0].shape
    # Once more when the index is made; here its errors name the file that was given.
    size = options.pixel_size_um or 1.0
    step_um = (size, size, size) if options.extra.get("tracks_unit") == "um" else None
    first_frame = options.extra.get("tracks_first_frame") or 0
    read_tracks(table, (n_t, 1, n_y, n_x), problems, Repairs(), None, first_frame, step_um)
    return Movie(
        field,
        opened[0].shape,
        np.result_type(*(channel.dtype for channel in opened)),
        partial(_frames, paths),
        lambda folder: copy_table(table, folder),
        None if labels is None else field.path(labels),
        first_frame,
    )


@contextmanager
def _frames(paths: list[Path]) -> Iterator[Reader]:
    with ExitStack() as stack:
        opened = [TiffStack(path, stack) for path in paths]
        yield lambda t: np.stack([channel.read(t) for channel in opened])
