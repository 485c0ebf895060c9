"""What a result depends on, as short texts: equal text, equal content.

The workflow hands these to its jobs as parameters, so that a changed tracking table, plate or
module reruns what used it, and a touched file reruns nothing.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from dynaclr.config.experiment import ExperimentConfig
from dynaclr.io.artifacts import digest_file_of, digest_path, read_digest
from dynaclr.io.file_cache import read_cached
from dynaclr.io.label_tables import label_digests
from dynaclr.io.plate import plate_facts


def tracks_fingerprint(entry: ExperimentConfig) -> str:
    """Digest of the experiment's tracking tables: names and content."""
    return read_cached("tracks", entry.tracks_path, _read_tracks)[0]


def tracks_megabytes(entry: ExperimentConfig) -> float:
    """Size of the experiment's tracking tables."""
    return read_cached("tracks", entry.tracks_path, _read_tracks)[1]


def _read_tracks(folder: Path) -> tuple[tuple[str, float], list[Path]]:
    files = [folder, *folder.rglob("*")]
    megabytes = sum(file.stat().st_size for file in files if file.is_file()) / 1e6
    return (digest_path(folder), megabytes), files


def plate_fingerprint(entry: ExperimentConfig) -> str:
    """Digest of the plate's metadata; pixels are not read."""
    return plate_facts(entry).digest


def checkpoint_fingerprint(path: str | Path) -> str:
    """Digest of a checkpoint that was made elsewhere."""
    return read_cached("checkpoints", Path(path), lambda file: (digest_path(file), [file]))


def label_fingerprint(table: Path | None, columns: Collection[str] | None = None) -> dict[str, str]:
    """Digests of columns of a label table, by name; of all columns by default.

    Rows in another order, and columns that are not asked for, change nothing.
    """
    digests = {} if table is None else label_digests(table)
    return {key: value for key, value in digests.items() if columns is None or key in columns}


def modified_digests(*products: str | Path) -> str:
    """Digests of those finished products that were changed by hand since; empty for none.

    A product older than its digest file cannot have changed, so that the common case reads two
    times of files.
    """
    return "".join(_modified_digest(Path(product)) for product in products)


def _modified_digest(product: Path) -> str:
    try:
        if product.stat().st_mtime_ns <= digest_file_of(product).stat().st_mtime_ns:
            return ""
    except FileNotFoundError:
        return ""
    digest = digest_path(product)
    return "" if digest == read_digest(product) else digest
