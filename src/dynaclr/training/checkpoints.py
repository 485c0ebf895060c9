"""Checkpoint files: written whole or not at all, and verified when they are read."""

from __future__ import annotations

import io
import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from dynaclr.config import UserError
from dynaclr.io.artifacts import (
    atomic_path,
    digest_file_of,
    digest_path,
    reading,
    verified_digest,
    write_text,
)

log = logging.getLogger(__name__)


class CheckpointsWithDigest(TorchCheckpointIO):
    """How a trainer writes and reads its checkpoints: each with a digest file beside it.

    The digest file names the new content and the one before, and is written first: killed at any
    moment, a checkpoint lies beside its digest.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        """Write a checkpoint whole or not at all."""
        with atomic_path(path) as temporary:
            _write(checkpoint, temporary)
            digests = [digest_path(temporary), *_digests_of(path)[:1]]
            write_text(digest_file_of(path), "\n".join(digests) + "\n")

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint to the CPU."""
        return read_checkpoint(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint and its digest."""
        super().remove_checkpoint(path)
        digest_file_of(path).unlink(missing_ok=True)


def write_checkpoint(content: Mapping[str, Any], path: str | Path) -> None:
    """Write a checkpoint whole or not at all, the same bytes for the same content."""
    with atomic_path(path) as temporary:
        _write(content, temporary)


def _write(content: Mapping[str, Any], path: Path) -> None:
    # Given a path, torch writes its name into the file, and hides why it cannot write one.
    stream = io.BytesIO()
    torch.save(content, stream)
    path.write_bytes(stream.getbuffer())


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint, weights and plain values alone, and verify it.

    Parameters
    ----------
    path : str or Path
        What `torch.save` wrote. It must have the digest that lies beside it; where there is none,
        the checksums of its tensors are compared, which torch writes but does not read.

    Returns
    -------
    dict
        Its tensors are on the CPU.

    Raises
    ------
    UserError
        When it is missing, damaged or changed, or holds anything but weights and plain values.
    """
    with reading(path):
        if digest_file_of(path).is_file():
            if digest_path(path) not in _digests_of(path):
                verified_digest(path)
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                if damaged := archive.testzip():
                    raise zipfile.BadZipFile(f"bad CRC-32 of {damaged}")
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise UserError(
                f"{path}: is damaged, or holds more than weights and plain values, whose reading "
                "could run code. Save its state_dict alone with `torch.save`; one of VisCy, turn "
                "it with `dynaclr convert-viscy`."
            ) from error
        if not isinstance(content, dict):
            raise TypeError(f"it holds no dictionary but {type(content).__name__}")
    return content


def _digests_of(path: str | Path) -> list[str]:
    """Digests in the file beside a checkpoint; none where there is no such file."""
    file = digest_file_of(path)
    return file.read_text(encoding="utf-8", errors="replace").split() if file.is_file() else []


def find_resume_point(folder: Path, set_aside: bool = True) -> Path | None:
    """Find the last checkpoint that a training can go on from.

    That is ``last.ckpt``; where it is damaged, ``best.ckpt``, which was saved whole in an earlier
    epoch. Where ``best.ckpt`` itself is damaged there is none, since the training could end without
    a better epoch.

    Parameters
    ----------
    folder : Path
        Where the training saves itself.
    set_aside : bool
        Rename damaged checkpoints. Of several processes one does this; all find the same.

    Returns
    -------
    Path or None
        None to begin anew.
    """
    last, best = folder / "last.ckpt", folder / "best.ckpt"
    points = [path for path in (last, best) if path.is_file()]
    damaged = [path for path in points if not _is_whole(path)]
    if best in damaged:
        damaged = points
    for path in damaged if set_aside else []:
        aside = path.replace(path.with_suffix(".damaged"))
        log.warning("%s: damaged, or goes on from what is; set aside as %s", path, aside.name)
    return next((path for path in points if path not in damaged), None)


def _is_whole(path: Path) -> bool:
    try:
        return digest_path(path) in _digests_of(path)
    except (OSError, UserError):
        return False
