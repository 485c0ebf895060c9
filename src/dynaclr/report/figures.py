"""Figures of other stages as parts of the page, with their captions."""

from __future__ import annotations

import base64
import io
from functools import cache
from pathlib import Path
from typing import NamedTuple

from dynaclr.config import UserError
from dynaclr.config.grammar import parse_text
from dynaclr.io.artifacts import reading

PAGE = Path(__file__).parent / "page"
_QUALITY = 82
_MAX_WIDTH = 2000


class Figure(NamedTuple):
    """A figure as the page shows it.

    Attributes
    ----------
    title, caption : str
        What it shows, and how to read it.
    source : str
        The image itself as a ``data:`` address.
    name : str
        Its file, relative to the results folder.
    """

    title: str
    caption: str
    source: str
    name: str


def read_figures(results: Path, names: list[str]) -> list[Figure]:
    """Read figures.

    Parameters
    ----------
    results : Path
    names : list of str
        Files relative to `results`, ``.svg`` or ``.png``.

    Raises
    ------
    UserError
        When a file is missing, or is no image.
    """
    figures = []
    for name in names:
        path = results / name
        if not path.is_file():
            raise UserError(f"{path}: no such figure. Run the stage that makes it first.")
        caption = _captions().get(path.stem, {})
        title = caption.get("title", path.stem.replace("_", " ").capitalize())
        with reading(path):
            kind, content = _encode(path)
        source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
        figures.append(Figure(title, caption.get("caption", ""), source, name))
    return figures


def _encode(path: Path) -> tuple[str, bytes]:
    """Vector graphics stay as they are; raster images become WebP, a fraction of the size."""
    from PIL import Image

    if path.suffix == ".svg":
        return "svg+xml", path.read_bytes()
    stream = io.BytesIO()
    with Image.open(path) as image:
        reduced = image.convert("RGB")
        reduced.thumbnail((_MAX_WIDTH, 10 * _MAX_WIDTH))
        reduced.save(stream, "WEBP", quality=_QUALITY)
    return "webp", stream.getvalue()


@cache
def _captions() -> dict[str, dict[str, str]]:
    return parse_text((PAGE / "captions.yaml").read_text(encoding="utf-8"))
