"""What was read from many files, remembered while the files look the same.

A project of a thousand experiments has some hundred thousand tracking tables and metadata files. To
read them all, each time that jobs are planned, would take minutes; to look at them takes seconds.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from dynaclr.io.artifacts import digest_text, write_text

# A file that changed this recently may change again and look the same.
_SETTLED_NS = 2_000_000_000
_folder: Path | None = None
_seen: dict[tuple[str, str], Any] = {}


def use_cache_folder(folder: str | Path) -> None:
    """Keep what is read in this folder from now on; nothing is remembered before.

    This process then looks once at everything: what changes while it lives, the next one notices.
    """
    global _folder
    _folder = Path(folder)
    _seen.clear()


def read_cached(what: str, path: Path, read: Callable[[Path], tuple[Any, Iterable[Path]]]) -> Any:
    """Read something from a path, unless it was read before and its files look the same.

    Parameters
    ----------
    what : str
        Kind of thing, one for each `read`.
    path : Path
        Where it is.
    read : callable
        Returns a JSON-able value and all files and folders that it depends on. A folder stands for
        the names in it.

    Returns
    -------
    Any
        The value.
    """
    if _folder is None:
        return read(path)[0]
    key = what, os.path.abspath(path)
    if key not in _seen:
        _seen[key] = _recall(_folder / what / f"{digest_text(key[1])[:32]}.json", path, read)
    return _seen[key]


def _recall(note: Path, path: Path, read: Callable[[Path], tuple[Any, Iterable[Path]]]) -> Any:
    known = _read_note(note)
    if known and _look(known["files"]) == known["look"]:
        return known["value"]
    value, files = read(path)
    names = [os.fspath(file) for file in files]
    look = _look(names)
    if look and look[1] < time.time_ns() - _SETTLED_NS:
        # Another process that plans may be writing the same note.
        with suppress(FileNotFoundError):
            write_text(note, json.dumps({"files": names, "look": look, "value": value}))
    return value


def _read_note(note: Path) -> dict[str, Any] | None:
    try:
        return json.loads(note.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def _look(files: Iterable[str]) -> list[Any] | None:
    """Digest of sizes and times of all files, and the latest time; None when one is missing.

    The time of the last change of content or of name cannot be set back, that of content can.
    """
    facts, latest = [], 0
    try:
        for file in files:
            status = os.stat(file)
            facts.append((status.st_size, status.st_mtime_ns, status.st_ctime_ns))
            latest = max(latest, status.st_ctime_ns)
    except OSError:
        return None
    return [digest_text(str(facts)), latest]
