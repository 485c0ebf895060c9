"""Checks of a training's data options against the index and the plates that it will read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dynaclr.config import CollectionConfig, ExperimentConfig, Problems, UserError
from dynaclr.config.columns import MARKER, SPLIT
from dynaclr.config.errors import did_you_mean
from dynaclr.data.loading.positives import POSITIVES, TAU_RANGE, as_names
from dynaclr.index.split import split_units
from dynaclr.io.planned_index import MovieShape, PlannedIndex, movie_shapes
from dynaclr.sampling import offsets_in_frames


def check_columns(
    data: Mapping[str, Any], entries: Sequence[ExperimentConfig], where: str, problems: Problems
) -> None:
    """Compare the columns that the data options name with those that the index will have.

    Parameters
    ----------
    data : mapping
        Arguments of `dynaclr.data.MultiExperimentDataModule`.
    entries : sequence of ExperimentConfig
        Experiments of the collection.
    where : str
        Name of the training in messages.
    problems : Problems
        Takes the errors.
    """
    planned, sampling = PlannedIndex(entries), data.get("sampling") or {}
    positives = data.get("positives")
    named = {
        "carry": (data.get("carry"), []),
        "positives": ([] if isinstance(positives, str) else positives, []),
        "sampling.batch_group_by": (sampling.get("batch_group_by"), [MARKER]),
        "sampling.stratify_by": (sampling.get("stratify_by"), [MARKER]),
    }
    bag = data["patches"].get("bag_of_channels", False)
    for key, (names, of_bags) in named.items():
        known = [*planned.columns, SPLIT, *(of_bags if bag else [])]
        for name in as_names(names):
            if name not in known:
                what = f"the index will have no column {name!r}"
                problems.add(f"{where}: data.{key}", what, did_you_mean(name, known))
    _check_groups(sampling, planned, f"{where}: data.sampling.group_weights", problems)
    if data.get("query") is not None:
        try:
            planned.check(data["query"], f"{where}: data.query", SPLIT)
        except UserError as error:
            problems.found.append(str(error))


def _check_groups(
    sampling: Mapping[str, Any], planned: PlannedIndex, where: str, problems: Problems
) -> None:
    """Weights are of groups that there will be; experiments are those of one side of the split."""
    weights, names = sampling.get("group_weights") or {}, as_names(sampling.get("batch_group_by"))
    known = planned.groups(names[0]) if len(names) == 1 and names != ["experiment"] else None
    for group in sorted({*weights} - {*known}) if known is not None else ():
        problems.add(where, f"{names[0]} will never be {group!r}", did_you_mean(group, known or []))


def check_movies(
    data: Mapping[str, Any],
    collection: CollectionConfig,
    entries: Mapping[str, ExperimentConfig],
    where: str,
    problems: Problems,
) -> None:
    """Compare patches and hours with the images of the collection, and find what validates.

    Parameters and errors as for `check_columns`.
    """
    shapes = {name: movie_shapes(entries[name]) for name in collection.experiments}
    for name, shapes_of_fovs in shapes.items():
        problem = _misfit(data, shapes_of_fovs, entries[name].interval_minutes)
        if not shapes_of_fovs:
            problem = "uses no field of view", "Check condition_wells, include_wells, exclude_fovs"
        if problem:
            problems.add(f"{where}: experiment {name}", *problem)
    if collection.validation_fov_fraction is not None and all(shapes.values()):
        conditions = {
            name: {fov: entries[name].condition_of_well[fov.rsplit("/", 1)[0]] for fov in fovs}
            for name, fovs in shapes.items()
        }
        try:
            split_units(conditions, collection.validation_fov_fraction, collection.seed)
        except UserError as error:
            problems.found.append(f"{where}: {error}")


def _misfit(
    data: Mapping[str, Any], shapes: Mapping[str, MovieShape], interval_minutes: float
) -> tuple[str, str] | None:
    """What does not fit into the movies of an experiment, and how to fix it."""
    patches, reference = data["patches"], data["patches"].get("reference_pixel_size_um")
    if isinstance(data.get("positives", POSITIVES[0]), str):
        tau_range = data.get("tau_range", TAU_RANGE)
        nearest = min(abs(offsets_in_frames(tau_range, interval_minutes)))
        longest = max((shape.frames for shape in shapes.values()), default=0)
        if nearest >= longest > 0:
            return (
                f"data.tau_range {list(tau_range)} begins {nearest} frames away, but its movies "
                f"have {longest}",
                "Choose a range inside them",
            )
    for fov, shape in shapes.items():
        scale = (reference or shape.pixel_size_um) / shape.pixel_size_um
        height, width = (round(extent * scale) for extent in patches["size"])
        if height > shape.height or width > shape.width:
            return (
                f"field of view {fov}: its images of {shape.height} x {shape.width} pixels are "
                f"smaller than a patch of {height} x {width}",
                "Choose a smaller data.patches.size",
            )
        if patches.get("depth", 1) > shape.planes:
            return (
                f"field of view {fov}: its stacks have {shape.planes} planes, fewer than "
                f"data.patches.depth {patches['depth']}",
                "Choose fewer",
            )
    return None
