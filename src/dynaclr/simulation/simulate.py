"""Simulation of a whole experiment: plate, tracks, annotations and truth."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from dynaclr.config import ExperimentConfig, SimulationConfig, UserError
from dynaclr.io.artifacts import atomic_path, digest_path, read_json, write_json
from dynaclr.io.plate import Plate
from dynaclr.io.plate_writer import FrameWriter, PlateLayout, new_plate
from dynaclr.simulation import tables
from dynaclr.simulation.microscope import Microscope, microscopes
from dynaclr.simulation.population import simulate_population
from dynaclr.simulation.randomness import generator
from dynaclr.simulation.rendering import Scene, render

PROVENANCE_SUFFIX = ".simulation.json"
# Keys of the entry that decide what is simulated.
_SIMULATED_KEYS = {
    "name",
    "channels",
    "condition_wells",
    "interval_minutes",
    "start_hpi",
    "pixel_size_um",
    "simulation",
}

Progress = Callable[[int, int], None]


def simulate(
    entry: ExperimentConfig,
    *,
    overwrite: bool = False,
    processes: int = 1,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make the plate, tracks, annotations and truth that an experiment entry describes.

    The pixels and tables depend on the entry's content alone, whatever the number of processes.
    Only what was made here is ever replaced: a small JSON file beside the plate
    (``<plate>.simulation.json``) says what was made and with which digest.

    Parameters
    ----------
    entry : ExperimentConfig
        An entry with a `simulation` block and a pixel size. `data_path`, `tracks_path` and, where
        given, `annotations` and `truth` are written.
    overwrite : bool
        Make it anew even if it is there. Without it, an identical entry's products are kept as they
        are, and those of an entry that has changed are an error.
    processes : int
        Fields of view to simulate at the same time. With more than one, a script that calls this
        needs the usual ``if __name__ == "__main__"``.
    progress : callable, optional
        Called with (fields of view done, fields of view in all).

    Returns
    -------
    dict
        Counts of what was made and, under ``content``, the digest of each product as it lies on
        disk, pixels included; JSON-able. Equal summaries, equal experiments.

    Raises
    ------
    UserError
        When the entry cannot be simulated, or a file that was not made here is in the way.
    """
    config, pixel_size_um = _checked_parameters(entry)
    products = _products(entry)
    old = {key: _digest(key, path) for key, path in products.items() if path.exists()}
    existing = _existing_summary(entry, old, overwrite)
    if existing is not None:
        return existing
    with ExitStack() as stack:
        made = {key: stack.enter_context(atomic_path(path)) for key, path in products.items()}
        plate = made["data_path"]
        results = _write_plate(entry, config, pixel_size_um, plate, processes, progress)
        _write_tables(results, made)
        content = {key: digest_path(path) for key, path in made.items()}
        summary = _summary(entry, config, results) | {"content": content}
        # Written before the products are renamed, so that a run killed in between leaves nothing
        # unknown: each product is then an old or a new one.
        new = content | {"data_path": _digest("data_path", plate)}
        write_json(provenance_path(entry), _provenance(entry, old, new, summary))
    return summary


def provenance_path(entry: ExperimentConfig) -> Path:
    """File beside the plate that says what was simulated."""
    return entry.data_path.with_name(entry.data_path.name + PROVENANCE_SUFFIX)


def _checked_parameters(entry: ExperimentConfig) -> tuple[SimulationConfig, float]:
    """Parameters of an entry that is simulated, and its pixel size in um.

    Raises
    ------
    UserError
        When it is of real data.
    """
    if entry.simulation is None or entry.pixel_size_um is None:
        raise UserError(
            f"experiment {entry.name}: has no `simulation` block. Add one, or import real data "
            "instead."
        )
    return entry.simulation, entry.pixel_size_um


def _products(entry: ExperimentConfig) -> dict[str, Path]:
    keys = ("data_path", "tracks_path", "annotations", "truth")
    return {key: path for key in keys if (path := getattr(entry, key)) is not None}


def _digest(key: str, path: Path) -> str:
    """Digest by which a product is recognised."""
    # A plate is known by its metadata: to read all pixels would take long, and a plate with a
    # damaged chunk could not be made anew.
    if key != "data_path":
        return digest_path(path)
    try:
        return Plate(path).digest()
    except UserError:
        return "no plate"


def _existing_summary(
    entry: ExperimentConfig, digests: dict[str, str], overwrite: bool
) -> dict[str, Any] | None:
    """Summary of the products that exist and are kept, or None when they may be made.

    `digests` are those by which the existing products are recognised.

    Raises
    ------
    UserError
        When a product was not made here, has been changed, or belongs to another entry.
    """
    if not digests:
        return None
    file = provenance_path(entry)
    provenance = read_json(file) if file.exists() else {"products": {}}
    for key, digest in digests.items():
        if digest not in provenance["products"].get(key, []):
            raise UserError(
                f"{getattr(entry, key)}: was not made by the simulation, or was changed since. "
                f"Move it away, or give experiment {entry.name} another `{key}`."
            )
    if overwrite:
        return None
    if provenance["entry"] != _simulated_keys(entry):
        raise UserError(
            f"{entry.data_path}: was simulated from another entry than experiment {entry.name} "
            "now has. Allow it to be overwritten, or remove it."
        )
    summary = provenance["summary"]
    newest = {key: known[0] for key, known in provenance["products"].items()}
    if digests != newest or "content" not in summary:
        return None
    if summary["content"]["data_path"] != digest_path(entry.data_path):
        raise UserError(
            f"{entry.data_path}: pixels were changed since they were simulated. "
            "Allow the plate to be overwritten, or remove it."
        )
    return summary


def _simulated_keys(entry: ExperimentConfig) -> dict[str, Any]:
    return entry.model_dump(mode="json", include=_SIMULATED_KEYS)


def _provenance(
    entry: ExperimentConfig, old: dict[str, str], new: dict[str, str], summary: dict[str, Any]
) -> dict[str, Any]:
    """What was made, with the digests that each product may have: the new one, and the old one."""
    return {
        "entry": _simulated_keys(entry),
        "products": {key: [new[key], *([old[key]] if key in old else [])] for key in new},
        "summary": summary,
        "version": version("dynaclr"),
    }


@dataclass(frozen=True)
class _Job:
    """One field of view to simulate, in this process or another."""

    entry: ExperimentConfig
    config: SimulationConfig
    pixel_size_um: float
    fov: str
    infected: bool
    microscope: Microscope
    writer: FrameWriter


@dataclass(frozen=True)
class _Result:
    """Tables of one field of view."""

    fov: str
    tracks: pd.DataFrame
    truth: pd.DataFrame
    annotations: pd.DataFrame


def _write_plate(
    entry: ExperimentConfig,
    config: SimulationConfig,
    pixel_size_um: float,
    path: Path,
    processes: int,
    progress: Progress | None,
) -> list[_Result]:
    wells = {w: name for name, group in entry.condition_wells.items() for w in group}
    fovs = {f"{well}/{i}": well for well in sorted(wells) for i in range(config.fovs_per_well)}
    states = microscopes(config, entry.name, wells)
    with new_plate(
        path,
        positions=list(fovs),
        channels=[channel.name for channel in entry.channels],
        shape_TZYX=(config.frames, 1, config.height, config.width),
        dtype=np.uint16,
        interval_minutes=entry.interval_minutes,
        pixel_size_um=pixel_size_um,
        layout=PlateLayout(config.ngff, config.chunk, shard_frames=config.shard_frames),
    ) as plate:
        jobs = [
            _Job(
                entry,
                config,
                pixel_size_um,
                fov,
                wells[well] in config.infected_conditions,
                states[well],
                plate.position(fov),
            )
            for fov, well in fovs.items()
        ]
        results = []
        for result in _run(jobs, processes):
            results.append(result)
            if progress is not None:
                progress(len(results), len(jobs))
    return results


def _run(jobs: list[_Job], processes: int) -> Iterator[_Result]:
    if processes <= 1:
        yield from map(_simulate_fov, jobs)
        return
    # Forking a process that has threads (as the array libraries do) can lock up.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(processes, len(jobs)), mp_context=context) as pool:
        yield from pool.map(_simulate_fov, jobs)


def _simulate_fov(job: _Job) -> _Result:
    entry, config, pixel_um = job.entry, job.config, job.pixel_size_um
    key, well = (entry.name, job.fov), job.fov.rsplit("/", 1)[0]
    population = simulate_population(
        config,
        infected=job.infected,
        size_um=(config.height * pixel_um, config.width * pixel_um),
        hours=entry.hours(np.arange(config.frames)),
        rng=generator(config.seed, *key, "population"),
    )
    channels = tuple((c.marker, entry.has_marker(c.marker, well)) for c in entry.channels)
    scene = Scene(config, key, population, job.microscope, pixel_um, channels)
    with job.writer as frames:
        for frame_CZYX in render(scene):
            frames.append(frame_CZYX)
    tracks = tables.observe(population, config, pixel_um, scene.random("tracker"))
    truth = tables.truth(tracks, population, config)
    labels = tables.annotate(tracks, truth, population, config, scene.random("annotator"))
    return _Result(job.fov, tracks.drop(columns="cell"), truth, labels)


def _write_tables(results: list[_Result], made: dict[str, Path]) -> None:
    for result in results:
        folder = made["tracks_path"] / result.fov
        folder.mkdir(parents=True)
        result.tracks.to_csv(folder / "tracks.csv", index=False)
    for key in ("annotations", "truth"):
        if key in made:
            parts = [tables.with_fov(getattr(result, key), result.fov) for result in results]
            pd.concat(parts).to_csv(made[key], index=False)


def _summary(
    entry: ExperimentConfig, config: SimulationConfig, results: list[_Result]
) -> dict[str, Any]:
    tracks = [result.tracks for result in results]
    truth = pd.concat([result.truth for result in results])
    return {
        "experiment": entry.name,
        "plate": entry.data_path.name,
        "fields_of_view": len(results),
        "frames": config.frames,
        "observations": sum(map(len, tracks)),
        "tracks": sum(table["track_id"].nunique() for table in tracks),
        "divisions": sum(map(tables.count_divisions, tracks)),
        "observations_infected": int(truth["infected"].sum()),
        "observations_responding": int(truth["responding"].sum()),
    }
