"""One training at a time in a folder."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, SoftFileLock, Timeout

from dynaclr.config import UserError
from dynaclr.training.launch import is_first_process


@contextmanager
def only_training_in(folder: Path) -> Iterator[None]:
    """Keep other trainings out of a folder, on all machines that see it.

    The lock ends with the process, however that ends. Of several processes of a training the first
    one takes it.

    Parameters
    ----------
    folder : Path
        Made if it is missing; the file ``.lock`` in it stays.

    Raises
    ------
    UserError
        When another training holds it, which is named.
    """
    if not is_first_process():
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ".lock"
    lock = FileLock(file, blocking=False)
    try:
        lock.acquire()
    except Timeout:
        holder = " ".join(file.read_text(encoding="utf-8", errors="replace").split())
        raise UserError(
            f"{folder}: another training writes to this folder ({holder}). Wait until it has "
            "ended, stop it, or name another folder."
        ) from None
    try:
        # Where a file system has no locks, filelock writes its own text.
        if not isinstance(lock, SoftFileLock):
            job = os.environ.get("SLURM_JOB_ID", "none")
            file.write_text(f"{socket.gethostname()}, process {os.getpid()}, SLURM job {job}\n")
        yield
    finally:
        lock.release()
