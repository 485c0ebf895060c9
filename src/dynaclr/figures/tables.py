"""Reading of result tables for figures."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dynaclr.config import UserError
from dynaclr.io.metric_tables import TEXT_COLUMNS

_TEXT = (*TEXT_COLUMNS, "label", "first", "second", "true")


def require_file(path: Path) -> Path:
    """Return the path of a product.

    Raises
    ------
    UserError
        When the file does not exist.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run the stage that makes it first.")
    return path


def read_table(path: Path, *text: str) -> pd.DataFrame:
    """Read a CSV table of an evaluation or of a comparison, but for that of metrics.

    Parameters
    ----------
    path : Path
    *text : str
        Columns that hold text besides those that always do.

    Raises
    ------
    UserError
        When the file does not exist.
    """
    types = dict.fromkeys((*_TEXT, *text), str)
    return pd.read_csv(require_file(path), dtype=types, keep_default_na=False, na_values=[""])
