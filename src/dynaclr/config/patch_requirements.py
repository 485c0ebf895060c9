"""What a project's models ask of an experiment's patch store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from dynaclr.config.project import Project

# What a model makes of a patch once it is read.
_MADE_LATER = ("projection", "bag_of_channels")


def patch_specs_of(
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
