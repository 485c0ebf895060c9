"""Reading of a field of view's table, text or Parquet, into the columns of a tracking table."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dynaclr.config import Problems, UserError
from dynaclr.index.repairs import Repairs, location_of
from dynaclr.index.track_names import NEEDED, find_columns, unit_of
from dynaclr.io.text_table import TextTable, read_bytes, split_table

_PARQUET = b"PAR1"
# Enough for the header of any table.
_HEAD = 1 << 16
# Spots of TrackMate have three more lines of header: two of names, one of units.
_TRACKMATE_LINES = 3


@dataclass(frozen=True)
class TableColumns:
    """The columns of a tracking table, with the types that Arrow infers.

    Attributes
    ----------
    values : dict of str to pyarrow.ChunkedArray
        Those of `NEEDED` and `OPTIONAL` that there are.
    line : ndarray of int64, shape (n,)
        Line of the file, or row of the Parquet file, that each row comes from.
    unit : {"um", "pixel"} or None
        Unit of the positions, where the file names one.
    """

    values: dict[str, pa.ChunkedArray]
    line: NDArray[np.int64]
    unit: str | None


def is_table(path: Path) -> bool:
    """Whether a file holds a tracking table, as far as its header tells."""
    try:
        head = read_bytes(path, _HEAD)
        header = pq.read_schema(path).names if head[:4] == _PARQUET else split_table(head).header
    except (UserError, pa.ArrowException, OSError):
        return False
    return set(NEEDED) <= set(find_columns(header)[0])


def read_table(path: Path, problems: Problems, repairs: Repairs, name: str) -> TableColumns | None:
    """Read the columns of a tracking table.

    Parameters
    ----------
    path : Path
        Text with a header, as `dynaclr.io.text_table` reads it, or Parquet. Columns may have any
        name of `dynaclr.index.track_names`.
    problems : Problems
        Takes every error of the file.
    repairs : Repairs
        Takes its repairs.
    name : str
        Name of the file in `repairs`.

    Returns
    -------
    TableColumns or None
        None when there is an error.
    """
    try:
        data = read_bytes(path)
        if data.startswith(_PARQUET):
            return _read_parquet(path, data, problems, repairs, name)
        text = split_table(data)
    except UserError as error:
        problems.found.append(str(error))
        return None
    except pa.ArrowException as error:
        problems.add(path, f"cannot be read ({error})", "Write the table again")
        return None
    columns = _columns(text.header, path, problems, repairs, name)
    if columns is None:
        return None
    if text.encoding in ("latin-1", "utf-16"):
        repairs.add("not_utf8", name)
    unit = _unit(columns)
    if columns["x"] == "POSITION_X":
        text, unit = _without_trackmate_lines(text, unit)
    values = _parse(text, columns, path, problems)
    if values is None:
        return None
    return _of_tracks(
        TableColumns(values, text.number, unit), columns, path, problems, repairs, name
    )


def _columns(
    header: list[str], path: Path, problems: Problems, repairs: Repairs, name: str
) -> dict[str, str] | None:
    """Name in the file of each column, or None with errors added."""
    before = len(problems.found)
    columns, twice = find_columns(header)
    missing = [column for column in NEEDED if column not in columns]
    if not header:
        problems.add(path, "the file is empty", "Write the table again")
    elif missing:
        shown = ", ".join(header[:12]) + ", ..." * (len(header) > 12)
        problems.add(
            path,
            f"lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)} "
            f"(it has: {shown[:500]})",
            "Its first line must name columns for track_id, t, y and x; config/README.md lists "
            "the names that are known",
        )
    if twice:
        problems.add(path, f"has the column {', '.join(twice)} twice", "Remove one")
    if "parent_id" in header and "parent_track_id" not in columns:
        problems.add(
            path,
            "has parent_id but no parent_track_id",
            "Add parent_track_id (-1 for none), or remove parent_id if there is no lineage",
        )
    if len(problems.found) > before:
        return None
    if "parent_track_id" not in columns:
        repairs.add("no_parent_column", name)
    return columns


def _unit(columns: dict[str, str]) -> str | None:
    return unit_of(columns["y"]) or unit_of(columns["x"])


def _read_parquet(
    path: Path, data: bytes, problems: Problems, repairs: Repairs, name: str
) -> TableColumns | None:
    file = pq.ParquetFile(io.BytesIO(data))
    columns = _columns(file.schema_arrow.names, path, problems, repairs, name)
    if columns is None:
        return None
    table = file.read(columns=list(columns.values()))
    values = {column: table[given] for column, given in columns.items()}
    found = TableColumns(values, np.arange(1, table.num_rows + 1), _unit(columns))
    return _of_tracks(found, columns, path, problems, repairs, name)


def _without_trackmate_lines(text: TextTable, unit: str | None) -> tuple[TextTable, str | None]:
    """Table without the lines below the header in which POSITION_X is no number; their unit."""
    at, count = text.header.index("POSITION_X"), 0
    for line in text.lines[:_TRACKMATE_LINES]:
        field = [*line.split(text.separator), *[""] * len(text.header)][at]
        if re.search(r"\d", field):
            break
        unit = unit_of(field.strip('" ')) or unit
        count += 1
    return replace(text, lines=text.lines[count:], number=text.number[count:]), unit


def _of_tracks(
    found: TableColumns,
    columns: dict[str, str],
    path: Path,
    problems: Problems,
    repairs: Repairs,
    name: str,
) -> TableColumns | None:
    """Leave out what other programs list beside tracks: detections that are in no track."""
    track, given = found.values["track_id"], columns["track_id"]
    if given == "track_id" or pa.types.is_string(track.type):
        return found
    ids, frames = (pc.count_distinct(found.values[column]).as_py() for column in ("track_id", "t"))
    if given.lower() == "id" and ids == len(track) and frames > 1:
        what = f"{given} differs in every row: it numbers observations, not tracks"
        problems.add(path, what, "Add a column track_id")
        return None
    number = track.cast(pa.float64()).to_numpy()
    tracked = ~(np.isnan(number) | (number == -1))
    if tracked.all():
        return found
    repairs.add("row_without_track", name, found.line[~tracked])
    values = {column: array.filter(pa.array(tracked)) for column, array in found.values.items()}
    return replace(found, values=values, line=found.line[tracked])


def _parse(
    text: TextTable, columns: dict[str, str], path: Path, problems: Problems
) -> dict[str, pa.ChunkedArray] | None:
    """Values of the columns, or None with errors added."""
    if not len(text.lines):
        return dict.fromkeys(columns, pa.chunked_array([pa.array([], pa.int64())]))
    # Columns that are not read may have any name, and the same one twice.
    names = {text.header.index(given): column for column, given in columns.items()}
    given = [names.get(i, f"column {i}") for i in range(len(text.header))]
    body = "\n".join(text.lines).encode()
    try:
        table, bad = _read_with_arrow(body, given, list(columns), text.separator, ".")
        if text.separator != "," and any(pa.types.is_string(field.type) for field in table.schema):
            comma, _ = _read_with_arrow(body, given, list(columns), text.separator, ",")
            # A decimal comma, when all columns are numbers with it.
            if not any(pa.types.is_string(field.type) for field in comma.schema):
                table = comma
    except pa.ArrowInvalid as error:
        problems.add(path, f"cannot be read ({error})", "Write the table again")
        return None
    if table.num_rows + len(bad) != len(text.number):
        problems.add(path, "a quotation mark is not closed on its line", "Write the table again")
        return None
    if bad:
        problems.add(
            location_of(path, text.number[np.array(bad) - 1]),
            f"the number of fields is not that of the header ({len(text.header)})",
            "Write the table again, or correct these lines",
        )
        return None
    return {column: table[column] for column in columns}


def _read_with_arrow(
    body: bytes, names: list[str], wanted: list[str], separator: str, decimal: str
) -> tuple[pa.Table, list[int]]:
    bad: list[int] = []

    def note(row: pyarrow.csv.InvalidRow) -> str:
        bad.append(row.number)
        return "skip"

    # TrackMate has None where others leave a field empty.
    nulls = [*pyarrow.csv.ConvertOptions().null_values, "None"]
    table = pyarrow.csv.read_csv(
        pa.py_buffer(body),
        # One block, so that a column's type is inferred from all of it, in one thread, so that
        # bad rows have numbers.
        read_options=pyarrow.csv.ReadOptions(
            use_threads=False, column_names=names, block_size=len(body) + 1
        ),
        parse_options=pyarrow.csv.ParseOptions(delimiter=separator, invalid_row_handler=note),
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=wanted,
            strings_can_be_null=True,
            null_values=nulls,
            decimal_point=decimal,
            # True and False are text here, not numbers.
            true_values=[],
            false_values=[],
        ),
    )
    return table, bad
