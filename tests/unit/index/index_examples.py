"""Tiny experiments on disk: plates without pixels, and tables of one family of cells."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from iohub.ngff import open_ome_zarr

from dynaclr.config import ExperimentConfig

HEADER = "track_id,t,y,x,parent_track_id"
SHAPE = (10, 2, 1, 40, 60)
# One cell that divides in frame 3, and one that does not; the second daughter skips a frame.
FAMILY = pd.DataFrame(
    [(1, t, 10.0, 10.0 + t, -1) for t in range(4)]
    + [(2, t, 8.0, 10.0 + t, 1) for t in range(4, 10)]
    + [(3, t, 12.0, 10.0 + t, 1) for t in (4, 5, 7, 8)]
    + [(7, t, 30.0, 50.0, -1) for t in range(2, 6)],
    columns=HEADER.split(","),
)
TWO_WELLS = {"A/1/0": FAMILY, "A/1/1": FAMILY, "B/1/0": FAMILY, "B/1/1": FAMILY}


def write_plate(path: Path, fovs: Mapping[str, Any], version: str, channels: list[str]) -> None:
    """Write a plate without pixels; `fovs` maps names to (T, C, Z, Y, X) or None for the usual."""
    with open_ome_zarr(
        path, layout="hcs", mode="w-", channel_names=channels, version=version
    ) as plate:
        for name, shape in fovs.items():
            position = plate.create_position(*name.split("/"))
            position.create_zeros("0", shape or SHAPE, dtype="uint16", chunks=(1, 1, 1, 40, 60))


def make_experiment(
    root: Path,
    tables: Mapping[str, pd.DataFrame | str | None],
    name: str = "one",
    version: str = "0.4",
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    **entry: Any,
) -> ExperimentConfig:
    """Write an experiment under `root`, from a table (CSV text or frame) for each field of view."""
    folder = root / name
    fovs = dict.fromkeys(tables) | dict(shapes or {})
    write_plate(folder / "plate.zarr", fovs, version, ["Phase", "GFP"])
    (folder / "tracks").mkdir()
    for fov, table in tables.items():
        if table is not None:
            path = folder / "tracks" / fov / "tracks.csv"
            path.parent.mkdir(parents=True)
            path.write_text(table if isinstance(table, str) else table.to_csv(index=False))
    content = {
        "name": name,
        "data_path": folder / "plate.zarr",
        "tracks_path": folder / "tracks",
        "channels": [
            {"name": "Phase", "marker": "phase"},
            {"name": "GFP", "marker": "reporter"},
        ],
        "condition_wells": {"mock": sorted({fov.rsplit("/", 1)[0] for fov in tables})},
        "interval_minutes": 30,
        "start_hpi": 2,
    }
    return ExperimentConfig.model_validate(content | entry)
