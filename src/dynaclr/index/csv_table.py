"""Reading of a field of view's CSV file into the columns of a tracking table."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from dynaclr.config import Problems
from dynaclr.index.repairs import Repairs, location_of

NEEDED = ("track_id", "t", "y", "x")
OPTIONAL = ("z", "parent_track_id")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_csv(
    path: Path, problems: Problems, repairs: Repairs, name: str
) -> tuple[dict[str, pa.ChunkedArray] | None, NDArray[np.int64]]:
    """Read the columns of a tracking table, with the types that Arrow infers.

    Parameters
    ----------
    path : Path
        CSV file.
    problems : Problems
        Takes every error of the file.
    repairs : Repairs
        Takes its repairs.
    name : str
        Name of the file in `repairs`.

    Returns
    -------
    columns : dict of str to pyarrow.ChunkedArray, or None
        Those of `NEEDED` and `OPTIONAL` that there are; None when there is an error.
    line : ndarray of int64, shape (n,)
        Line of the file that each row comes from.
    """
    # Columns that are not read may be in any encoding; in the others a stray byte is no number.
    data = (
        path.read_bytes().decode("utf-8", errors="replace").encode().removeprefix(_BYTE_ORDER_MARK)
    )
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
            location_of(path, line[np.array(bad) - 1]),
            f"the number of fields is not that of the header ({len(columns)})",
            "Write the table again, or correct these lines",
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
