"""Fixtures that all tests share."""

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.lacking import lacks

# Before torch is imported. Tests run in as many processes as there are cores, on small arrays:
# threads of several processes on one core would spend most of the time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real time-lapse data that lies beside the project's own checkout, not with its users."""
    path = REPOSITORY.parent / "shared" / "data"
    if not path.is_dir():
        lacks(f"{path}, the real data beside the project's own checkout, is not here")
    return path


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Function of a name and of what fills a folder; returns that folder, for reading only.

    Where tests run in several processes, the first that asks makes it and the others wait.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def made(name: str, fill: Callable[[Path], None]) -> Path:
        folder, done = root / f"{name}-shared", root / f"{name}-shared.done"
        with (root / f"{name}-shared.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                # What a failed attempt left could not be filled again; its error is the answer.
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return made


@dataclass(frozen=True)
class Collection:
    """A small merged collection of simulated experiments on disk.

    Attributes
    ----------
    experiments : Path
        Per-experiment results: index and statistics.
    folder : Path
        The merged collection: ``one`` and ``two`` train, ``three`` validates.
    """

    experiments: Path
    folder: Path


@pytest.fixture(scope="session")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Collection:
    """Three simulated experiments that differ in interval, pixel size and NGFF version."""
    from dynaclr.config import ExperimentConfig
    from dynaclr.data import compute_statistics
    from dynaclr.index import build_index, merge_indexes
    from dynaclr.simulation import simulate

    root = tmp_path_factory.mktemp("collection")
    facts = {"one": (30, 0.6, "0.4"), "two": (15, 0.5, "0.5"), "three": (30, 0.6, "0.4")}
    for seed, (name, (interval, pixel, ngff)) in enumerate(facts.items()):
        entry = ExperimentConfig(
            name=name,
            data_path=root / name / "plate.zarr",
            tracks_path=root / name / "tracks",
            truth=root / name / "truth.csv",
            channels=[
                {"name": "Phase2D", "marker": "phase"},
                {"name": "GFP", "marker": "reporter", "wells": ["A/1"]},
            ],
            condition_wells={"mock": ["A/1"], "infected": ["B/1"]},
            interval_minutes=interval,
            start_hpi=4,
            pixel_size_um=pixel,
            simulation={
                "seed": seed,
                "frames": 8,
                "height": 96,
                "width": 96,
                "cells": 8,
                "ngff": ngff,
            },
        )
        simulate(entry)
        build_index(entry, root / "results" / name)
        compute_statistics(entry, root / "results" / name)
    merge_indexes(
        [root / "results" / name for name in facts],
        root / "merged",
        train=["one", "two"],
        validation=["three"],
    )
    return Collection(root / "results", root / "merged")
