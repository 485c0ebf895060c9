"""Rows that training may draw, and how far their patches move to stay inside the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from dynaclr.index.multi import MultiExperimentIndex


def pixel_of(position: ArrayLike) -> NDArray[np.int32]:
    """Nearest pixel of a position; halves go up."""
    # In float64, because 0.49999997 + 0.5 is 1 in float32.
    return np.floor(np.asarray(position, np.float64) + 0.5).astype(np.int32)


def border_shift(position: ArrayLike, patch: ArrayLike, extent: ArrayLike) -> NDArray[np.int32]:
    """Smallest move along one axis that brings a patch inside the image.

    The patch of a position covers the pixels from ``pixel_of(position) - patch // 2`` on, `patch`
    of them.

    Parameters
    ----------
    position : array_like of float, shape (N,)
        In pixels.
    patch : array_like of int, shape (N,) or ()
        Size of the patch in pixels, at most `extent`.
    extent : array_like of int, shape (N,) or ()
        Size of the image in pixels.

    Returns
    -------
    ndarray of int32, shape (N,)
        In pixels; 0 where the patch is inside.
    """
    patch = np.asarray(patch, np.int32)
    start = pixel_of(position) - patch // 2
    beyond = np.asarray(extent, np.int32) - patch - start
    return np.maximum(-start, 0) + np.minimum(beyond, 0)


@dataclass(frozen=True)
class Anchors:
    """A selection of an index's rows; it holds row numbers and shifts, no copy of the columns.

    Attributes
    ----------
    index : MultiExperimentIndex
    rows : ndarray of int64, shape (n,)
        Row numbers, ascending.
    shift_y, shift_x : ndarray of int32, shape (n,)
        Pixels to add to the patch's centre so that it lies inside the image.
    left_out : dict of str to int
        Rows that each filter removed, in the order in which the filters ran.
    """

    index: MultiExperimentIndex
    rows: NDArray[np.int64]
    shift_y: NDArray[np.int32]
    shift_x: NDArray[np.int32]
    left_out: dict[str, int]

    def __len__(self) -> int:
        return len(self.rows)

    def frame(self, columns: Sequence[str]) -> pd.DataFrame:
        """Columns of the selected rows, as a sampler takes them.

        Parameters
        ----------
        columns : sequence of str
            Columns of the index, or ``shift_y`` and ``shift_x``.

        Returns
        -------
        pandas.DataFrame
            n rows, numbered from 0; text as categoricals.
        """
        return pd.DataFrame({name: self._column(name) for name in columns})

    def _column(self, name: str) -> NDArray[np.generic] | pd.Categorical:
        if name in ("shift_y", "shift_x"):
            return getattr(self, name)
        if self.index.is_text(name):
            codes, categories = self.index.codes(name)
            return pd.Categorical.from_codes(codes[self.rows], categories)
        return self.index.column(name)[self.rows]
