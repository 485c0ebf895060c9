"""What is said of a chunk that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from dynaclr.experiments import Plate

# What reading and decoding raise when a file is lost, cut off or damaged.
UNREADABLE = (OSError, ValueError, RuntimeError)


def reason_of(error: Exception) -> str:
    """Say in a few words why a chunk cannot be read."""
    if isinstance(error, FileNotFoundError):
        return "the chunk is missing"
    return f"the chunk is damaged: {error}"


def message_of(path: str, place: Sequence[int], reason: str) -> str:
    """Name plate, field of view, frame and channel of a chunk that cannot be read, and what to do.

    Parameters
    ----------
    path : str
        Folder of the array: ``<plate>/<row>/<column>/<fov>/<level>``.
    place : sequence of int
        Indices (t, c, ...) of a pixel of the chunk.
    reason : str
    """
    *plate, row, column, fov, _ = Path(path).parts
    name = f"{row}/{column}/{fov}"
    position = Plate(Path(*plate)).positions[name]
    advice = "Copy the plate again, or exclude this field of view."
    if "missing" in reason:
        advice += " If the plate's writer leaves out empty chunks, say `empty_chunks: true`."
    return (
        f"{position.path}: cannot read frame {place[0]} of field of view {name}, channel "
        f"{position.channels[place[1]]} ({reason}). {advice}"
    )
