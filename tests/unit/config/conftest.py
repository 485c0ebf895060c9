"""A tiny project on disk: two plates, tracks, and a configuration."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from dynaclr.io.plate_writer import PlateLayout, new_plate


def write_experiment(folder: Path, name: str, ngff: str = "0.4") -> dict:
    """Write a plate of two wells and its tracks; return the entry."""
    layout = PlateLayout(ngff=ngff, chunk_yx=16)
    with new_plate(
        folder / f"{name}.zarr",
        positions=["A/1/0", "B/1/0"],
        channels=["Phase3D", "GFP"],
        shape_TZYX=(3, 1, 32, 32),
        dtype=np.uint16,
        interval_minutes=30,
        pixel_size_um=0.5,
        layout=layout,
    ) as plate:
        for position in plate.positions:
            with plate.position(position) as frames:
                for t in range(3):
                    frames.append(np.full((2, 1, 32, 32), t + 1, np.uint16))
    for fov in ("A/1/0", "B/1/0"):
        tracks = folder / f"{name}-tracks" / fov
        tracks.mkdir(parents=True)
        rows = "\n".join(f"1,{t},16,16,-1" for t in range(3))
        (tracks / "tracks.csv").write_text(f"track_id,t,y,x,parent_track_id\n{rows}\n")
    return {
        "name": name,
        "data_path": f"{name}.zarr",
        "tracks_path": f"{name}-tracks",
        "channels": [
            {"name": "Phase3D", "marker": "phase"},
            {"name": "GFP", "marker": "reporter"},
        ],
        "condition_wells": {"mock": ["A/1"], "infected": ["B/1"]},
        "interval_minutes": 30,
        "start_hpi": 2,
    }


@pytest.fixture
def project(tmp_path: Path) -> dict:
    """Content of a sound project configuration whose files lie in ``tmp_path``."""
    (tmp_path / "training.yaml").write_text("model: {}\n")
    return {
        "experiments": [
            write_experiment(tmp_path, "one"),
            write_experiment(tmp_path, "two", "0.5"),
            write_experiment(tmp_path, "three"),
        ],
        "collections": {"both": {"train": ["one"], "validation": ["two"]}},
        "models": {"small": {"collection": "both", "training": "training.yaml"}},
        "evaluation": {"experiments": ["three"], "tasks": [{"name": "task", "label": "label"}]},
    }


@pytest.fixture
def save(tmp_path: Path):
    """Write a configuration and return its path."""

    def write(content: dict) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write
