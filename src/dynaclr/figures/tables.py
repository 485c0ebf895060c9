"""Tables of stages, as figures read them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dynaclr.config import UserError

# Columns of text; a name may be all digits, a date for example, or read "NA".
_TEXT = (
    *("model", "variant", "kind", "task", "label", "estimate", "experiment", "metric", "better"),
    *("first", "second", "per_seed", "true"),
)


def made(path: Path) -> Path:
    """A product that a stage has made.

    Raises
    ------
    UserError
        When it is not there.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run the stage that makes it first.")
    return path


def read_csv(path: Path, *text: str) -> pd.DataFrame:
    """A table of an evaluation; the columns `text` hold text besides those that always do."""
    types = dict.fromkeys((*_TEXT, *text), str)
    return pd.read_csv(made(path), dtype=types, keep_default_na=False, na_values=[""])
