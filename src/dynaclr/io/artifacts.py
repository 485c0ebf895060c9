"""Products on disk: written whole or not at all, with a digest of their content."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dynaclr.config.errors import UserError

DIGEST_SUFFIX = ".digest"
_SNAKEMAKE_STAMP = ".snakemake_timestamp"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; rename it to `path` when the block succeeds.

    Works for files and for folders. When the block fails, what it wrote is removed and what
    was at `path` before stays. A process killed at any moment leaves a whole product at `path`,
    the old or the new one, or none; hidden temporaries that it left beside `path` are removed by
    the next write of the same product. A product has one writer at a time.

    Parameters
    ----------
    path : str or Path
        Path of the finished product. Missing parent folders are made.

    Yields
    ------
    Path
        The temporary path, with the same suffix as `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for leftover in _leftovers(path):
        _remove(leftover)
    temporary = _hidden(path)
    try:
        yield temporary
        _replace(temporary, path)
    except OSError as error:
        # A full disk is noticed while writing, which does not say where.
        error.filename = error.filename or str(path)
        raise
    finally:
        _remove(temporary)


def _hidden(path: Path) -> Path:
    return path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}{path.suffix}")


def _leftovers(path: Path) -> list[Path]:
    """Temporaries that a killed process left beside `path`, and temporaries of those."""
    stem, suffix, number = re.escape(path.stem), re.escape(path.suffix), r"\.[0-9a-f]{8}"
    name = re.compile(rf"(\.{stem}{number}|\.\.{stem}{number}{number}){suffix}")
    return [path.parent / other for other in os.listdir(path.parent) if name.fullmatch(other)]


def _replace(new: Path, path: Path) -> None:
    """Rename `new` to `path`; a folder there is renamed aside first, and removed last."""
    if not path.is_dir():
        os.replace(new, path)
        return
    old = _hidden(path)
    os.rename(path, old)
    try:
        os.replace(new, path)
    except BaseException:
        os.rename(old, path)
        raise
    _remove(old)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, content: Any) -> None:
    """Write JSON with sorted keys, whole or not at all, the same bytes for the same content."""
    write_text(path, json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn whatever a reader raises into an error that names the file.

    Of a damaged file, libraries raise exceptions of any class.

    Parameters
    ----------
    path : str or Path
        The file, or the folder of a store.

    Raises
    ------
    UserError
        When the block raises any exception.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if not os.path.exists(path):
            raise UserError(f"{path}: no such file. Run the stage that makes it first.") from error
        raise UserError(
            f"{path}: cannot be read ({reason_of(error)}). Restore it, or delete it to make it "
            "again."
        ) from error


def reason_of(error: Exception) -> str:
    """Class and first line of an exception, for a message."""
    text = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    UserError
        When the file is missing or is no JSON.
    """
    with reading(path):
        return json.loads(Path(path).read_text(encoding="utf-8"))


def digest_text(text: str) -> str:
    """SHA-256 of a text, as 64 hexadecimal digits."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def digest_json(content: Any) -> str:
    """SHA-256 of a JSON-able object, independent of key order."""
    return digest_text(json.dumps(content, sort_keys=True, ensure_ascii=False))


def digest_path(path: str | Path) -> str:
    """SHA-256 of a file's bytes, or of a folder's files and their relative names.

    Snakemake's time-stamp file inside a folder does not count: it changes when nothing else does.

    Raises
    ------
    UserError
        When nothing is there.
    """
    path = Path(path)
    if path.is_dir():
        lines = (
            f"{file.relative_to(path).as_posix()} {digest_path(file)}\n"
            for file in sorted(path.rglob("*"))
            if file.is_file() and file.name != _SNAKEMAKE_STAMP
        )
        return digest_text("".join(lines))
    if not path.is_file():
        raise UserError(f"{path}: no such file. Run the stage that makes it first.")
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def digest_file_of(path: str | Path) -> Path:
    """Path of the small file that holds the digest of the product at `path`."""
    path = Path(path)
    return path.with_name(path.name + DIGEST_SUFFIX)


def write_digest(path: str | Path) -> str:
    """Write the digest of a finished product beside it and return it.

    What consumes a large product declares this small file as its input, so that a rebuilt but
    identical product makes nothing else rerun.
    """
    digest = digest_path(path)
    write_text(digest_file_of(path), digest + "\n")
    return digest


def read_digest(path: str | Path) -> str:
    """Digest that was written beside the product at `path` when it was made.

    Raises
    ------
    UserError
        When no digest was written.
    """
    file = digest_file_of(path)
    if not file.is_file():
        raise UserError(
            f"{path}: has no digest file beside it, so it is not a finished product. "
            "Run the stage that makes it."
        )
    with reading(file):
        return file.read_text(encoding="utf-8").strip()


def verified_digest(product: str | Path) -> str:
    """Digest of a finished product, compared with the one that was written when it was made.

    Raises
    ------
    UserError
        When the product was changed since, or was never finished.
    """
    digest = digest_path(product)
    if digest != read_digest(product):
        raise UserError(
            f"{product}: was changed after it was made. Delete it to make it again, or restore it."
        )
    return digest
