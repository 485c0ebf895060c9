"""Reading of result tables for figures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dynaclr.io.artifacts import reading
from dynaclr.io.metric_tables import TEXT_COLUMNS

_TEXT = (*TEXT_COLUMNS, "label", "first", "second", "true")


def read_table(path: Path, *text: str) -> pd.DataFrame:
    """Read a CSV table of a stage, but for that of an evaluation's metrics.

    Parameters
    ----------
    path : Path
    *text : str
        Columns that hold text besides those that always do.

    Raises
    ------
    UserError
        When the file is missing or damaged.
    """
    types = dict.fromkeys((*_TEXT, *text), str)
    with reading(path):
        return pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
