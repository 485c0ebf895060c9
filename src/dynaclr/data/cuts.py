"""What a project's models ask of an experiment's patch store, and what of it can be told early."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from dynaclr.data.lookup import NormalizationConfig
from dynaclr.experiments import ExperimentConfig, UserError
from dynaclr.experiments.plate import plate_facts
from dynaclr.experiments.project import Project

# What a model makes of a patch once it is read.
_MADE_LATER = ("projection", "bag_of_channels")


def cuts_of(
    project: Project, experiment: str, training_of: Callable[[str], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """How the models that use an experiment cut its patches, as far as its store depends on it.

    The order of the models does not count. An experiment without a store has no cuts.

    Parameters
    ----------
    project : Project
    experiment : str
    training_of : callable
        Gives a model's training configuration.

    Returns
    -------
    list of dict
        Parts of the ``data`` sections, each once: ``patches``, ``extraction_size`` where the
        experiment is trained on, and ``normalization`` where the store holds normalized pixels.
    """
    store, cuts = project.registry[experiment].patch_store, []
    for model in project.models if store else ():
        if experiment not in project.experiments_of(model):
            continue
        data = training_of(model)["data"]
        patches = {key: data["patches"][key] for key in data["patches"] if key not in _MADE_LATER}
        cut = {"patches": patches}
        if experiment in project.collection_of(model).train and data.get("extraction_size"):
            cut["extraction_size"] = data["extraction_size"]
        if store.dtype != "native" and data.get("normalization"):
            cut["normalization"] = data["normalization"]
        if cut not in cuts:
            cuts.append(cut)
    return sorted(cuts, key=lambda cut: json.dumps(cut, sort_keys=True))


def check_cuts(entry: ExperimentConfig, cuts: Sequence[Mapping[str, Any]]) -> None:
    """Hold what models ask of a patch store against each other, before anything is built.

    Parameters
    ----------
    entry : ExperimentConfig
        Its experiment.
    cuts : sequence of mapping
        From `cuts_of`.

    Raises
    ------
    UserError
        When one store cannot serve them all.
    """
    if cuts and entry.patch_store.dtype != "native":
        must_normalize_alike(
            entry, {NormalizationConfig(**cut.get("normalization", {})) for cut in cuts}
        )
    windows = {
        (cut["patches"].get("depth", 1), cut["patches"].get("z_window", "focus")) for cut in cuts
    }
    # The plate of a simulation may be that of an earlier one.
    if len(windows) > 1 and entry.simulation is None:
        facts, used = plate_facts(entry.data_path), entry.condition_of_well
        # Of fields of view that are left out the depth does not count: the build tells.
        if not entry.exclude_fovs and all(well in used for well in facts.wells):
            must_be_as_deep(entry, facts.planes)


def must_normalize_alike(
    entry: ExperimentConfig, normalizations: Collection[NormalizationConfig]
) -> None:
    """A store of normalized pixels serves one normalization."""
    must_agree(
        entry, normalizations, f"normalize differently, and dtype is {entry.patch_store.dtype}"
    )


def must_be_as_deep(entry: ExperimentConfig, planes: Collection[int]) -> None:
    """A store for several windows holds whole stacks, which then have one depth."""
    must_agree(entry, planes, "read different windows of stacks that differ in depth")


def must_agree(entry: ExperimentConfig, values: Collection[Any], what: str) -> None:
    """Models that differ in something cannot be served by one store.

    Raises
    ------
    UserError
        When `values` are several.
    """
    if len(set(values)) > 1:
        raise UserError(
            f"experiment {entry.name}: the models that use it {what}, so one patch store cannot "
            "serve them. Remove `patches` from its entry, or make them agree."
        )
