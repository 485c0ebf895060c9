"""What a result depends on, as short texts: equal text, equal content.

The workflow hands these to its jobs as parameters, so that a changed tracking table, plate or
module reruns what used it, and a touched file reruns nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
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


def label_fingerprint(
    entry: ExperimentConfig, columns: Mapping[str, Collection[str]]
) -> dict[str, str]:
    """Digests of columns of `annotations` and `truth`, by their names: ``truth: onset``.

    The order of rows and other columns change nothing. Simulated labels are known by their
    simulation.
    """
    found: dict[str, str] = {}
    for source, names in columns.items() if entry.simulation is None else ():
        path = getattr(entry, source)
        digests = label_digests(path) if path else {}
        found |= {f"{source}: {name}": digests[name] for name in sorted({*names} & {*digests})}
    return found


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
