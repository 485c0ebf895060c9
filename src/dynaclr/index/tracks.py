"""Tracking tables: one field of view's CSV or GEFF store in, clean observations out.

What is wrong with a table is either an error, which names file and line and stops the experiment
(all of its errors are reported at once), or a repair, which is counted in ``summary.json`` under
the rule's name with its first examples, and shown in the QC figure. An error leaves more than one
reading of the table, a repair leaves one. In a GEFF store a "line" is a node, named by its id.

==========================  =======  ==============================================================
what is wrong               outcome  rule
==========================  =======  ==============================================================
no folder for a field       repair   ``fov_without_tracks``: labs often track some fields only; the
of view of the plate                 field is left out and named. No table at all is an error.
folder without image        repair   ``tracks_without_fov``: the table is left out and named.
folder without a table      error    Tracking was begun and wrote nothing.
several tables in a folder  error    Which one is right cannot be known. Files whose header names no
                                     tracks (edges, notes) do not count beside one.
file without a header       error    An empty file is a broken write.
text that is not UTF-8      repair   ``not_utf8``: it is read as UTF-16 where it is marked so, else
                                     as Latin-1.
header without rows         repair   ``fov_empty``: a field without cells is possible.
column missing              error    ``track_id``, ``t``, ``y``, ``x`` are needed, under a name of
                                     `dynaclr.index.track_names`.
row of no track in another  repair   ``row_without_track``: programs list detections that they did
program's table                      not track, without an id or with -1; they are left out.
``ID`` differs in each row  error    It numbers observations, not tracks.
no ``parent_track_id``      repair   ``no_parent_column``: no track has a parent. With ``parent_id``
                                     in the table it is an error, for lineages would be missing.
row with other length, or   error    Fields of the row cannot be assigned to columns.
an open quotation mark
graph that is no forest     error    An edge of a GEFF store leads back in time or to no node, or
forward in time                      two lead to one cell.
graph in other units        error
positions in micrometres    repair   ``position_in_um``: the header says so, but not the entry. Or
                                     ``position_may_be_in_um``: all of an experiment lie in the
                                     share of the image where they would lie then. Nothing is
                                     changed; the key `tracks_unit: um` does it.
first frame is 1            repair   ``frames_from_one``: no table has a frame 0. Nothing is
                                     changed; the key `tracks_first_frame: 1` does it.
text instead of a number    error
empty ``track_id``/``t``    error    The row belongs to no cell or no frame.
non-integer or negative     error    Frames and ids are whole numbers from 0; ids below 2**40;
frame or id                          a parent may also be -1 or empty, for none.
frame beyond the movie      error    Table and images do not belong together.
NaN position                repair   ``position_missing``: the row is left out.
position outside the image  repair   ``position_outside``: the row is left out. If most rows of a
                                     field are outside it is an error: units or axes are wrong.
z on a plate of one slice   repair   ``z_on_flat_image``: z is set to 0.
same track and frame twice  repair   ``duplicate_row``: at the same position one row is kept;
                            / error  at different positions it is an error.
two parents in one track    error
parent on some rows only    repair   ``parent_on_some_rows``: the track has that parent.
parent is the track itself  repair   ``own_parent``: no parent (some trackers mark roots so).
parent not in the table     repair   ``parent_missing``: no parent.
parents run in a circle     error    The members are named.
parent starts no earlier    repair   ``parent_starts_after_child``: no parent.
than its child
parent ends no earlier      repair   ``parent_overlaps_child``: no parent; a cell that is still
than the child starts                there has not become its daughters.
well without condition      repair   Left out and named under ``left_out``, with excluded wells and
                                     fields of view.
unknown channel             error    Also when one field of view that is used lacks it.
no observation left         error
==========================  =======  ==============================================================

A position lies inside the image when it lies on a pixel: centres are at whole numbers, so from
-0.5 to size - 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dynaclr.config import Problems
from dynaclr.index.geff import is_geff, read_graph
from dynaclr.index.lineage import TRACK_ID_LIMIT
from dynaclr.index.repairs import Repairs, location_of
from dynaclr.index.table_file import is_table, read_table

# Files of these names are meant as tables, also where their content does not show it.
_SUFFIXES = {".csv", ".tsv", ".parquet", ".geff"}


@dataclass(frozen=True)
class Observations:
    """Observations of one field of view; arrays of one entry a row, in any order.

    Attributes
    ----------
    track_id, t, parent_track_id : ndarray of int64
        `t` in frames; parent -1 for none.
    y, x, z : ndarray of float64
        Position in pixels.
    line : ndarray of int64
        Line of the file, or node of the GEFF store, that the row comes from.
    """

    track_id: NDArray[np.int64]
    t: NDArray[np.int64]
    parent_track_id: NDArray[np.int64]
    y: NDArray[np.float64]
    x: NDArray[np.float64]
    z: NDArray[np.float64]
    line: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.t)

    @classmethod
    def join(cls, parts: Sequence[Observations]) -> Observations:
        """Put observations of several fields of view behind each other."""
        none = np.empty(0, np.int64)
        names = [field.name for field in fields(cls)]
        return cls(**{n: np.concatenate([none, *(getattr(p, n) for p in parts)]) for n in names})

    def take(self, rows: NDArray[Any]) -> Observations:
        """Rows of a boolean mask or of row numbers."""
        return Observations(**{name: values[rows] for name, values in vars(self).items()})


def list_tables(folder: Path) -> list[Path]:
    """Tables and GEFF stores in a field of view's folder, by their content; or the folder itself.

    Where a folder holds none, those that are named like one, or the only file.
    """
    if is_geff(folder):
        return [folder]
    listed = sorted(path for path in folder.glob("*") if not path.name.startswith("."))
    if len(listed) < 2:
        return listed
    tables = [path for path in listed if (is_geff if path.is_dir() else is_table)(path)]
    return tables or [p for p in listed if _SUFFIXES & {s.lower() for s in p.suffixes}]


def find_table(folder: Path, problems: Problems) -> Path | None:
    """Path of the one table of a field of view, or None with an error added."""
    tables = list_tables(folder)
    if len(tables) == 1:
        return tables[0]
    if tables:
        names = ", ".join(p.name for p in tables)
        problems.add(folder, f"holds {len(tables)} tables ({names})", "Leave the one that is right")
        return None
    names = ", ".join(sorted(path.name for path in folder.iterdir())[:8])
    problems.add(
        folder,
        f"holds no tracking table and no GEFF store (it holds: {names or 'nothing'})",
        "Write the field's tracks there, or remove the folder if it was not tracked",
    )
    return None


def read_tracks(
    path: Path,
    shape: tuple[int, int, int, int],
    problems: Problems,
    repairs: Repairs,
    name: str | None = None,
    first_frame: int = 0,
    step_um: tuple[float, float, float] | None = None,
) -> Observations | None:
    """Read one field of view's tracking table.

    Parameters
    ----------
    path : Path
        Table with ``track_id``, ``t``, ``y``, ``x``, optional ``z`` and ``parent_track_id``:
        `dynaclr.index.table_file`; other columns are not read. Or a GEFF store:
        `dynaclr.index.geff`.
    shape : tuple of int
        Frames, slices, height and width of the image, (T, Z, Y, X).
    problems : Problems
        Takes every error of the file.
    repairs : Repairs
        Takes every repair of a row.
    name : str, optional
        Name of the file in `repairs`; default: its path.
    first_frame : int
        Number of the movie's first frame in the table.
    step_um : tuple of float, optional
        Pixel size along (z, y, x) in micrometres, when positions are in micrometres.

    Returns
    -------
    Observations or None
        None when there is an error. Links between tracks are not checked here.
    """
    name = name or str(path)
    before = len(problems.found)
    if path.is_dir():
        table = read_graph(path, problems)
    else:
        table = read_table(path, problems, repairs, name)
    if table is None:
        return None
    line = table.line
    if not len(line):
        repairs.add("fov_empty", name)
    if table.unit == "um" and step_um is None:
        if path.is_dir():
            problems.add(
                path, "its positions are in micrometres", "Give the entry `tracks_unit: um`"
            )
        repairs.add("position_in_um", name)
    frames = (first_frame, first_frame + shape[0])
    values: dict[str, NDArray[Any]] = {}
    for column, given in table.values.items():
        numbers = _numbers(given, column, line, path, problems)
        if numbers is not None and column in ("track_id", "t", "parent_track_id"):
            numbers = _whole(numbers, column, frames, line, path, problems)
        if numbers is not None:
            values[column] = numbers
    if len(problems.found) > before:
        return None
    none, flat = np.full(len(line), -1, np.int64), np.zeros(len(line))
    position = {
        axis: values.get(axis, flat).astype(np.float64) / step
        for axis, step in zip("zyx", step_um or (1.0, 1.0, 1.0), strict=True)
    }
    rows = Observations(
        track_id=values["track_id"],
        t=values["t"] - first_frame,
        parent_track_id=values.get("parent_track_id", none),
        **position,
        line=line,
    )
    rows = _inside(rows, shape, path, name, problems, repairs)
    rows = _once(rows, path, name, problems, repairs)
    return rows if len(problems.found) == before else None


def _numbers(
    column: pa.ChunkedArray, name: str, line: NDArray[np.int64], path: Path, problems: Problems
) -> NDArray[Any] | None:
    """Numbers of a column: int64 where all are whole, else float64 with NaN for empty."""
    kind = column.type
    if pa.types.is_integer(kind) and not column.null_count:
        whole: NDArray[np.int64] = column.to_numpy()
        return whole
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
        # Whole numbers that are no ids are rounded; they are out of range all the same.
        rounded = column.cast(pa.float64(), safe=False)
        filled: NDArray[np.float64] = pc.fill_null(rounded, np.nan).to_numpy()
        return filled
    text = pd.Series(column.to_pylist(), dtype=object)
    wrong = ~np.isfinite(pd.to_numeric(text.map(_text), errors="coerce")) & text.notna()
    # Forms that one parser takes for a number and the other does not: name the whole column.
    lines = line[wrong] if wrong.any() else line
    value = text[wrong].iloc[0] if wrong.any() else text.dropna().iloc[0]
    problems.add(location_of(path, lines), f"{name} is no number ({value!r})", "Correct it")
    return None


def _text(value: Any) -> Any:
    return value if isinstance(value, str) or value is None else repr(value)


def _whole(
    values: NDArray[Any],
    name: str,
    frames: tuple[int, int],
    line: NDArray[np.int64],
    path: Path,
    problems: Problems,
) -> NDArray[np.int64] | None:
    """Ids or frames (of the range `frames`) as int64, or None with errors added."""
    optional = name == "parent_track_id"
    absent = np.isnan(values)
    lowest, limit = frames if name == "t" else (-1 if optional else 0, TRACK_ID_LIMIT)
    with np.errstate(invalid="ignore"):
        broken = ~absent & (values % 1 != 0)
        low = ~absent & ~broken & (values < lowest)
        high = ~absent & ~broken & (values >= limit)
    too_high = (
        f"frame is beyond the movie, whose last frame is {limit - 1}"
        if name == "t"
        else f"{name} is {limit} or more"
    )
    from_lowest = f"Number from {max(lowest, 0)}" + ", -1 for none" * optional
    too_high_fix = "Renumber the tracks"
    if name == "t":
        too_high_fix = "Give the table that belongs to these images"
        # Nothing in the first frame, and the last frame is one too many.
        if lowest == 0 and high.any() and not np.any(values < 1) and values[high].max() == limit:
            too_high_fix = "If frames are numbered from 1, give the entry `tracks_first_frame: 1`"
    checks = [
        (absent & (not optional), f"{name} is empty", "Fill it in or remove the row"),
        (broken, f"{name} is no whole number", "Give whole numbers"),
        (low, f"{name} is below {lowest}", from_lowest),
        (high, too_high, too_high_fix),
    ]
    for mask, what, fix in checks:
        if mask.any():
            first = values[mask][0]
            example = "" if np.isnan(first) else f" (it says {first:.17g})"
            problems.add(location_of(path, line[mask]), what + example, fix)
    if any(mask.any() for mask, _, _ in checks):
        return None
    return np.where(absent, -1, values).astype(np.int64)


def _inside(
    rows: Observations,
    shape: tuple[int, int, int, int],
    path: Path,
    name: str,
    problems: Problems,
    repairs: Repairs,
) -> Observations:
    """Rows whose position is known and lies in the image."""
    size = dict(zip("zyx", shape[1:], strict=True))
    if size["z"] == 1 and np.any(rows.z != 0):
        repairs.add("z_on_flat_image", name)
        rows = Observations(**{**vars(rows), "z": np.zeros(len(rows))})
    missing = ~(np.isfinite(rows.y) & np.isfinite(rows.x) & np.isfinite(rows.z))
    if missing.any():
        repairs.add("position_missing", name, rows.line[missing])
        rows = rows.take(~missing)
    outside = np.zeros(len(rows), bool)
    for axis, extent in size.items():
        position = getattr(rows, axis)
        outside |= (position < -0.5) | (position > extent - 0.5)
    if 2 * np.count_nonzero(outside) > len(rows):
        i = np.flatnonzero(outside)[0]
        problems.add(
            location_of(path, rows.line[outside]),
            f"most positions ({np.count_nonzero(outside)} of {len(rows)}) lie outside the image of "
            f"{size['y']} x {size['x']} pixels (y, x), such as y = {rows.y[i]:g}, "
            f"x = {rows.x[i]:g}, z = {rows.z[i]:g}",
            "Give y, x (and z) in pixels of this image, in this order",
        )
    elif outside.any():
        repairs.add("position_outside", name, rows.line[outside])
    return rows.take(~outside)


def _once(
    rows: Observations, path: Path, name: str, problems: Problems, repairs: Repairs
) -> Observations:
    """Rows with each (track, frame) once; of equal rows one that names a parent is kept."""
    order = np.lexsort((rows.line, -rows.parent_track_id, rows.t, rows.track_id))
    rows = rows.take(order)
    again = np.zeros(len(rows), bool)
    again[1:] = (np.diff(rows.track_id) == 0) & (np.diff(rows.t) == 0)
    if not again.any():
        return rows
    moved = np.zeros(len(rows), bool)
    for axis in "zyx":
        moved[1:] |= np.diff(getattr(rows, axis)) != 0
    clash = np.flatnonzero(again & moved)
    if clash.size:
        first = clash[0]
        problems.add(
            location_of(path, rows.line[np.union1d(clash, clash - 1)]),
            "the same track and frame at different positions, such as track "
            f"{rows.track_id[first]} in frame {rows.t[first]}",
            "Give each cell its own track_id",
        )
    repairs.add("duplicate_row", name, rows.line[again])
    return rows.take(~again)
