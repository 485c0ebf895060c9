"""Columns of tracking tables as Ultrack writes them, which importers and the simulation write."""

from __future__ import annotations

import numpy as np
import pandas as pd

TRACK_COLUMNS = ["track_id", "t", "y", "x", "id", "parent_track_id", "parent_id"]


def add_ids(table: pd.DataFrame) -> pd.DataFrame:
    """Add each observation's own number, and that of the observation which it follows.

    Parameters
    ----------
    table : pandas.DataFrame
        ``track_id, t, y, x, parent_track_id`` (-1 = no parent, the same in a whole track), sorted
        by track and frame.

    Returns
    -------
    pandas.DataFrame
        The table with ``id`` and ``parent_id``: the observation before in the same track; for the
        first of a track, the last one of its parent track; -1 for none.
    """
    number = (table["t"] + 1) * 1_000_000 + table["track_id"]
    last = number[~table["track_id"].duplicated(keep="last")]
    last.index = table.loc[last.index, "track_id"]
    of_parent = table["parent_track_id"].map(last).fillna(-1).astype(np.int64)
    is_first = ~table["track_id"].duplicated()
    return table.assign(
        id=number, parent_id=number.shift(fill_value=-1).where(~is_first, of_parent)
    )
