"""Tracking tables: one field of view's CSV or GEFF store in, clean observations out.

Each fault is either an error, which names file and line and stops the experiment (all of its
errors are told at once), or a repair, which is counted in ``summary.json`` under the rule's name
with the first places where it was needed, and shown in the QC figure. Errors are faults that leave
more than one reading of the table; repairs are faults that leave one. In a GEFF store a "line" is
a node, named by its id.

==========================  =======  ==============================================================
fault                       outcome  rule
==========================  =======  ==============================================================
no folder for a field       repair   ``fov_without_tracks``: labs often track some fields only; the
of view of the plate                 field is left out and named. No table at all is an error.
folder without image        repair   ``tracks_without_fov``: the table is left out and named.
folder without a table      error    Tracking was begun and wrote nothing.
several tables in a folder  error    Which one holds cannot be known.
file without a header       error    An empty file is a broken write.
header without rows         repair   ``fov_empty``: a field without cells is possible.
column missing              error    ``track_id``, ``t``, ``y``, ``x`` are needed.
no ``parent_track_id``      repair   ``no_parent_column``: no track has a parent. With ``parent_id``
                                     in the table it is an error, for the lineage would be lost.
row with other length, or   error    Cells of the row cannot be told apart.
an open quotation mark
graph that is no forest     error    An edge of a GEFF store leads back in time or to no node, or
forward in time                      two lead to one cell.
graph not in pixels         error
text where a number stands  error
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

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from numpy.typing import NDArray

from dynaclr.config import Problems
from dynaclr.index.geff import is_geff, read_graph
from dynaclr.index.lineage import TRACK_ID_LIMIT

NEEDED = ("track_id", "t", "y", "x")
OPTIONAL = ("z", "parent_track_id")
SUFFIX = ".csv"
EXAMPLES = 5
_BOM = b"\xef\xbb\xbf"


@dataclass
class Repairs:
    """Counts what was mended, rule by rule, with the first places.

    Attributes
    ----------
    counts : dict of str to int
        Times each rule was needed.
    examples : dict of str to list of dict
        ``file``, and where a row is at fault ``line`` (the header is line 1), or ``node`` of a
        GEFF store.
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, rule: str, file: str, lines: Sequence[int] | NDArray[np.integer] = ()) -> None:
        """Count a repair of `file`: once for each of `lines`, or once for the whole file."""
        listed = sorted(int(line) for line in lines)
        self.counts[rule] = self.counts.get(rule, 0) + (len(listed) or 1)
        kind = "line" if file.endswith(SUFFIX) else "node"
        places = [{"file": file, kind: line} for line in listed] or [{"file": file}]
        shown = self.examples.setdefault(rule, [])
        shown += places[: EXAMPLES - len(shown)]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content: rule to ``count`` and ``examples``."""
        return {
            rule: {"count": count, "examples": self.examples[rule]}
            for rule, count in sorted(self.counts.items())
        }


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

    def take(self, rows: NDArray[Any]) -> Observations:
        """Rows of a boolean mask or of row numbers."""
        return Observations(**{name: values[rows] for name, values in vars(self).items()})


def place_of(path: Path, lines: Sequence[int] | NDArray[np.integer]) -> str:
    """Tell a table and its lines (nodes of a GEFF store): all of a few, the first ones of many."""
    listed = sorted(int(line) for line in lines)
    kind = "line" if path.suffix == SUFFIX else "node"
    shown = ", ".join(map(str, listed[:EXAMPLES]))
    more = f" and {len(listed) - EXAMPLES} more" if len(listed) > EXAMPLES else ""
    return f"{path}, {kind}{'s' if len(listed) > 1 else ''} {shown}{more}"


def list_tables(folder: Path) -> list[Path]:
    """CSVs and GEFF stores of a field of view: what lies in its folder, or the folder itself."""
    if is_geff(folder):
        return [folder]
    listed = [*folder.glob(f"*{SUFFIX}"), *folder.glob("*.geff")]
    return sorted(path for path in listed if not path.name.startswith("."))


def find_table(folder: Path, problems: Problems) -> Path | None:
    """Path of the one table of a field of view, or None with a fault added."""
    tables = list_tables(folder)
    if len(tables) == 1:
        return tables[0]
    if tables:
        names = ", ".join(p.name for p in tables)
        problems.add(folder, f"holds {len(tables)} tables ({names})", "Leave the one that holds")
    else:
        problems.add(
            folder,
            "holds no CSV file and no GEFF store",
            "Write the field's tracks there, or remove the folder if it was not tracked",
        )
    return None


def read_tracks(
    path: Path,
    shape: tuple[int, int, int, int],
    problems: Problems,
    repairs: Repairs,
    name: str | None = None,
) -> Observations | None:
    """Read one field of view's tracking table.

    Parameters
    ----------
    path : Path
        CSV in Ultrack's form: ``track_id``, ``t``, ``y``, ``x``, optional ``z`` and
        ``parent_track_id``; other columns are not read. Or a GEFF store: `dynaclr.index.geff`.
    shape : tuple of int
        Frames, slices, height and width of the image, (T, Z, Y, X).
    problems : Problems
        Takes every error of the file.
    repairs : Repairs
        Takes every repair of a row.
    name : str, optional
        Name of the file in `repairs`; default: its path.

    Returns
    -------
    Observations or None
        None when there is an error. Links between tracks are not checked here.
    """
    name = name or str(path)
    before = len(problems.found)
    if path.is_dir():
        table, line = read_graph(path, problems)
    else:
        table, line = _read_columns(path, problems, repairs, name)
    if table is None:
        return None
    if not len(line):
        repairs.add("fov_empty", name)
    values = {column: _numbers(table[column], column, line, path, problems) for column in table}
    for column in ("track_id", "t", "parent_track_id"):
        if values.get(column) is not None:
            values[column] = _whole(values[column], column, shape[0], line, path, problems)
    if len(problems.found) > before:
        return None
    none = np.full(len(line), -1, np.int64)
    rows = Observations(
        track_id=values["track_id"],
        t=values["t"],
        parent_track_id=values.get("parent_track_id", none),
        y=values["y"].astype(np.float64),
        x=values["x"].astype(np.float64),
        z=values.get("z", np.zeros(len(line))).astype(np.float64),
        line=line,
    )
    rows = _inside(rows, shape, path, name, problems, repairs)
    rows = _once(rows, path, name, problems, repairs)
    return rows if len(problems.found) == before else None


def _read_columns(
    path: Path, problems: Problems, repairs: Repairs, name: str
) -> tuple[dict[str, pa.ChunkedArray] | None, NDArray[np.int64]]:
    """Columns as Arrow inferred them, and the line of each row."""
    # Columns that are not read may be in any encoding; in the others a stray byte is no number.
    data = path.read_bytes().decode("utf-8", errors="replace").encode().removeprefix(_BOM)
    lines = data.splitlines(keepends=True)
    # Blank lines hold no row but count as lines.
    filled = [i for i, text in enumerate(lines) if text.strip(b"\r\n")]
    columns = _header(lines[filled[0]]) if filled else []
    if not _has_columns(columns, path, problems):
        return None, np.empty(0, np.int64)
    wanted = [column for column in (*NEEDED, *OPTIONAL) if column in columns]
    if "parent_track_id" not in wanted:
        repairs.add("no_parent_column", name)
    line = np.array(filled[1:], np.int64) + 1
    if not len(line):
        return dict.fromkeys(wanted, pa.chunked_array([pa.array([], pa.int64())])), line
    try:
        table, bad = _parse(b"".join(lines[filled[0] + 1 :]), columns, wanted)
    except pa.ArrowInvalid as error:
        problems.add(path, f"cannot be read ({error})", "Write the table again")
        return None, line
    if table.num_rows + len(bad) != len(line):
        problems.add(path, "a quotation mark is not closed on its line", "Write the table again")
        return None, line
    if bad:
        problems.add(
            place_of(path, line[np.array(bad) - 1]),
            f"the number of fields is not that of the header ({len(columns)})",
            "Write the table again, or mend these lines",
        )
        return None, line
    return {column: table[column] for column in wanted}, line


def _header(header: bytes) -> list[str]:
    # No header is this long; a binary file may be, and the reader refuses fields that are longer.
    return [column.strip() for column in next(csv.reader([header.decode()[:100_000]]))]


def _has_columns(columns: list[str], path: Path, problems: Problems) -> bool:
    found = len(problems.found)
    if not columns:
        problems.add(path, "the file is empty", "Write the table again")
        return False
    missing = [column for column in NEEDED if column not in columns]
    if missing:
        problems.add(
            path,
            f"lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} "
            f"(it has: {', '.join(columns[:12])})",
            "Name them so in the header, with commas between",
        )
    twice = [c for c in (*NEEDED, *OPTIONAL) if columns.count(c) > 1]
    if twice:
        problems.add(path, f"has the column {', '.join(twice)} twice", "Remove one")
    if "parent_id" in columns and "parent_track_id" not in columns:
        problems.add(
            path,
            "has parent_id but no parent_track_id",
            "Add parent_track_id (-1 for none), or remove parent_id if there is no lineage",
        )
    return len(problems.found) == found


def _parse(body: bytes, columns: list[str], wanted: list[str]) -> tuple[pa.Table, list[int]]:
    bad: list[int] = []

    def note(row: pyarrow.csv.InvalidRow) -> str:
        bad.append(row.number)
        return "skip"

    # Columns that are not read may have any name, and the same one twice.
    names = [c if c in wanted else f"column {i}" for i, c in enumerate(columns)]
    table = pyarrow.csv.read_csv(
        pa.py_buffer(body),
        # One block, so that a column's type is inferred from all of it, in one thread, so that
        # bad rows have numbers.
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, column_names=names, block_size=len(body) + 1
        ),
        parse_options=pyarrow.csv.ParseOptions(invalid_row_handler=note),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=wanted,
            strings_can_be_null=True,
            # True and False are text here, not numbers.
            true_values=[],
            false_values=[],
        ),
    )
    return table, bad


def _numbers(
    column: pa.ChunkedArray, name: str, line: NDArray[np.int64], path: Path, problems: Problems
) -> NDArray[Any] | None:
    """Numbers of a column: int64 where all are whole, else float64 with NaN for empty."""
    kind = column.type
    if pa.types.is_integer(kind) and not column.null_count:
        return column.to_numpy()
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
        return pc.fill_null(column.cast(pa.float64()), np.nan).to_numpy()
    text = pd.Series(column.to_pylist(), dtype=object)
    wrong = ~np.isfinite(pd.to_numeric(text.map(_text), errors="coerce")) & text.notna()
    # Forms that one parser takes for a number and the other does not: name the whole column.
    lines = line[wrong] if wrong.any() else line
    value = text[wrong].iloc[0] if wrong.any() else text.dropna().iloc[0]
    problems.add(place_of(path, lines), f"{name} is no number ({value!r})", "Correct it")
    return None


def _text(value: Any) -> Any:
    return value if isinstance(value, str) or value is None else repr(value)


def _whole(
    values: NDArray[Any],
    name: str,
    n_frames: int,
    line: NDArray[np.int64],
    path: Path,
    problems: Problems,
) -> NDArray[np.int64] | None:
    """Ids or frames as int64, or None with faults added."""
    optional = name == "parent_track_id"
    absent = np.isnan(values)
    lowest, limit = (-1 if optional else 0), (n_frames if name == "t" else TRACK_ID_LIMIT)
    with np.errstate(invalid="ignore"):
        broken = ~absent & (values % 1 != 0)
        low = ~absent & ~broken & (values < lowest)
        high = ~absent & ~broken & (values >= limit)
    too_high = (
        f"frame is beyond the movie, whose last frame is {n_frames - 1}"
        if name == "t"
        else f"{name} is {limit} or more"
    )
    checks = [
        (absent & (not optional), f"{name} is empty", "Fill it in or remove the row"),
        (broken, f"{name} is no whole number", "Give whole numbers"),
        (low, f"{name} is below {lowest}", "Number from 0" + (", -1 for none" * optional)),
        (
            high,
            too_high,
            "Give the table that belongs to these images" if name == "t" else "Renumber the tracks",
        ),
    ]
    for mask, what, fix in checks:
        if mask.any():
            first = values[mask][0]
            example = "" if np.isnan(first) else f" (it says {first:.17g})"
            problems.add(place_of(path, line[mask]), what + example, fix)
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
            place_of(path, rows.line[outside]),
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
            place_of(path, rows.line[np.union1d(clash, clash - 1)]),
            "the same track and frame at different positions, such as track "
            f"{rows.track_id[first]} in frame {rows.t[first]}",
            "Give each cell its own track_id",
        )
    repairs.add("duplicate_row", name, rows.line[again])
    return rows.take(~again)
