"""Writing of embedding stores in one pass over an experiment's pixels."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor, nn

from dynaclr.data import at_common_size
from dynaclr.inference.observations import Observations
from dynaclr.io.artifacts import atomic_path, write_digest
from dynaclr.transforms import Normalize

log = logging.getLogger(__name__)

# Rows of a store that are buffered before they are written together: chunks of the store hold
# thousands of rows, and each write compresses anew those that it touches.
_BUFFERED_ROWS = 4096


@dataclass(frozen=True)
class EmbeddingOutput:
    """A store to write, and what it is written by.

    Attributes
    ----------
    path : Path
        AnnData zarr store.
    encoder : nn.Module
        Maps normalized patches (B, C, Z, Y, X) to features (B, D) and projections (B, P).
    provenance : dict
        Facts of the encoder; the digests of the experiment's tables are added.
    feature_names : sequence of str
        Names of the D features; none: their numbers.
    """

    path: Path
    encoder: nn.Module
    provenance: dict[str, Any]
    feature_names: Sequence[str] = ()


class EmbeddingStore:
    """An embedding store that is filled row by row; memory does not grow with the rows.

    Parameters
    ----------
    path : Path
        AnnData zarr store to write.
    observations : Observations
        What its rows are.
    provenance, feature_names
        As in `EmbeddingOutput`.
    """

    def __init__(
        self,
        path: Path,
        observations: Observations,
        provenance: dict[str, Any],
        feature_names: Sequence[str] = (),
    ) -> None:
        self._path, self._observations, self._provenance = path, observations, provenance
        self._feature_names = feature_names
        self._arrays: list[zarr.Array] = []
        self._buffer: list[tuple[NDArray[np.float32], ...]] = []
        self._n_written, self._n_added = 0, 0
        self._unreadable: list[int] = []

    def add(self, features: Tensor, projections: Tensor, unreadable: Tensor) -> None:
        """Append features (B, D) and projections (B, P) of the next rows; NaN where unreadable."""
        unknown = unreadable[:, None].to(features.device)
        rows = tuple(
            matrix.float().masked_fill(unknown, torch.nan).cpu().numpy()
            for matrix in (features, projections)
        )
        self._unreadable += (self._n_added + unreadable.nonzero()[:, 0]).tolist()
        self._n_added += len(unreadable)
        if not self._arrays:
            self._create(*(matrix.shape[1] for matrix in rows))
        self._buffer.append(rows)
        if sum(len(features) for features, _ in self._buffer) >= _BUFFERED_ROWS:
            self.flush()

    def finish(self) -> None:
        """Write what is buffered, and which rows are unknown because pixels cannot be read."""
        self.flush()
        if self._unreadable:
            group: Any = zarr.open_group(self._path, mode="r+")
            group["uns/dynaclr"][()] = self._provenance_text(unreadable=self._unreadable)
            counts = len(self._unreadable), len(self._observations)
            log.warning(
                "%s: %d of %d observations cannot be read", self._observations.name, *counts
            )

    def _provenance_text(self, **more: Any) -> str:
        # What ran where and when stands with the model: a store made again has the same bytes.
        package = {"dynaclr": version("dynaclr")}
        facts = self._provenance | self._observations.digests | package | more
        return json.dumps(facts, sort_keys=True)

    def flush(self) -> None:
        """Write the rows that are buffered."""
        if not self._buffer:
            return
        blocks = [np.concatenate(parts) for parts in zip(*self._buffer, strict=True)]
        end = self._n_written + len(blocks[0])
        for array, block in zip(self._arrays, blocks, strict=True):
            array[self._n_written : end] = block
        self._n_written, self._buffer = end, []

    def _create(self, *widths: int) -> None:
        """Write everything but the numbers, of which there are zeros that take no memory."""
        n = len(self._observations)
        zeros = [np.broadcast_to(np.float32(0), (n, width)) for width in widths]
        store = ad.AnnData(X=zeros[0], obs=self._observations.table())
        store.obsm["X_projections"] = zeros[1]
        if self._feature_names:
            store.var_names = pd.Index(self._feature_names)
        store.uns["dynaclr"] = self._provenance_text()
        store.write_zarr(self._path)
        group: Any = zarr.open_group(self._path, mode="r+")
        self._arrays = [group["X"], group["obsm/X_projections"]]


@torch.inference_mode()
def write_embeddings(
    outputs: Sequence[EmbeddingOutput],
    observations: Observations,
    batch_size: int,
    device: torch.device,
) -> None:
    """Write features and projections of all observations, in their order, by every encoder.

    Parameters
    ----------
    outputs : sequence of EmbeddingOutput
        Stores with their encoders, in the order in which these embed a batch.
    observations : Observations
        What is embedded; read once for all.
    batch_size : int
        Most patches of a batch.
    device : torch.device
        Where the encoders run.
    """
    normalize = Normalize()
    for output in outputs:
        output.encoder.eval().to(device)
    with ExitStack() as stack:
        stores = [
            EmbeddingStore(
                stack.enter_context(atomic_path(output.path)),
                *(observations, output.provenance, output.feature_names),
            )
            for output in outputs
        ]
        done = 0
        for number, batch in enumerate(observations.batches(batch_size)):
            moved = {name: value.to(device) for name, value in batch.items()}
            x_BCZYX = normalize(at_common_size(moved), moved["center"], moved["spread"])
            for output, store in zip(outputs, stores, strict=True):
                features, projections = output.encoder(x_BCZYX)
                store.add(features, projections, batch["unreadable"])
            done += len(x_BCZYX)
            if number % 20 == 0:
                log.info("%s: %d of %d observations", observations.name, done, len(observations))
        for store in stores:
            store.finish()
    for output in outputs:
        write_digest(output.path)
        log.info(
            "%s: all %d observations written to %s",
            observations.name,
            len(observations),
            output.path,
        )
