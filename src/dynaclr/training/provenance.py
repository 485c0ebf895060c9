"""Provenance of a result: code, packages, environment."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from dynaclr.io.artifacts import digest_path

_PACKAGES = ("dynaclr", "torch", "lightning", "numpy", "pandas", "timm", "zarr", "anndata")
_LOCK = "envs/lock.txt"


def environment() -> dict[str, Any]:
    """Package versions, type of CPU, commit of the checkout, digest of the lock file, if any."""
    root = Path(__file__).resolve().parents[3]
    lock = root / _LOCK
    return {
        "python": platform.python_version(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git_commit": _commit(root),
        "lock": digest_path(lock) if lock.is_file() else None,
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit(root: Path) -> str | None:
    """Commit of the checkout that this package is installed from, ``-dirty`` when changed."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None
