"""Checks of a training's data options, alone and with its experiments."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dynaclr.config import CollectionConfig, ExperimentConfig, Problems, UserError
from dynaclr.config.errors import did_you_mean
from dynaclr.config.expression import Expression
from dynaclr.data.loading.planned_checks import check_columns, check_movies
from dynaclr.data.loading.positives import POSITIVES, TAU_RANGE, as_names, offsets_of_all

if TYPE_CHECKING:
    from dynaclr.data.loading.datamodule import MultiExperimentDataModule


# Beyond any movie of cells and any image, so that what is set up from them fits into memory.
_MOST_HOURS, _LARGEST_PATCH, _LARGEST_BATCH = 1000, 4096, 10**6


def check_ranges(module: MultiExperimentDataModule) -> None:
    """Check that every number of a data module is inside its range.

    Raises
    ------
    ValueError
        With every number that is not.
    """
    size, depth, markers = module.patches.size, module.patches.depth, list(module.patches.markers)
    extraction, (first, last), sampling = module.extraction_size, module.tau_range, module.sampling
    query_error = _query_error(module.query)
    share, window = sampling.temporal_global_fraction, sampling.temporal_window_hours
    requirements = [
        (
            1 <= module.batch_size <= _LARGEST_BATCH,
            f"batch_size is {module.batch_size}; it must be 1 to {_LARGEST_BATCH}",
        ),
        (module.num_workers >= 0, f"num_workers is {module.num_workers}; it must be 0 or more"),
        (module.cache_mb >= 0, f"cache_mb is {module.cache_mb}; it must be 0 or more"),
        (
            0 < len(markers) == len(set(markers)),
            f"patches.markers is {markers}; it must name distinct markers",
        ),
        (
            min(size) >= 1 and max(*size, *extraction) <= _LARGEST_PATCH,
            f"patches.size is {list(size)} and extraction_size {list(extraction)}; all extents "
            f"must be 1 to {_LARGEST_PATCH}",
        ),
        (depth >= 1, f"patches.depth is {depth}; it must be 1 or more"),
        (
            all(read >= kept for read, kept in zip(extraction, size, strict=True)),
            f"extraction_size is {list(extraction)}, smaller than patches.size {list(size)}",
        ),
        (
            -_MOST_HOURS <= first <= last <= _MOST_HOURS,
            f"tau_range is {[first, last]}; it must be two finite numbers that ascend, within "
            f"{_MOST_HOURS} hours",
        ),
        (
            module.max_border_shift is None or module.max_border_shift >= 0,
            f"max_border_shift is {module.max_border_shift}; it must be 0 or more",
        ),
        (
            module.positives in POSITIVES
            if isinstance(module.positives, str)
            else len(module.positives) > 0,
            f"positives is {module.positives!r}; it must be a mode or a list of columns. "
            f"{did_you_mean(str(module.positives), POSITIVES)}",
        ),
        (
            0 <= module.decay_rate < math.inf,
            f"decay_rate is {module.decay_rate}; it must be 0 or more",
        ),
        (
            all(0 <= weight < math.inf for weight in (sampling.group_weights or {}).values()),
            f"sampling.group_weights is {sampling.group_weights}; each must be 0 or more",
        ),
        (
            0 <= sampling.leaky <= 1,
            f"sampling.leaky is {sampling.leaky}; it must be from 0 to 1",
        ),
        (
            0 <= share <= 1,
            f"sampling.temporal_global_fraction is {share}; it must be from 0 to 1",
        ),
        (query_error == "", f"query: {query_error}"),
        (window >= 0, f"sampling.temporal_window_hours is {window}; it must be 0 or more"),
    ]
    problems = [f"data.{message}" for holds, message in requirements if not holds]
    if problems:
        raise ValueError("; ".join(problems))


def _query_error(query: str | None) -> str:
    try:
        Expression(query or "t >= 0")
    except ValueError as error:
        return str(error).partition("; ")[0]
    return ""


def check_collection(
    data: Mapping[str, Any],
    collection: CollectionConfig,
    entries: Mapping[str, ExperimentConfig],
    where: str,
) -> None:
    """Check the data section of a training, itself valid, against the collection it trains on.

    Parameters
    ----------
    data : mapping
        Arguments of `dynaclr.data.MultiExperimentDataModule`.
    collection : CollectionConfig
    entries : mapping of str to ExperimentConfig
        Experiments by name.
    where : str
        Name of the training in messages.

    Raises
    ------
    UserError
        When `tau_range` holds no whole frame of an experiment, no experiment has a marker or one
        has none, `group_weights` names other experiments than those that train, options name
        columns that there will not be, images are smaller than patches, or nothing validates.
    """
    problems = Problems()
    if isinstance(data.get("positives", POSITIVES[0]), str):
        try:
            offsets_of_all(data.get("tau_range", TAU_RANGE), entries, collection.experiments)
        except UserError as error:
            problems.found.append(f"{where}: data.tau_range: {error}")
    used = {name: entries[name] for name in collection.experiments}
    check_columns(data, list(used.values()), where, problems)
    if not problems.found:
        check_movies(data, collection, used, where, problems)
    try:
        check_markers(data["patches"]["markers"], used)
    except UserError as error:
        problems.found.append(f"{where}: {error}")
    sampling = data.get("sampling") or {}
    weights = sampling.get("group_weights")
    if weights and as_names(sampling.get("batch_group_by", "experiment")) == ["experiment"]:
        key = f"{where}: data.sampling.group_weights"
        for name in sorted(set(weights) - set(collection.train)):
            problems.add(
                key, f"{name} is no train experiment", did_you_mean(name, collection.train)
            )
        for name in sorted(set(collection.train) - set(weights)):
            problems.add(key, f"train experiment {name} has no weight", "Give it one")
    problems.raise_if_any()


def check_markers(markers: Sequence[str], registry: Mapping[str, ExperimentConfig]) -> None:
    """Check that every marker is in some experiment, and that each experiment has one of them.

    Raises
    ------
    UserError
        When no experiment has a marker, or an experiment has none of them.
    """
    known = {marker for entry in registry.values() for marker in entry.markers}
    for marker in markers:
        if marker not in known:
            raise UserError(
                f"marker {marker!r}: no experiment of {', '.join(registry)} has it. "
                f"Known markers: {', '.join(sorted(known))}. Correct `data.patches.markers`."
            )
    for name, entry in registry.items():
        check_some_marker(markers, name, entry)


def check_some_marker(markers: Sequence[str], name: str, entry: ExperimentConfig) -> None:
    """Check that an experiment has some marker; one that it lacks is filled with zeros.

    Raises
    ------
    UserError
        When it has none of them.
    """
    if set(markers).isdisjoint(entry.markers):
        raise UserError(
            f"experiment {name}: has none of the markers {', '.join(markers)}, only "
            f"{', '.join(entry.markers)}. Correct `marker` under its `channels`, or leave the "
            "experiment out."
        )
