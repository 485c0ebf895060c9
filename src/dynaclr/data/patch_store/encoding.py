"""Rounding of normalized pixels to 8-bit or 16-bit numbers, and its error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from dynaclr.data.patch_store.reader import HIGHEST, LOWEST


@dataclass
class RoundingLoss:
    """Difference of stored pixels from what they stand for, in spreads.

    Attributes
    ----------
    n : int
        Pixels.
    squares, largest : float
        Sum of the squared differences, and the largest difference.
    """

    n: int = 0
    squares: float = 0.0
    largest: float = 0.0

    def add(self, difference: NDArray[np.float32]) -> None:
        """Count the pixels of some more crops (B, C, Z, Y, X)."""
        if difference.size:
            self.n += difference.size
            # Crop by crop: squares in double precision would take twice the crops' memory.
            self.squares += sum(
                float(np.square(crop, dtype=np.float64).sum()) for crop in difference
            )
            self.largest = max(self.largest, float(difference.max()), -float(difference.min()))


def total_loss(parts: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Root mean square and largest difference, from the losses of several fields of view."""
    n = sum(part["n"] for part in parts)
    squares = sum(part["squares"] for part in parts)
    largest = max(part["largest"] for part in parts)
    return {"rms": (squares / max(n, 1)) ** 0.5, "largest": largest}


def normalized(
    crops: NDArray[Any], center: NDArray[np.float32], spread: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Crops (B, C, Z, Y, X) in spreads from the center, both of shape (B, C)."""
    out = crops.astype(np.float32)
    out -= center[:, :, None, None, None]
    out /= spread[:, :, None, None, None]
    return out


def encoded(
    crops: NDArray[np.float32], dtype: DTypeLike, present: NDArray[np.bool_], loss: RoundingLoss
) -> NDArray[Any]:
    """Round normalized crops.

    Parameters
    ----------
    crops : NDArray of float32, shape (B, C, Z, Y, X)
    dtype : dtype
        float16 or uint8; 8 bits span `LOWEST` to `HIGHEST`.
    present : NDArray of bool, shape (C,)
        Markers that were imaged; others become zero.
    loss : RoundingLoss
        What the difference is added to.
    """
    step = np.float32((HIGHEST - LOWEST) / 255)
    if np.dtype(dtype) == np.float16:
        limits = np.finfo(np.float16)
        out = crops.clip(limits.min, limits.max).astype(np.float16)
        decoded = out.astype(np.float32)
    else:
        scaled = crops - np.float32(LOWEST)
        scaled /= step
        out = scaled.round(out=scaled).clip(0, 255, out=scaled).astype(np.uint8)
        del scaled
        decoded = out.astype(np.float32)
        decoded *= step
        decoded += np.float32(LOWEST)
    decoded -= crops
    loss.add(decoded[:, present])
    out[:, ~present] = 0
    return out
