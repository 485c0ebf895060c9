"""A small Cell Tracking Challenge sequence, and what is read back of plates and imports."""

from pathlib import Path

import numpy as np
import pandas as pd
import tensorstore as ts
import tifffile

from dynaclr.importers import ImportOptions
from dynaclr.io import Plate, Position

OPTIONS = ImportOptions(interval_minutes=5)
# Two cells; the first divides after frame 1 into cells 3 and 4, cell 2 is missing from frame 1.
TRACKS = {1: (0, 1, 0), 2: (0, 3, 0), 3: (2, 3, 1), 4: (2, 3, 1)}
SEEN = [{1, 2}, {1}, {2, 3, 4}, {2, 3, 4}]
CORNERS = {1: (2, 3), 2: (12, 4), 3: (3, 14), 4: (12, 14)}


def read_pixels(position: Position) -> np.ndarray:
    """Pixels of a field of view, (T, C, Z, Y, X), by a reader that is not ours."""
    driver = {2: "zarr", 3: "zarr3"}[position.zarr_format]
    store = {"driver": "file", "path": str(position.levels[0].path)}
    return ts.open({"driver": driver, "kvstore": store}, read=True).result().read().result()


def pixels(out: Path) -> np.ndarray:
    """All pixels of an imported movie, (T, C, Y, X)."""
    return read_pixels(Plate(out / "plate.zarr").positions["A/1/0"])[:, :, 0]


def tracks(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "tracks" / "A" / "1" / "0" / "tracks.csv")


def write_ctc(folder: Path, first_frame: int = 0) -> np.ndarray:
    """Write a small Cell Tracking Challenge sequence; returns its images."""
    movie = np.random.default_rng(0).integers(0, 255, (4, 20, 24)).astype(np.uint8)
    (folder / "01").mkdir(parents=True)
    truth = folder / "01_GT" / "TRA"
    truth.mkdir(parents=True)
    for t, labels in enumerate(SEEN):
        mask = np.zeros(movie.shape[1:], np.uint16)
        for label in labels:
            y, x = CORNERS[label]
            mask[y : y + 3, x : x + 4] = label
        number = f"{t + first_frame:03d}"
        tifffile.imwrite(folder / "01" / f"t{number}.tif", movie[t])
        tifffile.imwrite(truth / f"man_track{number}.tif", mask, compression="zlib")
    lines = [
        f"{label} {begin + first_frame} {end + first_frame} {parent}"
        for label, (begin, end, parent) in TRACKS.items()
    ]
    (truth / "man_track.txt").write_text("\n".join(lines) + "\n")
    return movie
