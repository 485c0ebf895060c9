"""Digests of all files of a folder, in one file of it: the folder can be copied and verified."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dynaclr.config.errors import UserError
from dynaclr.io.artifacts import digest_path, read_json, write_json

_DIGESTS = "digests"


def write_folder_digests(folder: Path, name: str, facts: dict[str, Any]) -> None:
    """Write a JSON file with the digest of every other file of a folder, and some facts."""
    digests = {file: digest_path(folder / file) for file in _files_of(folder, name)}
    write_json(folder / name, facts | {_DIGESTS: digests})


def read_verified_folder(folder: Path, name: str) -> dict[str, Any]:
    """Facts that `write_folder_digests` wrote; every file is compared with its digest.

    Raises
    ------
    UserError
        When a file is missing, changed, or was not there, naming all of them.
    """
    facts = read_json(folder / name)
    digests = facts.get(_DIGESTS) if isinstance(facts, dict) else None
    if not isinstance(digests, dict):
        raise UserError(f"{folder / name}: lists no digests. Copy the folder again.")
    found = _files_of(folder, name)
    problems = [f"{file} is missing" for file in digests if file not in found]
    problems += [f"{file} is new" for file in found if file not in digests]
    common = [file for file in found if file in digests]
    problems += [
        f"{file} was changed" for file in common if digest_path(folder / file) != digests[file]
    ]
    if problems:
        raise UserError(f"{folder}: {', '.join(problems)}. Copy the folder again.")
    return facts


def _files_of(folder: Path, left_out: str) -> list[str]:
    """All files of a folder but one, relative to it, sorted."""
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(file.as_posix() for file in files if file != Path(left_out))
