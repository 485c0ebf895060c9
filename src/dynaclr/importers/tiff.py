"""Reading of TIFF images, plane by plane, with their axes as the file tells them."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaclr.config.errors import UserError

log = logging.getLogger(__name__)

# Axes of a file that can be time: Q and I stand for unknown ones.
_FRAME_AXES = "TZQI"
_COLOURS = {"S": "a colour picture", "C": "several channels"}


class TiffStack:
    """A TIFF file of T planes.

    Parameters
    ----------
    path : Path
    stack : contextlib.ExitStack
        Closes the file.

    Attributes
    ----------
    shape : tuple of int
        (T, Y, X) in pixels.
    dtype : numpy.dtype

    Raises
    ------
    UserError
        When it cannot be read, or has other axes than Y, X and at most one that can be time.
    """

    def __init__(self, path: Path, stack: ExitStack) -> None:
        import tifffile

        self.path = path
        if not path.is_file():
            raise UserError(f"{path}: no readable TIFF file (no such file). Correct the path.")
        try:
            self._file = stack.enter_context(tifffile.TiffFile(path))
            series = self._file.series[0]
            axes = "".join(series.axes)
            if axes == "YX" or (axes[-2:] == "YX" and len(axes) == 3 and axes[0] in _FRAME_AXES):
                self.shape: tuple[int, ...] = (1, *series.shape)[-3:]
            else:
                raise UserError(_wrong_axes(path, axes, series.shape))
            self.dtype: np.dtype[Any] = series.dtype
            # ImageJ describes only the first plane and appends the others as plain bytes.
            contiguous = series.dataoffset is not None
            self._mapped = tifffile.memmap(path, mode="r") if contiguous else None
        except (OSError, tifffile.TiffFileError, ValueError, IndexError) as error:
            raise UserError(f"{path}: no readable TIFF file ({error}). Correct the path.") from None
        if axes[0] == "Z":
            log.warning("%s: its slices (axis Z) are taken as frames", path)

    def read(self, t: int) -> NDArray[Any]:
        """Plane `t`, (Y, X).

        Raises
        ------
        UserError
            When the file is damaged or compressed in a way that cannot be read.
        """
        if self._mapped is not None:
            frames: NDArray[Any] = np.asarray(self._mapped).reshape(self.shape)
            return np.asarray(frames[t])
        try:
            return np.asarray(self._file.asarray(key=t, series=0))
        # Each codec has errors of its own.
        except Exception as error:
            what = f"plane {t} cannot be read ({error})"
            raise UserError(f"{self.path}: {what}. Save it again.") from None


def _wrong_axes(path: Path, axes: str, shape: tuple[int, ...]) -> str:
    is_a = [what for axis, what in _COLOURS.items() if axis in axes]
    found = f"{path}: has axes {axes} of {tuple(shape)}"
    if is_a:
        return f"{found}: {is_a[0]}. Save each channel as its own stack of T, Y, X."
    return f"{found}; T, Y, X or Y, X are needed. Choose or project a plane first."


def read_plane(path: Path, shape: tuple[int, ...] | None = None) -> NDArray[Any]:
    """Read an image of one plane.

    Parameters
    ----------
    path : Path
    shape : tuple of int, optional
        Height and width that it must have.

    Returns
    -------
    ndarray, shape (Y, X)

    Raises
    ------
    UserError
        When it cannot be read, or has more planes or another extent.
    """
    with ExitStack() as stack:
        image = TiffStack(path, stack)
        if image.shape[0] != 1:
            raise UserError(
                f"{path}: has shape {image.shape}; only two-dimensional movies are imported. "
                "Choose or project a plane first."
            )
        if shape is not None and image.shape[1:] != shape:
            raise UserError(
                f"{path}: has shape {image.shape[1:]}, the first image {shape}. "
                "Copy the data set again."
            )
        return image.read(0).copy()
