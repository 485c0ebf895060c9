"""Metric tables, as the comparison, the figures and the report read them."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from dynaclr.config import UserError
from dynaclr.config.metrics import METRICS
from dynaclr.io.artifacts import reading

# Columns of text: a name may be all digits, a date for example, or read "NA".
TEXT_COLUMNS = ("model", "variant", "kind", "task", "estimate", "experiment", "metric", "better")


def read_metrics(path: Path, *text: str) -> pd.DataFrame:
    """Read ``metrics.csv`` of an evaluation or of a comparison.

    Parameters
    ----------
    path : Path
    *text : str
        Columns that hold text besides `TEXT_COLUMNS`.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    UserError
        When the table has a metric that this version does not know.
    """
    types = dict.fromkeys((*TEXT_COLUMNS, *text), str)
    with reading(path):
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
        named = table["metric"]
    unknown = set(named.str.partition(":")[0]) - set(METRICS)
    if unknown:
        raise UserError(
            f"{path}: holds {', '.join(sorted(unknown))}, unknown to this version. "
            "Evaluate the model again."
        )
    return table
