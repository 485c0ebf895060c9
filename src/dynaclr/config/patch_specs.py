"""Patch specs: the patches that a project's models need of an experiment's patch store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from dynaclr.config.project import Project

# What a model makes of a patch once it is read; a store does not depend on it.
_APPLIED_LATER = ("projection", "bag_of_channels")


def patch_specs_of(
    project: Project, experiment: str, training_of: Callable[[str], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Patch specs of all models that use an experiment, as far as its store depends on them.

    The order of the models does not count. An experiment without a store has none.

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
    store = project.registry[experiment].patch_store
    if store is None:
        return []
    specs = {}
    for model in project.models:
        if experiment not in project.experiments_of(model):
            continue
        data = training_of(model)["data"]
        patches = {k: value for k, value in data["patches"].items() if k not in _APPLIED_LATER}
        spec, margin = {"patches": patches}, data.get("extraction_size")
        trains = not project.models[model].frozen
        if trains and experiment in project.collection_of(model).train and margin:
            spec["extraction_size"] = margin
        if store.dtype != "native" and data.get("normalization"):
            spec["normalization"] = data["normalization"]
        specs[json.dumps(spec, sort_keys=True)] = spec
    return [specs[text] for text in sorted(specs)]
