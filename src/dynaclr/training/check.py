"""A project checked as a whole: whatever a stage would stumble over later, before any job runs."""

from __future__ import annotations

from dynaclr.config import Problems, UserError
from dynaclr.config.patch_specs import patch_specs_of
from dynaclr.config.project import Project
from dynaclr.config.training import load_training
from dynaclr.data.loading.positives import check_collection
from dynaclr.data.patch_store.requirements import check_cuts
from dynaclr.training.builder import check_training


def check_project(project: Project) -> None:
    """Build every model from its configuration, and hold models against their data.

    Parameters
    ----------
    project : Project

    Raises
    ------
    UserError
        With every problem found.
    """
    problems = Problems()
    trainings = {
        name: load_training(model.training, model.overrides)
        for name, model in project.models.items()
    }
    made_by = {path: trainings[name] for path, name in project.checkpoints.items()}
    for name, model in project.models.items():
        where = str(model.training) + (f" (model {name})" if model.overrides else "")
        try:
            check_training(trainings[name], where, made_by)
            collection = project.collection_of(name)
            check_collection(trainings[name]["data"], collection, project.registry, where)
        except UserError as error:
            problems.found.append(str(error))
    # What models ask of stores is known only of sound ones.
    for name, entry in project.registry.items() if not problems.found else ():
        try:
            check_cuts(entry, patch_specs_of(project, name, trainings.__getitem__))
        except UserError as error:
            problems.found.append(str(error))
    # Models that share a file share its problems.
    problems.found = list(dict.fromkeys(problems.found))
    problems.raise_if_any()
