"""Metadata documents of Zarr groups and arrays, read as JSON (Zarr 2 and 3).

Planning reads the metadata of a thousand plates, so this is JSON and the standard library: to
import iohub's metadata classes alone takes two seconds, and opening positions with them takes
milliseconds each.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# Names of metadata files of Zarr 3 and 2; where there are both, the newer format's counts.
_GROUP, _ARRAY = ("zarr.json", ".zattrs"), ("zarr.json", ".zarray")


def ngff_attributes(group: Path) -> dict[str, Any]:
    """Attributes of an NGFF group: under ``attributes.ome`` in NGFF 0.5, flat before; else empty.

    Raises
    ------
    ValueError
        When its metadata are damaged.
    """
    metadata = _read_document(group / "zarr.json")
    if metadata is None:
        return _read_document(group / ".zattrs") or {}
    attributes = metadata.get("attributes", {})
    return attributes.get("ome", attributes)


def is_image(group: Path) -> bool:
    """Whether a folder is an NGFF image whose metadata can be read."""
    try:
        return "multiscales" in ngff_attributes(group)
    except ValueError:
        return False


def read_array_metadata(path: Path) -> dict[str, Any]:
    """Metadata of an array; in Zarr 3 codecs, grid and keys are objects, also where they are names.

    Raises
    ------
    ValueError
        When there are none, or they are damaged.
    """
    metadata = _read_document(path / "zarr.json")
    if metadata is not None:
        return _with_objects(metadata)
    metadata = _read_document(path / ".zarray")
    if metadata is None:
        raise ValueError(f"{path} holds no Zarr array, though the plate lists one")
    return metadata


def group_file(group: Path) -> Path:
    """File that holds the metadata of a group."""
    return _newest(group, _GROUP)


def array_file(array: Path) -> Path:
    """File that holds the metadata of an array."""
    return _newest(array, _ARRAY)


def _newest(folder: Path, names: tuple[str, str]) -> Path:
    newer, older = (folder / name for name in names)
    return newer if newer.exists() else older


def _read_document(path: Path) -> dict[str, Any] | None:
    """A metadata document, or None where there is no such file."""
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("no JSON object")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} holds damaged metadata ({error})") from None
    return content


def _with_objects(value: Any, key: str = "") -> Any:
    """Zarr 3.1 allows ``"bytes"`` for ``{"name": "bytes"}``."""
    if key in ("codecs", "index_codecs"):
        return [_with_objects(codec, "codec") for codec in value]
    if key in ("codec", "chunk_grid", "chunk_key_encoding") and isinstance(value, str):
        return {"name": value}
    if key in ("", "codec", "configuration") and isinstance(value, dict):
        return {name: _with_objects(one, name) for name, one in value.items()}
    return value
