"""Dataset of batches: anchor and positive patches, already collated."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from dynaclr.config import UserError
from dynaclr.data.loading.observation_reader import ObservationReader
from dynaclr.index import MultiExperimentIndex
from dynaclr.index.markers import MarkerPairs

log = logging.getLogger(__name__)

Batch = dict[str, Any]
Positives = Callable[[NDArray[np.int64], int], NDArray[np.int64]]


@dataclass(frozen=True)
class IndexColumn:
    """A column of the index that batches carry along; it holds no copy of it.

    Attributes
    ----------
    index : MultiExperimentIndex
    name : str
    codes : NDArray, optional
        For text: the number that stands for each of the column's categories.
    """

    index: MultiExperimentIndex
    name: str
    codes: NDArray[np.int32] | None = None

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        if self.codes is None:
            return self.index.column(self.name)[rows]
        # The categories, which may be thousands of names, stay where they are.
        return self.codes[self.index.table[self.name].chunk(0).indices.to_numpy()[rows]]


class MultiExperimentTripletDataset(Dataset[Batch]):
    """Anchors with a positive each; whole batches are read at once.

    The dataset holds no state that changes: which positive an anchor gets follows from its key,
    which carries the epoch (`dynaclr.data.loading.resumable_loader`). So any number of workers
    gives the same batches. A pickled copy, such as a spawned worker gets, is small: it has neither
    anchors nor positives and reads what `draw` has drawn.

    Parameters
    ----------
    reader : ObservationReader
        Reads patches of index rows.
    anchors : NDArray of int, shape (N,), or MarkerPairs
        Index rows that serve as anchors; for a bag of channels, pairs of row and marker.
    positives : callable, optional
        ``positives(rows, epoch)`` gives the positive's index row of each anchor row; without it
        a batch has no positive (validation of something else, prediction).
    columns : mapping of str to IndexColumn or NDArray
        Per-row values of the index that batches carry along, ``lineage_id`` for example.
    unreadable : {"error", "skip"}
        What happens when pixels are missing or damaged: an error, or a warning, and the anchor and
        its positive are replaced by the next ones of the batch that can be read.
    """

    def __init__(
        self,
        reader: ObservationReader,
        anchors: NDArray[np.int64] | MarkerPairs,
        positives: Positives | None = None,
        columns: Mapping[str, IndexColumn | NDArray] | None = None,
        unreadable: Literal["error", "skip"] = "error",
    ) -> None:
        self.reader = reader
        self.pairs = anchors if isinstance(anchors, MarkerPairs) else None
        self.anchors = anchors.rows if isinstance(anchors, MarkerPairs) else anchors
        self.positives = positives
        self.columns = columns or {}
        self.unreadable = unreadable
        self._length = len(anchors)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"anchors": None, "positives": None, "pairs": None}

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, key: int) -> Batch:
        return self.__getitems__([key])

    def anchors_at(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Index row and number of the marker (-1: all of them) of anchors, shape (B, 2).

        Parameters
        ----------
        positions : NDArray of int, shape (B,)
            From 0 to ``len(self) - 1``.
        """
        if self.pairs is None:
            return np.stack([self.anchors[positions], np.full(len(positions), -1)], axis=1)
        return np.stack(self.pairs[positions], axis=1)

    def draw(self, keys: list[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """Index rows of the given keys.

        Parameters
        ----------
        keys : list of int
            ``epoch * len(self) + position`` for each anchor of a batch.

        Returns
        -------
        NDArray of int64, shape (B, 3)
            Index rows of anchor and positive, and number of the marker; -1 where there is none.

        Raises
        ------
        RuntimeError
            In a pickled copy of the dataset.
        """
        if self.anchors is None:
            raise RuntimeError(
                "a pickled copy of the dataset reads what `draw` of the original gave. Use "
                "`dynaclr.data.loading.resumable_loader.EpochBatches` in the loader, or start its "
                "workers by fork."
            )
        epochs, positions = np.divmod(np.asarray(keys, dtype=np.int64), len(self))
        drawn = np.full((len(positions), 3), -1, np.int64)
        drawn[:, [0, 2]] = self.anchors_at(positions)
        if self.positives is not None:
            drawn[:, 1] = self.positives(drawn[:, 0], int(epochs[0]))
        return drawn

    def __getitems__(self, keys: list[int] | NDArray[np.int64]) -> Batch:
        """Read one batch.

        Parameters
        ----------
        keys : list of int, or NDArray of int, shape (B, 3)
            ``epoch * len(self) + position`` for each anchor; a plain position means epoch 0. Or
            what `draw` made of them.

        Returns
        -------
        dict
            ``anchor`` and, where positives are drawn, ``positive``: each a dict with what
            `ObservationReader.read` gives, ``row`` (B,) int64 and the chosen columns (B,). For a
            bag of channels also ``marker`` (B,). With ``unreadable="skip"``, ``replaced`` (B,) bool
            of the batch: another pair replaces it.

        Raises
        ------
        UserError
            When pixels cannot be read, and may not be skipped or all of the batch are.
        """
        drawn = keys if isinstance(keys, np.ndarray) and keys.ndim == 2 else self.draw(keys)
        n = len(drawn)
        # One call for both: frames that anchors and positives share are decoded once.
        rows = drawn[:, :2].T[: 1 if drawn[0, 1] < 0 else 2].ravel()
        markers = np.tile(drawn[:, 2], len(rows) // n) if drawn[0, 2] >= 0 else None
        unreadable = np.zeros(len(rows), bool) if self.unreadable == "skip" else None
        both = self.reader.read(rows, markers, unreadable)
        if markers is not None:
            both["marker"] = torch.from_numpy(markers)
        both |= {name: torch.from_numpy(values[rows]) for name, values in self.columns.items()}
        both["row"] = torch.from_numpy(rows)
        batch: Batch = {}
        if unreadable is not None:
            batch["replaced"] = torch.from_numpy(unreadable.reshape(-1, n).any(axis=0))
            if batch["replaced"].any():
                both = self._replaced(both, batch["replaced"].numpy())
        views = ("anchor", "positive")[: len(rows) // n]
        for number, view in enumerate(views):
            own = slice(number * n, (number + 1) * n)
            batch[view] = {name: values[own] for name, values in both.items()}
        return batch

    def _replaced(
        self, both: dict[str, torch.Tensor], replaced: NDArray[np.bool_]
    ) -> dict[str, torch.Tensor]:
        """Replace each pair that could not be read by the next one that could, cyclically."""
        n, good = len(replaced), np.flatnonzero(~replaced)
        if not good.size:
            raise UserError("none of the pixels of a batch can be read. Is the disk there?")
        log.warning("%d of %d pairs cannot be read; others replace them", replaced.sum(), n)
        following = np.searchsorted(good, np.arange(n)) % len(good)
        chosen = torch.from_numpy(good[following])
        chosen = torch.cat([chosen + first for first in range(0, len(both["row"]), n)])
        return {name: values[chosen] for name, values in both.items()}
