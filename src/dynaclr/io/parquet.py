"""Parquet files of this package, as other stages read them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from dynaclr.io.artifacts import reading


def read_parquet(path: str | Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file.

    Parameters
    ----------
    path : str or Path
    columns : sequence of str, optional
        Columns to read; default: all.

    Returns
    -------
    pyarrow.Table

    Raises
    ------
    UserError
        When the file is missing or damaged, or lacks a column.
    """
    with reading(path), pa.OSFile(str(path)) as file:
        return pq.read_table(file, columns=None if columns is None else list(columns))
