"""Planes in focus of a stack, from the statistics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dynaclr.data.statistics.normalization import with_plain_names

if TYPE_CHECKING:
    from dynaclr.data.pixels.patch_geometry import FieldsOfView


def leading_markers(fields: FieldsOfView, markers: tuple[str, ...]) -> list[str]:
    """Marker whose focus each field of view follows: the first that it has, empty for none."""
    present = fields.present(markers)
    return [markers[own.argmax()] if own.any() else "" for own in present]


def first_planes(
    fields: FieldsOfView, leading: list[str], statistics: pd.DataFrame, depth: int
) -> NDArray[np.int32]:
    """First plane of a window around the focus for each field of view and frame, shape (F, T).

    Where the statistics know no focus, the window is in the middle of the stack.

    Parameters
    ----------
    fields : FieldsOfView
    leading : list of str
        Marker whose focus it is, for each field of view.
    statistics : DataFrame
        Rows of `dynaclr.data.compute_statistics`.
    depth : int
        Planes of the window.
    """
    table = statistics[statistics["level"] == "frame"]
    n_frames = int(table["t"].max()) + 1
    middle = (fields.n_planes - depth) // 2
    first = np.repeat(middle[:, None], n_frames, axis=1).astype(np.int32)
    if "focus" not in table:
        return first
    keys = pd.DataFrame(fields.names, columns=["experiment", "fov"])
    keys = keys.assign(marker=leading, field=range(len(fields)))
    known = with_plain_names(table[table["focus"] >= 0])
    rows = keys.merge(known, on=["experiment", "fov", "marker"])
    field, focus = rows["field"].to_numpy(), rows["focus"].to_numpy().astype(np.int64)
    last = fields.n_planes[field] - depth
    first[field, rows["t"].to_numpy()] = np.clip(focus - depth // 2, 0, last)
    return first
