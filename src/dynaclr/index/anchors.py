"""Anchors: rows that training may draw, and shifts that keep their patches inside the image."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from dynaclr.config import Problems, UserError
from dynaclr.index.fovs import FovExtents, FovRuns
from dynaclr.index.table import IndexTable

_SHIFTS = ("shift_y", "shift_x")


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
    shift: NDArray[np.int32] = np.maximum(-start, 0) + np.minimum(beyond, 0)
    return shift


@dataclass(frozen=True)
class Anchors:
    """A selection of an index's rows; it holds row numbers and shifts, no copy of the columns.

    Attributes
    ----------
    table : IndexTable
        The index.
    rows : ndarray of int64, shape (n,)
        Row numbers, ascending.
    shift_y, shift_x : ndarray of int32, shape (n,)
        Pixels to add to the patch's centre so that it lies inside the image.
    left_out : dict of str to int
        Rows that each filter removed, in the order in which the filters ran.
    """

    table: IndexTable
    rows: NDArray[np.int64]
    shift_y: NDArray[np.int32]
    shift_x: NDArray[np.int32]
    left_out: dict[str, int]

    @classmethod
    def passing(
        cls, table: IndexTable, filters: Iterable[tuple[str, NDArray[np.bool_]]]
    ) -> Anchors:
        """Select the rows that pass every filter, none of them shifted.

        Parameters
        ----------
        table : IndexTable
            The index.
        filters : iterable of (str, ndarray of bool, shape (N,))
            Name of each filter in `left_out`, and which rows of the index pass.

        Raises
        ------
        ValueError
            When a mask is no boolean array of one entry a row of the index.
        """
        # Row numbers are taken once: a large index has room for few arrays of its length.
        kept = np.ones(len(table), bool)
        left_out, before = {}, len(table)
        for name, passes in filters:
            kept &= _checked_mask(name, passes, len(table))
            after = int(np.count_nonzero(kept))
            left_out[name], before = before - after, after
        rows = np.flatnonzero(kept)
        none = np.zeros(len(rows), np.int32)
        return cls(table, rows, none, none, left_out)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Which rows of the index are selected, shape (N,)."""
        mask = np.zeros(len(self.table), bool)
        mask[self.rows] = True
        return mask

    def keep(self, name: str, passes: NDArray[np.bool_]) -> Anchors:
        """Apply a filter.

        Parameters
        ----------
        name : str
            Its name in `left_out`.
        passes : ndarray of bool, shape (N,)
            Which rows of the index pass.

        Raises
        ------
        ValueError
            When `passes` is no boolean array of one entry a row of the index.
        """
        return self._take(name, _checked_mask(name, passes, len(self.table))[self.rows])

    def _take(self, name: str, kept: NDArray[np.bool_]) -> Anchors:
        left_out = self.left_out | {name: int(np.count_nonzero(~kept))}
        return Anchors(
            self.table, self.rows[kept], self.shift_y[kept], self.shift_x[kept], left_out
        )

    def fit(
        self,
        fovs: FovRuns,
        patch_size: tuple[int, int] | FovExtents,
        image_shapes: FovExtents,
        max_border_shift: int | None = None,
    ) -> Anchors:
        """Move patches inside the image, and leave out those that would have to move too far.

        Parameters
        ----------
        fovs : FovRuns
            Fields of view of the index.
        patch_size : tuple of int, or mapping of (experiment, fov) to (height, width)
            In pixels of the image.
        image_shapes : mapping of (experiment, fov) to (height, width)
            In pixels.
        max_border_shift : int, optional
            Largest shift along y or x in pixels; by default every patch moves as far as it must.

        Raises
        ------
        UserError
            When a size is no pair of positive numbers or missing, or an image is smaller than the
            patch.
        """
        fov = fovs.of_row[self.rows]
        used = np.flatnonzero(np.bincount(fov, minlength=len(fovs)))
        image, patch = np.zeros((2, len(fovs), 2), np.int32)
        image[used] = fovs.extents(used, image_shapes, "image_shapes")
        if isinstance(patch_size, Mapping):
            patch[used] = fovs.extents(used, patch_size, "patch_size")
        else:
            patch[used] = patch_size
        _check_sizes(fovs, used, image, patch)
        y, x = self.table.column("y")[self.rows], self.table.column("x")[self.rows]
        shift_y = border_shift(y, patch[fov, 0], image[fov, 0])
        shift_x = border_shift(x, patch[fov, 1], image[fov, 1])
        limit = np.inf if max_border_shift is None else max_border_shift
        near = (np.abs(shift_y) <= limit) & (np.abs(shift_x) <= limit)
        return Anchors(self.table, self.rows, shift_y, shift_x, self.left_out)._take("border", near)

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
        frame = self.table.frame([name for name in columns if name not in _SHIFTS], self.rows)
        frame = frame.assign(**{name: getattr(self, name) for name in _SHIFTS if name in columns})
        return frame[list(columns)]


def _checked_mask(name: str, passes: NDArray[np.bool_], n_rows: int) -> NDArray[np.bool_]:
    passes = np.asarray(passes)
    if passes.dtype != bool or passes.shape != (n_rows,):
        raise ValueError(f"`{name}` must hold {n_rows} booleans, one a row")
    return passes


def check_border(
    patch_size: tuple[int, int] | FovExtents | None, max_border_shift: int | None
) -> None:
    """Check the arguments that say how far patches may move.

    Raises
    ------
    UserError
        When a number is out of range, or the limit is given without a patch size.
    """
    problems = Problems()
    if max_border_shift is not None and patch_size is None:
        problems.add("max_border_shift", "there is no patch_size to move", "Give both, or neither")
    if max_border_shift is not None and max_border_shift < 0:
        problems.add("max_border_shift", f"it is {max_border_shift} pixels", "Give 0 or more")
    if not isinstance(patch_size, Mapping | None) and np.shape(patch_size) != (2,):
        problems.add("patch_size", f"{patch_size!r} is no pair", "Give a height and a width")
    problems.raise_if_any()


def _check_sizes(
    fovs: FovRuns,
    used: NDArray[np.int64],
    image: NDArray[np.int32],
    patch: NDArray[np.int32],
) -> None:
    for run in used:
        (height, width), (patch_height, patch_width) = image[run], patch[run]
        if min(patch_height, patch_width) < 1:
            raise UserError(
                f"{fovs.title(run)}: patch_size is {patch[run].tolist()}. Give a height and a "
                "width of 1 pixel or more."
            )
        if height < patch_height or width < patch_width:
            raise UserError(
                f"{fovs.title(run)}: the image of {height} x {width} pixels is smaller than the "
                f"patch of {patch_height} x {patch_width}. Use a smaller patch, or leave it out."
            )
