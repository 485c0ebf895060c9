"""Anchor and positive patches as ready batches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from dynaclr.data.cells import CellReader

Batch = dict[str, Any]


class MultiExperimentTripletDataset(Dataset[Batch]):
    """Anchors with a positive each; whole batches are read at once.

    The dataset holds no state that changes: which positive an anchor gets follows from its key,
    which carries the epoch (`dynaclr.data.loading`). So any number of workers gives the same
    batches.

    Parameters
    ----------
    reader : CellReader
        Reads patches of index rows.
    anchors : NDArray of int, shape (N,)
        Index rows that serve as anchors.
    positives : callable, optional
        ``positives(rows, epoch)`` gives the positive's index row of each anchor row; without it
        a batch has no positive (validation of something else, prediction).
    columns : dict of str to NDArray
        Per-row arrays of the index that batches carry along, ``lineage_id`` for example.
    """

    def __init__(
        self,
        reader: CellReader,
        anchors: NDArray[np.int64],
        positives: Callable[[NDArray[np.int64], int], NDArray[np.int64]] | None = None,
        columns: dict[str, NDArray] | None = None,
    ) -> None:
        self.reader = reader
        self.anchors = anchors
        self.positives = positives
        self.columns = columns or {}

    def __len__(self) -> int:
        return len(self.anchors)

    def __getitem__(self, key: int) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: list[int]) -> Batch:
        """Read one batch.

        Parameters
        ----------
        keys : list of int
            ``epoch * len(self) + position`` for each anchor; a plain position means epoch 0.

        Returns
        -------
        dict
            ``anchor`` and, where positives are drawn, ``positive``: each a dict with ``patch``
            (B, C, Z, Y, X) float32, ``center`` and ``spread`` (B, C) float32, ``present`` (B, C)
            bool, ``row`` (B,) int64 and the chosen columns (B,).
        """
        epochs, positions = np.divmod(np.asarray(keys, dtype=np.int64), len(self))
        rows = self.anchors[positions]
        if self.positives is None:
            return {"anchor": self._view(self.reader.read(rows), rows)}
        partners = self.positives(rows, int(epochs[0]))
        # One call for both: frames that anchors and positives share are decoded once.
        both = self.reader.read(np.concatenate([rows, partners]))
        first = {name: values[: len(rows)] for name, values in both.items()}
        second = {name: values[len(rows) :] for name, values in both.items()}
        return {"anchor": self._view(first, rows), "positive": self._view(second, partners)}

    def _view(self, read: dict[str, torch.Tensor], rows: NDArray[np.int64]) -> Batch:
        carried = {name: torch.from_numpy(values[rows]) for name, values in self.columns.items()}
        return read | carried | {"row": torch.from_numpy(rows)}
