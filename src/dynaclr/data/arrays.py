"""Opening the pixel arrays of a plate with tensorstore, Zarr 2 and Zarr 3 alike."""

from __future__ import annotations

from typing import Any

import tensorstore as ts

from dynaclr.experiments import Position, UserError

_DRIVERS = {2: "zarr", 3: "zarr3"}


def context(cache_bytes: int = 0) -> ts.Context:
    """Make a tensorstore context whose cache of decoded chunks holds at most `cache_bytes`."""
    return ts.Context({"cache_pool": {"total_bytes_limit": cache_bytes}})


def open_array(position: Position, context: ts.Context, level: int = 0) -> ts.TensorStore:
    """Open one resolution level of a field of view for reading, axes (T, C, Z, Y, X).

    Raises
    ------
    UserError
        When the array cannot be opened, naming its folder.
    """
    path = position.levels[level].path
    spec: dict[str, Any] = {
        "driver": _DRIVERS[position.zarr_format],
        "kvstore": {"driver": "file", "path": str(path.absolute())},
        # The metadata of a plate does not change while it is read.
        "recheck_cached_metadata": False,
        "recheck_cached_data": False,
    }
    try:
        return ts.open(spec, context=context, read=True, open=True).result()
    except ValueError as error:
        raise UserError(
            f"{path}: cannot open field of view {position.name} ({error}). Copy the plate again."
        ) from None
