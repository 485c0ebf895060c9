"""Tables as text of any program: packed or not, in any usual encoding, with any usual separator.

What is not clear from the content is never guessed: text that is neither UTF-8 nor marked as UTF-16
is Latin-1, in which every byte is a character, and the caller says so.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynaclr.config.errors import UserError

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# A blank separates columns only where none of the others does.
_SEPARATORS = (",", ";", "\t")


@dataclass(frozen=True)
class TextTable:
    """Header and lines of a table.

    Attributes
    ----------
    header : list of str
        Names of the columns, without blanks around them.
    lines : list of str
        The other lines that hold anything.
    number : ndarray of int64, shape (n,)
        Number of each of these lines in the file; its first line is 1.
    separator : str
    encoding : str
        ``utf-8``, ``utf-8-sig``, ``utf-16`` or ``latin-1``.
    """

    header: list[str]
    lines: list[str]
    number: NDArray[np.int64]
    separator: str
    encoding: str


def read_bytes(path: Path, size: int = -1) -> bytes:
    """Read the first bytes of a file (default: all), of what is in it if it is gzip or zip.

    Raises
    ------
    UserError
        When it is no regular file or cannot be read, or a zip file does not hold a single one.
    """
    if not path.is_file():
        what = "is no regular file" if path.exists() else "does not exist"
        raise UserError(f"{path}: {what}. Give the path of a table.")
    try:
        with path.open("rb") as file:
            magic = file.read(4)
            file.seek(0)
            if magic.startswith(b"\x1f\x8b"):
                with gzip.open(file) as unpacked:
                    return unpacked.read(size)
            if magic == b"PK\x03\x04":
                return _read_zip(path, file, size)
            return file.read(size)
    # zipfile raises the last two for encryption and for methods that it does not know.
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError) as error:
        raise UserError(f"{path}: cannot be read ({error}). Write the table again.") from None


def _read_zip(path: Path, file: IO[bytes], size: int) -> bytes:
    with zipfile.ZipFile(file) as packed:
        # macOS adds files of its own.
        names = [n for n in packed.namelist() if not n.startswith("__MACOSX") and n[-1] != "/"]
        if any(name.startswith("xl/") for name in names):
            raise UserError(f"{path}: is an Excel workbook. Save the sheet as CSV.")
        if len(names) != 1:
            raise UserError(f"{path}: holds {len(names)} files. Leave the table alone in it.")
        with packed.open(names[0]) as unpacked:
            return unpacked.read(size)


def decode(data: bytes) -> tuple[str, str]:
    """Decode text, and name its encoding."""
    for mark, encoding in _MARKS.items():
        if data.startswith(mark):
            return data.decode(encoding, errors="replace"), encoding
    if data[1:2] == b"\0" and data[:1] != b"\0":
        return data.decode("utf-16-le", errors="replace"), "utf-16"
    try:
        return data.decode(), "utf-8"
    except UnicodeDecodeError:
        return data.decode("latin-1"), "latin-1"


def split_table(data: bytes) -> TextTable:
    """Split text into a header and lines, all of one separator.

    Line ends may be those of any system. Lines without any content count as lines but are left out,
    as are the line ``sep=`` of spreadsheets and comments (``#``) above the header. Where all lines
    end with a separator and the header does not, theirs is left out.

    Parameters
    ----------
    data : bytes
        Content of the file, unpacked.

    Returns
    -------
    TextTable
        Its header is empty where there is no content.
    """
    text, encoding = decode(data)
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    filled = [i for i, line in enumerate(lines) if line.strip(" ,;\t\f")]
    if filled and lines[filled[0]].lower().startswith("sep="):
        del filled[0]
    # Comments come before the header, but one with numbers below it is the header (numpy.savetxt).
    while (
        len(filled) > 1
        and lines[filled[0]].startswith("#")
        and not _begins_with_number(lines[filled[1]])
    ):
        del filled[0]
    if not filled:
        return TextTable([], [], np.empty(0, np.int64), ",", encoding)
    first = lines[filled[0]].lstrip("# ")
    body = [lines[i] for i in filled[1:]]
    separator = separator_of(first)
    if separator == " ":
        first, *body = (" ".join(line.split()) for line in (first, *body))
    header = _fields(first, separator)
    if body and len(_fields(body[0], separator)) == len(header) + 1:
        stripped = [line.removesuffix(separator) for line in body]
        if all(len(short) < len(line) for short, line in zip(stripped, body, strict=True)):
            body = stripped
    return TextTable(header, body, np.array(filled[1:], np.int64) + 1, separator, encoding)


def _begins_with_number(line: str) -> bool:
    """Whether a line begins with a number."""
    return re.match(r"[\s\"]*[-+.]?\d", line) is not None


def read_rows(path: Path) -> pd.DataFrame:
    """Read all columns of a table as text.

    Raises
    ------
    UserError
        When it cannot be read, or a row has another length than the header.
    """
    table = split_table(read_bytes(path))
    rows = [_fields(line, table.separator) for line in table.lines]
    for number, row in zip(table.number, rows, strict=True):
        if len(row) != len(table.header):
            raise UserError(
                f"{path}, line {number}: has {len(row)} fields, the header {len(table.header)}. "
                "Correct the line."
            )
    return pd.DataFrame(rows, columns=table.header, dtype=str)


def separator_of(header: str) -> str:
    """Separator that splits a header into the most columns."""
    best = max(_SEPARATORS, key=lambda separator: len(_fields(header, separator)))
    return best if best in header or " " not in header.strip() else " "


def _fields(line: str, separator: str) -> list[str]:
    # No line is this long; a binary file may be, and the reader refuses fields that are longer.
    rows = csv.reader([line[:100_000]], delimiter=separator, skipinitialspace=True)
    return [cast(str, name).strip() for name in next(rows, [])]
