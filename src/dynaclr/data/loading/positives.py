"""What anchors are paired with, and what of it can be told before there are any data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dynaclr.config import CollectionConfig, ExperimentConfig, Problems, UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.data.loading.markers import check_markers
from dynaclr.sampling import offsets_in_frames

# Hours from an anchor to its positive, unless a training says otherwise.
TAU_RANGE = (0.5, 2.0)
# Ways to choose a positive by name; else it is a list of columns.
POSITIVES = ("lineage", "track")


def as_names(chosen: str | list[str] | None) -> list[str]:
    """Names that are given as one, several or none."""
    return [chosen] if isinstance(chosen, str) else list(chosen or [])


def offsets_of_all(
    tau_range: tuple[float, float], entries: Mapping[str, ExperimentConfig], names: list[str]
) -> list[NDArray[np.int64]]:
    """Offsets in frames from an anchor to its positive in each experiment.

    Raises
    ------
    UserError
        With every experiment that has no whole frame in that range.
    """
    problems, offsets = Problems(), []
    for name in names:
        try:
            offsets.append(offsets_in_frames(tau_range, entries[name].interval_minutes))
        except ValueError as error:
            problems.found.append(f"experiment {name}: {error}")
    problems.raise_if_any()
    return offsets


def check_collection(
    data: Mapping[str, Any],
    collection: CollectionConfig,
    entries: Mapping[str, ExperimentConfig],
    where: str,
) -> None:
    """Hold the data section of a training, which is sound, against the collection it trains on.

    Parameters
    ----------
    data : mapping
        Arguments of `dynaclr.data.MultiExperimentDataModule`.
    collection : CollectionConfig
    entries : mapping of str to ExperimentConfig
        Experiments by name.
    where : str
        What to call the training in a message.

    Raises
    ------
    UserError
        When `tau_range` holds no whole frame of an experiment, no experiment has a marker or one
        has none, or `group_weights` names other experiments than those that train.
    """
    problems = Problems()
    if isinstance(data.get("positives", POSITIVES[0]), str):
        try:
            offsets_of_all(data.get("tau_range", TAU_RANGE), entries, collection.experiments)
        except UserError as error:
            problems.found.append(f"{where}: data.tau_range: {error}")
    try:
        used = {name: entries[name] for name in collection.experiments}
        check_markers(data["patches"]["markers"], used)
    except UserError as error:
        problems.found.append(f"{where}: {error}")
    sampling = data.get("sampling") or {}
    weights = sampling.get("group_weights")
    if weights and as_names(sampling.get("batch_group_by", "experiment")) == ["experiment"]:
        place = f"{where}: data.sampling.group_weights"
        for name in sorted(set(weights) - set(collection.train)):
            problems.add(
                place, f"{name} is no train experiment", did_you_mean(name, collection.train)
            )
        for name in sorted(set(collection.train) - set(weights)):
            problems.add(place, f"train experiment {name} has no weight", "Give it one")
    problems.raise_if_any()
