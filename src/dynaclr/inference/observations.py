"""Iteration over an experiment's observations and their patches."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from dynaclr.config import ExperimentConfig
from dynaclr.data import (
    FieldsOfView,
    NormalizationConfig,
    ObservationReader,
    PatchConfig,
    read_statistics,
)
from dynaclr.data.parallel import map_ahead
from dynaclr.index import MultiExperimentIndex
from dynaclr.io.artifacts import read_json, verified_digest

# Most bytes of a batch as it is read; to normalize and encode it takes several times as much.
_BATCH_BYTES = 30 << 20


class Observations:
    """An experiment's observations, their patches, and the digests that say which ones.

    Of a bag of channels each pair of observation and marker is one row.

    Parameters
    ----------
    experiment_dir : Path
        Folder of an experiment's results (``cells.parquet``, ``summary.json``, statistics).
    patches, normalization : PatchConfig, NormalizationConfig
        How patches are cropped and normalized.
    extraction_size : tuple of int, optional
        Extent (y, x) that is read around each patch, a margin for augmentation; default: none.

    Raises
    ------
    UserError
        When index or statistics are missing, or are not those that were written.
    """

    def __init__(
        self,
        experiment_dir: Path,
        patches: PatchConfig,
        normalization: NormalizationConfig,
        extraction_size: tuple[int, int] | None = None,
    ) -> None:
        self.digests = {
            name: verified_digest(experiment_dir / f"{name}.parquet")
            for name in ("cells", "statistics")
        }
        self.index = MultiExperimentIndex.from_parquet([experiment_dir], labels=False)
        entry = ExperimentConfig.model_validate(read_json(experiment_dir / "summary.json")["entry"])
        self.entry, self.name = entry, entry.name
        statistics = read_statistics(experiment_dir.parent, [entry.name])
        self.reader = ObservationReader(
            FieldsOfView(self.index, {entry.name: entry}),
            statistics,
            patches,
            normalization,
            cache_bytes=0,
            extraction_size=extraction_size,
            stores=experiment_dir.parent,
        )
        self.reader.keep_frames()
        self.rows, self.markers = np.arange(len(self.index)), None
        if patches.bag_of_channels:
            pairs = self.reader.marker_pairs(self.rows)
            self.rows, self.markers = pairs[np.arange(len(pairs))]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, selection: slice | NDArray[np.int64]) -> dict[str, Tensor]:
        """Patches of some of the rows; ``unreadable`` (B,) says which cannot be read.

        Raises
        ------
        UserError
            When one cannot be read and the experiment's entry does not say ``unreadable: skip``.
        """
        markers = None if self.markers is None else self.markers[selection]
        rows = self.rows[selection]
        unreadable = np.zeros(len(rows), bool)
        skip = self.entry.unreadable == "skip"
        batch = self.reader.read(rows, markers, unreadable if skip else None)
        return batch | {"unreadable": torch.from_numpy(unreadable)}

    def batches(self, size: int) -> Iterator[dict[str, Tensor]]:
        """All patches, field of view by field of view and frame by frame, as the index has them.

        The next batch is read while one is encoded.

        Parameters
        ----------
        size : int
            Patches of a batch; of large patches there are fewer.

        Yields
        ------
        dict of str to Tensor
            As `read` returns them.
        """
        size = min(size, max(1, _BATCH_BYTES // self.reader.patch_bytes))
        slices = (slice(start, start + size) for start in range(0, len(self), size))
        with ThreadPoolExecutor(1) as pool:
            yield from map_ahead(pool, self.read, slices, 2)

    def table(self) -> pd.DataFrame:
        """Columns of the index, one row a patch, under names that differ."""
        obs = self.index.tracks.iloc[self.rows].reset_index(drop=True)
        parts = ["fov", "track_id", "t"]
        if self.markers is not None:
            markers = self.reader.patches.markers
            obs["marker"] = pd.Categorical.from_codes(self.markers, markers)
            parts.append("marker")
        names = zip(*(obs[part].astype(str) for part in parts), strict=True)
        obs.index = ["/".join(name) for name in names]
        return obs
