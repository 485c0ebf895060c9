"""A folder of published classifiers: numbered versions, whole or not there, and a pointer.

::

    <registry>/<name>/v1/      arrays.npz, classifier.json, published.json
    <registry>/<name>/v2/
    <registry>/<name>/latest   the text "v2"

A published version never changes. Several people may publish at the same time, on any file system
that renames a folder in one step.
"""

from __future__ import annotations

import os
import re
import shutil
import uuid
from pathlib import Path

from dynaclr.config import UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.evaluation.classifiers.linear import LinearClassifier
from dynaclr.io.artifacts import atomic_path, digest_json, digest_path, read_json, write_json

LATEST = "latest"
NOTE = "published.json"
_FILES = ("arrays.npz", "classifier.json")
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def publish_classifier(folder: str | Path, registry: str | Path, name: str) -> str:
    """Publish a saved classifier as the next version of a name, and point ``latest`` at it.

    Parameters
    ----------
    folder : str or Path
        Of a classifier that `LinearClassifier.save` wrote.
    registry : str or Path
        The registry; made where there is none.
    name : str
        Letters, digits, ``_ . -``.

    Returns
    -------
    str
        The version, ``v3``. The newest version, where that holds the very same classifier.

    Raises
    ------
    UserError
        When the folder holds no whole classifier, or the name will not do.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"classifier name {name!r}: only letters, digits, _ . and - are possible, a letter or "
            "digit first. Choose another name."
        )
    LinearClassifier.load(folder)
    place = Path(registry) / name
    place.mkdir(parents=True, exist_ok=True)
    digest = _digest(Path(folder))
    versions = _versions(place)
    if versions and read_json(place / versions[-1] / NOTE)["digest"] == digest:
        version = versions[-1]
    else:
        version = _claim(Path(folder), place, name, digest)
    # Also where nothing is new: whoever published it may have been stopped before this.
    _point_to_newest(place)
    return version


def _point_to_newest(place: Path) -> None:
    """Rename a new pointer over the old one; again, if another publisher was faster meanwhile."""
    pointed = None
    while pointed != (newest := _versions(place)[-1]):
        temporary = _temporary(place)
        temporary.write_text(newest + "\n", encoding="utf-8")
        os.replace(temporary, place / LATEST)
        pointed = newest


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
        When there is no such classifier or version, or its files are not those published.
    """
    place = Path(registry) / name
    versions = _versions(place)
    if not versions:
        known = sorted(path.name for path in Path(registry).glob("*") if _versions(path))
        raise UserError(f"{registry}: no classifier {name!r}. {did_you_mean(name, known)}.")
    if version == LATEST:
        version = (
            (place / LATEST).read_text().strip() if (place / LATEST).exists() else versions[-1]
        )
    if version not in versions:
        raise UserError(
            f"{place}: no version {version!r}; there are {', '.join(versions)}. Name one of them."
        )
    with atomic_path(out) as temporary:
        shutil.copytree(place / version, temporary)
        if read_json(temporary / NOTE).get("digest") != _digest(temporary):
            raise UserError(
                f"{place / version}: its files are not those that were published. Do not use it; "
                "fetch another version, or publish it again."
            )
    return version


def _claim(folder: Path, place: Path, name: str, digest: str) -> str:
    """Copy the classifier into the next free version: renaming a folder onto another one fails."""
    temporary = _temporary(place)
    try:
        temporary.mkdir()
        for file in _FILES:
            shutil.copyfile(folder / file, temporary / file)
        number = len(_versions(place))
        while True:
            number += 1
            version = f"v{number}"
            write_json(temporary / NOTE, {"name": name, "version": version, "digest": digest})
            try:
                os.rename(temporary, place / version)
                return version
            except OSError:
                if not (place / version).exists():
                    raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(place: Path) -> Path:
    return place / f".publishing.{uuid.uuid4().hex[:8]}"


def _versions(place: Path) -> list[str]:
    """Versions of a name, oldest first; what another process is still writing is none."""
    numbers = [path.name[1:] for path in place.glob("v*") if (path / NOTE).is_file()]
    return [f"v{number}" for number in sorted(int(text) for text in numbers if text.isdigit())]


def _digest(folder: Path) -> str:
    return digest_json({file: digest_path(folder / file) for file in _FILES})
