"""Values that rules hand to their jobs: as text, or as a file where they may be long."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from dynaclr.io.artifacts import digest_text, write_text


def as_text(content: Any) -> str:
    """JSON of something, the same text for the same content."""
    return json.dumps(content, sort_keys=True)


def as_file(content: Any, folder: Path) -> str:
    """Path of a file with this content as JSON, named by it.

    A command line takes 128 kB at most.
    """
    text = as_text(content)
    file = (folder / digest_text(text)).with_suffix(".json")
    if not file.exists():
        # Another process that plans may be writing the same.
        with suppress(FileNotFoundError):
            write_text(file, text)
    return str(file)
