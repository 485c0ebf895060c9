"""Embedding stores, filled by one pass over an experiment's pixels."""

from __future__ import annotations

import json
import logging
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from torch import Tensor, nn

from dynaclr.data import at_common_size
from dynaclr.inference.observations import Cells
from dynaclr.io.artifacts import atomic_path, write_digest
from dynaclr.transforms import Normalize

log = logging.getLogger(__name__)

# Rows of a store that are held in memory before they are written together: chunks of the store
# hold thousands of rows, and each write compresses anew those that it touches.
_BLOCK = 4096


class EmbeddingStore:
    """An embedding store that is filled row by row; memory does not grow with the rows.

    Parameters
    ----------
    path : Path
        AnnData zarr store to write.
    cells : Cells
        What its rows are.
    facts : dict
        Provenance beside the digests of the experiment's tables.
    """

    def __init__(self, path: Path, cells: Cells, facts: dict[str, Any]) -> None:
        self._path, self._cells, self._facts = path, cells, facts
        self._arrays: list[zarr.Array] = []
        self._held: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
        self._n_written, self._n_added = 0, 0
        self._lost: list[int] = []

    def add(self, features: Tensor, projections: Tensor, lost: Tensor) -> None:
        """Append features (B, D) and projections (B, P) of the next rows; NaN where `lost`."""
        unknown = lost[:, None].to(features.device)
        rows = tuple(
            matrix.float().masked_fill(unknown, torch.nan).cpu().numpy()
            for matrix in (features, projections)
        )
        self._lost += (self._n_added + lost.nonzero()[:, 0]).tolist()
        self._n_added += len(lost)
        if not self._arrays:
            self._create(*(matrix.shape[1] for matrix in rows))
        self._held.append(rows)
        if sum(len(features) for features, _ in self._held) >= _BLOCK:
            self.flush()

    def finish(self) -> None:
        """Write what is held, and which rows are unknown because pixels cannot be read."""
        self.flush()
        if self._lost:
            facts = zarr.open_group(self._path, mode="r+")["uns/dynaclr"]
            facts[()] = self._provenance(unreadable=self._lost)
            counts = len(self._lost), len(self._cells)
            log.warning("%s: %d of %d observations cannot be read", self._cells.name, *counts)

    def _provenance(self, **more: Any) -> str:
        # What ran where and when stands with the model: a store made again has the same bytes.
        facts = self._facts | self._cells.digests | {"dynaclr": version("dynaclr")} | more
        return json.dumps(facts, sort_keys=True)

    def flush(self) -> None:
        """Write the rows that are held."""
        if not self._held:
            return
        blocks = [np.concatenate(parts) for parts in zip(*self._held, strict=True)]
        end = self._n_written + len(blocks[0])
        for array, block in zip(self._arrays, blocks, strict=True):
            array[self._n_written : end] = block
        self._n_written, self._held = end, []

    def _create(self, *widths: int) -> None:
        """Write everything but the numbers, of which there are zeros that take no memory."""
        zeros = [np.broadcast_to(np.float32(0), (len(self._cells), width)) for width in widths]
        store = ad.AnnData(X=zeros[0], obs=self._cells.observations())
        store.obsm["X_projections"] = zeros[1]
        store.uns["dynaclr"] = self._provenance()
        store.write_zarr(self._path)
        group = zarr.open_group(self._path, mode="r+")
        self._arrays = [group["X"], group["obsm/X_projections"]]


@torch.inference_mode()
def embed_into(
    encoders: dict[Path, nn.Module],
    facts: dict[Path, dict[str, Any]],
    cells: Cells,
    batch_size: int,
    device: torch.device,
) -> None:
    """Write features and projections of all rows, in their order, by every encoder."""
    normalize = Normalize()
    for encoder in encoders.values():
        encoder.eval().to(device)
    with ExitStack() as finished:
        stores = {
            path: EmbeddingStore(finished.enter_context(atomic_path(path)), cells, facts[path])
            for path in encoders
        }
        done = 0
        for number, batch in enumerate(cells.batches(batch_size)):
            moved = {name: value.to(device) for name, value in batch.items()}
            x_BCZYX = normalize(at_common_size(moved), moved["center"], moved["spread"])
            for path, encoder in encoders.items():
                stores[path].add(*encoder(x_BCZYX), batch["lost"])
            done += len(x_BCZYX)
            if number % 20 == 0:
                log.info("%s: %d of %d observations", cells.name, done, len(cells))
        for store in stores.values():
            store.finish()
    for path in encoders:
        write_digest(path)
        log.info("%s: all %d observations written to %s", cells.name, len(cells), path)
