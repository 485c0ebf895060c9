"""Published classifiers in a folder that a lab shares.

::

    <registry>/<name>/v1/      arrays.npz, classifier.json, published.json
    <registry>/<name>/v2/
    <registry>/<name>/latest   the text "v2"

A version is written whole or not at all and never changes. Several people may publish at once.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from pathlib import Path

from dynaclr.config import UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.evaluation.classifiers.linear import LinearClassifier
from dynaclr.io.artifacts import (
    atomic_path,
    digest_json,
    digest_path,
    read_json,
    write_json,
)

LATEST = "latest"
PUBLISHED = "published.json"
_FILES = ("arrays.npz", "classifier.json")


def publish_classifier(folder: str | Path, registry: str | Path, name: str) -> str:
    """Publish a saved classifier as the next version of a name, and point ``latest`` at it.

    Parameters
    ----------
    folder : str or Path
        Folder that `LinearClassifier.save` wrote.
    registry : str or Path
        Folder of the registry; made where it does not exist.
    name : str
        Letters, digits, ``_ . -``.

    Returns
    -------
    str
        The version, for example ``v3``; the newest one if that is the same classifier.

    Raises
    ------
    UserError
        When the folder holds no whole classifier, or the name has other characters.
    """
    folder, home = Path(folder), _home(registry, name)
    LinearClassifier.load(folder)
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".publishing.", dir=home) as temporary:
        copy = Path(temporary) / "copy"
        copy.mkdir()
        for file in _FILES:
            shutil.copyfile(folder / file, copy / file)
        digest, versions = _digest(copy), _versions(home)
        if versions and read_json(home / versions[-1] / PUBLISHED)["digest"] == digest:
            version = versions[-1]
        else:
            version = _rename_to_next_version(copy, home, {"name": name, "digest": digest})
    pointed = None
    # Also without a new version: its publisher may have been killed before this. Again if another
    # publisher added a version meanwhile.
    while pointed != (newest := _versions(home)[-1]):
        pointer = home / f".{LATEST}.{uuid.uuid4().hex[:8]}"
        pointer.write_text(newest + "\n", encoding="utf-8")
        os.replace(pointer, home / LATEST)
        pointed = newest
    return version


def _rename_to_next_version(copy: Path, home: Path, note: dict[str, str]) -> str:
    """Rename a whole copy to the first version that is free; a rename onto a folder fails."""
    number = len(_versions(home)) + 1
    while True:
        version = f"v{number}"
        write_json(copy / PUBLISHED, {**note, "version": version})
        try:
            os.rename(copy, home / version)
            return version
        except OSError:
            if not (home / version).exists():
                raise
            number += 1


def fetch_classifier(
    registry: str | Path, name: str, out: str | Path, version: str = LATEST
) -> str:
    """Copy a published classifier to a folder, whole or not at all.

    Parameters
    ----------
    registry : str or Path
    name : str
    out : str or Path
        Folder to write.
    version : str
        ``v3``, or ``latest``.

    Returns
    -------
    str
        The version that was fetched.

    Raises
    ------
    UserError
        When there is no such classifier or version, the name is no folder of the registry, or its
        files were changed.
    """
    home = _home(registry, name)
    versions = _versions(home)
    if not versions:
        known = sorted(path.name for path in Path(registry).glob("*") if _versions(path))
        raise UserError(f"{registry}: no classifier {name!r}. {did_you_mean(name, known)}.")
    if version == LATEST:
        pointer = home / LATEST
        version = pointer.read_text().strip() if pointer.exists() else versions[-1]
    if version not in versions:
        raise UserError(
            f"{home}: no version {version!r}; there are {', '.join(versions)}. Name one of them."
        )
    with atomic_path(out) as temporary:
        shutil.copytree(home / version, temporary)
        if read_json(temporary / PUBLISHED).get("digest") != _digest(temporary):
            raise UserError(
                f"{home / version}: its files are not those that were published. Do not use it; "
                "fetch another version, or publish it again."
            )
    return version


def _home(registry: str | Path, name: str) -> Path:
    """Folder of a name, which lies in the registry whatever the name."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name):
        raise UserError(
            f"classifier name {name!r}: only letters, digits, _ . and - are possible, a letter or "
            "digit first. Choose another name."
        )
    return Path(registry) / name


def _versions(home: Path) -> list[str]:
    """Versions of a name, oldest first."""
    numbers = [path.parent.name[1:] for path in home.glob(f"v*/{PUBLISHED}")]
    return [f"v{number}" for number in sorted(int(text) for text in numbers if text.isdigit())]


def _digest(folder: Path) -> str:
    return digest_json({file: digest_path(folder / file) for file in _FILES})
