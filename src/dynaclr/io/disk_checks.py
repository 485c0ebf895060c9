"""Checks of experiment entries against their plates, tracks and tables on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable

from dynaclr.config.errors import Problems, UserError, did_you_mean
from dynaclr.config.experiment import ExperimentConfig
from dynaclr.io.label_tables import OF_TRACKS, check_label_names, label_digests
from dynaclr.io.plate import plate_facts


def check_all_on_disk(experiments: Iterable[ExperimentConfig], problems: Problems) -> None:
    """Compare entries with their plates and folders, collecting errors.

    Simulated experiments are left out: what is on disk, if anything, may be of an earlier entry
    and is made again from this one.
    """
    for experiment in experiments:
        if experiment.simulation is None:
            where = f"experiment {experiment.name}"
            check_on_disk(experiment, where, problems)
            _check_labels(experiment, where, problems)


def check_on_disk(experiment: ExperimentConfig, where: str, problems: Problems) -> None:
    """Compare one entry with its plate and folders, collecting errors."""
    _check_plate(experiment, where, problems)
    if not os.path.isdir(experiment.tracks_path):
        what = f"{experiment.tracks_path} is no folder"
        problems.add(f"{where}: tracks_path", what, "Correct the path")
    for key in ("annotations", "truth"):
        path = getattr(experiment, key)
        if path is not None and not path.is_file():
            problems.add(f"{where}: {key}", f"{path} is no file", "Correct the path or remove it")


def _check_labels(experiment: ExperimentConfig, where: str, problems: Problems) -> None:
    """Read the label tables; annotations must not be named like other columns of the index."""
    for key in ("annotations", "truth"):
        path = getattr(experiment, key)
        if path is None or not path.is_file():
            continue
        try:
            names = sorted({*label_digests(path)} - OF_TRACKS)
        except UserError as error:
            problems.found.append(f"{where}: {key}: {error}")
            continue
        if key == "annotations":
            check_label_names(names, experiment.metadata, f"{where}: {key}: {path}", problems)


def _check_plate(experiment: ExperimentConfig, where: str, problems: Problems) -> None:
    """Compare channels, wells and fields of view with those of the plate."""
    try:
        plate = plate_facts(experiment)
    except UserError as error:
        problems.found.append(f"{where}: data_path: {error}")
        return
    for what, fix in plate.channel_problems:
        problems.add(f"{where}: channels", what, fix)
    wells, used = plate.wells, experiment.condition_of_well
    # Of a well that is not used nothing is read, so that its fields of view are not known.
    excluded = [f for f in experiment.exclude_fovs if f.rsplit("/", 1)[0] not in {*wells} - {*used}]
    references = {
        "condition_wells": ("well", list(used), wells),
        "include_wells": ("well", experiment.include_wells or [], wells),
        "channels.wells": ("well", [w for c in experiment.channels for w in c.wells or []], wells),
        "exclude_fovs": ("field of view", excluded, plate.fovs),
    }
    for key, (what, names, known) in references.items():
        for name in dict.fromkeys(names):
            if name not in known:
                missing = f"the plate {experiment.data_path} has no {what} {name!r}"
                problems.add(f"{where}: {key}", missing, did_you_mean(name, known))
