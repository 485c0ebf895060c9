"""Thumbnails of cells, which the report shows."""

from __future__ import annotations

import io
import json
import logging
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from dynaclr.data import NormalizationConfig, PatchConfig, at_common_size
from dynaclr.inference.observations import Observations
from dynaclr.io.artifacts import atomic_path, write_digest
from dynaclr.io.subsample import whole_lineages
from dynaclr.transforms import Normalize

log = logging.getLogger(__name__)

# Larger patches are scaled down to this height, in pixels.
SIDE = 40
_QUALITY = 60
_BATCH = 512
# Black and white of a marker: these quantiles of the pixels of all pictures of an experiment.
_LIMITS = (0.005, 0.998)
_ABSENT = 128


def write_thumbnails(
    patches: PatchConfig,
    normalization: NormalizationConfig,
    experiment_dir: Path,
    out: Path,
    max_cells: int = 2000,
) -> None:
    """Write pictures of an experiment's cells as a table, markers side by side.

    Cells of whole lineages are taken, the same as in maps of the embedding. Grey values compare
    between the cells of an experiment. Of a stack the middle plane is shown.

    Parameters
    ----------
    patches, normalization : PatchConfig, NormalizationConfig
        Those of the model that the pictures are shown with: what its encoder sees.
    experiment_dir : Path
        Folder of an experiment's results (``cells.parquet``, ``summary.json``, statistics).
    out : Path
        Parquet table to write: ``fov``, ``track_id``, ``t`` and ``image``, an 8-bit grey WebP;
        under the key ``dynaclr`` of its metadata, as JSON: ``markers``, ``shape`` (height, width
        of one marker), ``height_um`` (None where unknown), ``n_cells`` (of the experiment).
    max_cells : int
        Most pictures.

    Raises
    ------
    UserError
        When index or statistics are missing, or are not those that were written.
    """
    # A picture shows all markers side by side, also where an encoder is shown one at a time.
    patches = replace(patches, bag_of_channels=False)
    observations = Observations(experiment_dir, patches, normalization)
    table = observations.index.tracks.reset_index(drop=True)
    rows = whole_lineages(table, max_cells)
    pixels_BCYX, present = _read(observations, rows)
    images = [_encode(tiles) for tiles in _to_grey(pixels_BCYX, present)]
    pixel_um = patches.reference_pixel_size_um or observations.entry.pixel_size_um
    facts = {
        "markers": list(patches.markers),
        "shape": list(pixels_BCYX.shape[-2:]),
        "height_um": pixel_um and round(pixel_um * patches.size[0], 3),
        "n_cells": len(table),
        "patches": asdict(patches),
        **observations.digests,
    }
    chosen = pa.table(
        {
            "fov": table["fov"].astype(str).to_numpy()[rows],
            "track_id": table["track_id"].to_numpy()[rows],
            "t": table["t"].to_numpy()[rows],
            "image": pa.array(images, pa.binary()),
        },
        metadata={"dynaclr": json.dumps(facts, sort_keys=True)},
    )
    with atomic_path(out) as temporary:
        pq.write_table(chosen, temporary)
    write_digest(out)
    log.info("%s: pictures of %d of %d observations", observations.name, len(rows), len(table))


def _read(
    observations: Observations, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Normalized middle planes at the size of a picture, and which markers were imaged."""
    normalize, pixels, present = Normalize(), [], []
    for part in np.array_split(rows, -(-len(rows) // _BATCH)):
        batch = observations.read(part)
        x_BCZYX = normalize(at_common_size(batch), batch["center"], batch["spread"])
        pixels.append(_small(x_BCZYX[:, :, x_BCZYX.shape[2] // 2]).numpy())
        present.append((batch["present"] & ~batch["unreadable"][:, None]).numpy())
    return np.concatenate(pixels), np.concatenate(present)


def _small(x_BCYX: Tensor) -> Tensor:
    height, width = x_BCYX.shape[-2:]
    if height <= SIDE:
        return x_BCYX
    size = (SIDE, max(1, round(width * SIDE / height)))
    return torch.nn.functional.interpolate(
        x_BCYX, size, mode="bilinear", antialias=True, align_corners=False
    )


def _to_grey(pixels_BCYX: NDArray, present: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Grey values 0 to 255; grey in the middle where a marker was not imaged."""
    grey = np.full(pixels_BCYX.shape, _ABSENT, dtype=np.uint8)
    for marker, here in enumerate(present.T):
        if here.any():
            values = pixels_BCYX[here, marker]
            low, high = np.quantile(values, _LIMITS)
            scaled = (values - low) / max(float(high - low), 1e-6)
            grey[here, marker] = np.round(255 * scaled.clip(0, 1)).astype(np.uint8)
    return grey


def _encode(tiles_CYX: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.concatenate(tiles_CYX, axis=1)).save(stream, "WEBP", quality=_QUALITY)
    return stream.getvalue()
