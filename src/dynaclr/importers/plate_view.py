"""A plate (HCS layout) of OME-Zarr images that belong to none, by links instead of copies.

bioformats2raw writes a file of several series as images ``0``, ``1``, ... beside a group ``OME``;
other programs write one store an image.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dynaclr.config.errors import Problems, UserError, did_you_mean
from dynaclr.io.artifacts import atomic_path
from dynaclr.io.plate import Plate
from dynaclr.io.zarr_metadata import ngff_attributes

log = logging.getLogger(__name__)


def make_plate_view(
    images: Path, out: Path, wells: Mapping[str, Sequence[str]] | None = None
) -> Plate:
    """Make a plate whose fields of view are relative symbolic links to images.

    Parameters
    ----------
    images : Path
        Folder that holds the images as folders, or an image itself. It is only read.
    out : Path
        Plate to make.
    wells : mapping of str to list of str, optional
        Well (``row/column``) to the names of its images; default: all are in ``A/1``.

    Raises
    ------
    UserError
        When there are no images, a name is unknown or in two wells, or `out` exists.
    """
    images, out = Path(images), Path(out)
    if out.exists():
        raise UserError(f"{out}: exists already. Remove it, or choose another path.")
    found = _images_in(images)
    wells = wells or {"A/1": list(found)}
    _check_wells(wells, found)
    version = "0.5" if (next(iter(found.values())) / "zarr.json").is_file() else "0.4"
    # Symbolic links on the way do not count for those that are made.
    final = out.parent.resolve() / out.name
    with atomic_path(out) as temporary:
        _write_group(temporary, version, {"plate": _plate_metadata(wells)})
        for well, names in wells.items():
            _write_group(temporary / well.split("/")[0], version, {})
            listed = {"images": [{"path": name} for name in names]}
            _write_group(temporary / well, version, {"well": listed})
            for name in names:
                os.symlink(
                    os.path.relpath(found[name].resolve(), final / well), temporary / well / name
                )
    plate = Plate(out)
    for what, text in plate.summary().items():
        log.info("%s: %s", what, text)
    log.info("%s holds links: move it together with %s", out, images)
    return plate


def _images_in(folder: Path) -> dict[str, Path]:
    """Folders of images by name, in the order of the series or else of the names."""
    try:
        attributes = ngff_attributes(folder)
        if "plate" in attributes:
            raise UserError(f"{folder}: is a plate already. Give it as `data_path`.")
        if "multiscales" in attributes:
            return {"0": folder}
        paths = [folder / str(name) for name in ngff_attributes(folder / "OME").get("series", [])]
        if not paths and folder.is_dir():
            paths = sorted(
                (path for path in folder.iterdir() if "multiscales" in ngff_attributes(path)),
                key=lambda path: (len(path.name), path.name),
            )
    except ValueError as error:
        raise UserError(f"{folder}: {error}. Restore it, or remove what is broken.") from None
    if not paths:
        raise UserError(
            f"{folder}: holds no OME-Zarr image. Give the folder that bioformats2raw wrote, an "
            "image, or a folder of images."
        )
    return {path.name.removesuffix(".zarr").removesuffix(".ome"): path for path in paths}


def _check_wells(wells: Mapping[str, Sequence[str]], found: Mapping[str, Path]) -> None:
    problems = Problems()
    listed = [name for names in wells.values() for name in names]
    for name in dict.fromkeys(listed):
        if name not in found:
            problems.add("wells", f"no image {name!r}", did_you_mean(name, found))
        elif listed.count(name) > 1:
            problems.add("wells", f"image {name!r} is listed twice", "Name it once")
    for well in wells:
        if len([part for part in well.split("/") if part]) != 2:
            problems.add("wells", f"{well!r} is no well", "Write <row>/<column>: A/1")
    problems.raise_if_any()


def _plate_metadata(wells: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    rows, columns = (list(dict.fromkeys(well.split("/")[i] for well in wells)) for i in (0, 1))
    return {
        "rows": [{"name": name} for name in rows],
        "columns": [{"name": name} for name in columns],
        "wells": [
            {
                "path": well,
                "rowIndex": rows.index(well.split("/")[0]),
                "columnIndex": columns.index(well.split("/")[1]),
            }
            for well in wells
        ],
    }


def _write_group(path: Path, version: str, content: dict[str, Any]) -> None:
    import zarr

    for value in content.values():
        value["version"] = version
    if version == "0.4":
        zarr.open_group(path, mode="a", zarr_format=2, attributes=content)
    else:
        zarr.open_group(
            path, mode="a", zarr_format=3, attributes={"ome": {"version": version, **content}}
        )
