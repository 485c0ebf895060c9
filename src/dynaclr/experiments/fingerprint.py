"""What a result depends on, as short texts: equal text, equal content.

The workflow hands these to its jobs as parameters, so that a changed tracking table, plate or
module reruns what used it, and a touched file reruns nothing.
"""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from dynaclr.experiments.config import ExperimentConfig
from dynaclr.experiments.errors import UserError
from dynaclr.experiments.files import digest_file_of, digest_path, digest_text, read_seal
from dynaclr.experiments.memory import recall
from dynaclr.experiments.plate import plate_facts

_PACKAGE = Path(__file__).resolve().parents[1]


def tracks_fingerprint(entry: ExperimentConfig) -> str:
    """Digest of the experiment's tracking tables: names and content."""
    return recall("tracks", entry.tracks_path, _read_tracks)[0]


def tracks_megabytes(entry: ExperimentConfig) -> float:
    """Size of the experiment's tracking tables."""
    return recall("tracks", entry.tracks_path, _read_tracks)[1]


def _read_tracks(folder: Path) -> tuple[tuple[str, float], list[Path]]:
    files = [folder, *folder.rglob("*")]
    megabytes = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
    return (digest_path(folder), megabytes), files


def plate_fingerprint(entry: ExperimentConfig) -> str:
    """Digest of the plate's metadata; pixels are not read."""
    return plate_facts(entry.data_path).digest


def checkpoint_fingerprint(path: str | Path) -> str:
    """Digest of a checkpoint that was made elsewhere."""
    return recall("checkpoints", Path(path), lambda file: (digest_path(file), [file]))


def label_fingerprint(entry: ExperimentConfig) -> str:
    """Digests of the annotation and truth tables, where the entry has them."""
    tables = (entry.annotations, entry.truth)
    return " ".join(digest_path(table) if table else "-" for table in tables)


def altered(product: str | Path) -> str:
    """Digest of a finished product that was changed by hand since; empty when it was not.

    A product older than its digest file cannot have changed, so that the common case costs two
    looks at the file system.
    """
    product = Path(product)
    try:
        sealed = digest_file_of(product).stat().st_mtime_ns
        if product.stat().st_mtime_ns <= sealed:
            return ""
    except FileNotFoundError:
        return ""
    digest = digest_path(product)
    return "" if digest == read_seal(product) else digest


def verified_digest(product: str | Path) -> str:
    """Digest of a finished product, held against the one that was written when it was made.

    Raises
    ------
    UserError
        When the product was changed since, or was never finished.
    """
    digest = digest_path(product)
    if digest != read_seal(product):
        raise UserError(
            f"{product}: was changed after it was made. Delete it to make it again, or restore it."
        )
    return digest


@cache
def code_digest(*parts: str, without: tuple[str, ...] = ()) -> str:
    """Digest of some of this package's code; comments, docstrings and layout do not count.

    Parameters
    ----------
    *parts : str
        Rooms (``"index"``) or files (``"data/arrays.py"``) of the package.
    without : tuple of str
        Names of files or folders that do not count: those that draw figures, for example.

    Raises
    ------
    UserError
        When the package has no such part.
    """
    lines = []
    for part in parts:
        path = _PACKAGE / part
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            raise UserError(f"{part}: the package has no such part. Correct the rule's `code`.")
        lines += [
            f"{file.relative_to(_PACKAGE)} {_meaning(file)}"
            for file in files
            if not set(file.relative_to(_PACKAGE).parts) & set(without)
        ]
    return digest_text("\n".join(lines))[:16]


@cache
def _meaning(file: Path) -> str:
    """Digest of a module's code without what does not change what it does.

    Remembered, since rules share most modules and a plan would parse each of them several times.
    """
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            body.pop(0)
    return digest_text(ast.dump(tree))


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )
