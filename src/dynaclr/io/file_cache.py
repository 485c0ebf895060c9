"""Cache of what was read from many files, valid while their sizes and times stay the same.

A project of a thousand experiments has some hundred thousand tracking tables and metadata files.
Reading them all each time that jobs are planned would take minutes; their sizes and times take
seconds.
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

# A file that changed more recently may change again with the same size and times.
_MIN_AGE_NS = 2_000_000_000
_folder: Path | None = None
_values: dict[tuple[str, str], Any] = {}


def use_cache_folder(folder: str | Path) -> None:
    """Cache in this folder from now on; before, nothing is cached.

    Each path is checked once in the life of a process: what changes later, the next one notices.
    """
    global _folder
    _folder = Path(folder)
    _values.clear()


def read_cached(
    kind: str,
    path: Path,
    read: Callable[[Path], tuple[Any, Iterable[Path]]],
    options: str = "",
) -> Any:
    """Read a value from a path, or take it from the cache if its files are the same.

    Parameters
    ----------
    kind : str
        Kind of value, one for each `read`.
    path : Path
        Where it is read from.
    read : callable
        Returns a JSON-able value and all files and folders that it depends on. A folder stands for
        the names in it.
    options : str
        What else the value depends on.

    Returns
    -------
    Any
        The value.
    """
    if _folder is None:
        return read(path)[0]
    key = kind, f"{os.path.abspath(path)}{options}"
    if key not in _values:
        entry_file = _folder / kind / f"{digest_text(key[1])[:32]}.json"
        _values[key] = _value_of_entry(entry_file, path, read)
    return _values[key]


def _value_of_entry(
    entry_file: Path, path: Path, read: Callable[[Path], tuple[Any, Iterable[Path]]]
) -> Any:
    try:
        entry = json.loads(entry_file.read_text(encoding="utf-8"))
        if entry["state"] == _state(entry["files"]):
            return entry["value"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # No entry, or a damaged one.
    value, paths = read(path)
    files = list(map(os.fspath, paths))
    state = _state(files)
    if state and state[1] < time.time_ns() - _MIN_AGE_NS:
        # Another process may be writing the same entry; and where nothing can be written, nothing
        # is cached.
        with suppress(OSError):
            write_text(entry_file, json.dumps({"files": files, "state": state, "value": value}))
    return value


def _state(files: Iterable[str]) -> list[Any] | None:
    """Digest of sizes and times of all files, and the latest time; None when one is missing.

    The time of the last change of content or name (ctime) cannot be set back, unlike mtime.
    """
    try:
        status = [os.stat(file) for file in files]
    except OSError:
        return None
    sizes_and_times = [(one.st_size, one.st_mtime_ns, one.st_ctime_ns) for one in status]
    latest = max((one.st_ctime_ns for one in status), default=0)
    return [digest_text(str(sizes_and_times)), latest]
