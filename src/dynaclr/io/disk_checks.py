"""Checks of experiment entries against their plates, tracks and tables on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable

from dynaclr.config.errors import Problems, UserError, nearest
from dynaclr.config.experiment import ExperimentConfig
from dynaclr.io.plate import plate_facts


def check_all_on_disk(experiments: Iterable[ExperimentConfig], problems: Problems) -> None:
    """Hold entries against their plates and folders, collecting faults.

    Simulated experiments are left out: what is on disk, if anything, may be of an earlier entry
    and is made anew from this one.
    """
    for experiment in experiments:
        if experiment.simulation is None:
            check_on_disk(experiment, f"experiment {experiment.name}", problems)


def check_on_disk(experiment: ExperimentConfig, where: str, problems: Problems) -> None:
    """Hold one entry against its plate and folders, collecting faults."""
    _check_plate(experiment, where, problems)
    if not os.path.isdir(experiment.tracks_path):
        problems.add(
            f"{where}: tracks_path", f"{experiment.tracks_path} is no folder", "Correct the path"
        )
    for key in ("annotations", "truth"):
        path = getattr(experiment, key)
        if path is not None and not path.is_file():
            problems.add(f"{where}: {key}", f"{path} is no file", "Correct the path or remove it")


def _check_plate(experiment: ExperimentConfig, where: str, problems: Problems) -> None:
    try:
        plate = plate_facts(experiment.data_path)
    except UserError as error:
        problems.found.append(f"{where}: data_path: {error}")
        return
    for channel in experiment.channels:
        if channel.name not in plate.channels:
            problems.add(
                f"{where}: channels",
                f"the plate {experiment.data_path} has no channel {channel.name!r}",
                nearest(channel.name, plate.channels),
            )
    named = {
        "condition_wells": list(experiment.condition_of_well),
        "include_wells": experiment.include_wells or [],
        "channels.wells": [w for c in experiment.channels for w in c.wells or []],
    }
    for key, listed in named.items():
        for well in dict.fromkeys(listed):
            if well not in plate.wells:
                problems.add(
                    f"{where}: {key}", f"no well {well} on the plate", nearest(well, plate.wells)
                )
    for fov in experiment.exclude_fovs:
        if fov not in plate.fovs:
            problems.add(
                f"{where}: exclude_fovs",
                f"no field of view {fov} on the plate",
                nearest(fov, plate.fovs),
            )
