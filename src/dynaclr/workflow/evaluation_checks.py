"""Checks of the section `evaluation` against the columns that there will be to score with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dynaclr.config import ExperimentConfig, Problems, TaskConfig, UserError
from dynaclr.config.columns import MARKER
from dynaclr.config.errors import did_you_mean
from dynaclr.config.project import Project
from dynaclr.io.planned_index import PlannedIndex, label_names


def check_evaluation(project: Project) -> None:
    """Compare tasks, progression and onset with the index and the label tables of a project.

    Parameters
    ----------
    project : Project

    Raises
    ------
    UserError
        With every error.
    """
    problems, evaluation = Problems(), project.evaluation
    # Models of one collection are scored on the same experiments.
    used = {tuple(project.experiments_of(model)): model for model in project.models}
    for model in project.trained:
        if project.ceilings_of(model) and not project.held_out_of(model):
            what = f"model {model} has no held-out experiment, and a ceiling has seen the others"
            problems.add("evaluation.ceiling", what, "Hold one out, or set `ceiling: false`")
    for names, model in used.items():
        entries = [project.registry[name] for name in names]
        planned, where = PlannedIndex(entries), f"(experiments of model {model})"
        for task in evaluation.tasks:
            _check_task(task, entries, planned, where, problems)
        truth = {entry.name: label_names(entry, "truth") for entry in entries if entry.truth}
        for key in ("progression", "onset"):
            column = getattr(evaluation, key)
            if column is not None:
                _check_every_table(f"evaluation.{key} {where}", column, truth, problems)
    problems.found = list(dict.fromkeys(problems.found))
    problems.raise_if_any()


def _check_task(
    task: TaskConfig,
    entries: Sequence[ExperimentConfig],
    planned: PlannedIndex,
    where: str,
    problems: Problems,
) -> None:
    key = f"evaluation.tasks: {task.name}"
    if task.where is not None:
        try:
            planned.check(task.where, f"{key}: where {where}", MARKER)
        except UserError as error:
            problems.found.append(str(error))
    tables = {entry.name: label_names(entry, task.source) for entry in entries}
    known = sorted({column for columns in tables.values() for column in columns})
    # Who has annotated nothing yet may have tasks.
    if known and task.label not in (*known, *planned.wells.columns):
        what = f"no {task.source} of {', '.join(tables)} has a column {task.label!r}"
        problems.add(f"{key}: label {where}", what, did_you_mean(task.label, known))
    if task.groups not in ("lineage", *planned.columns):
        what = f"the index will have no column {task.groups!r}"
        problems.add(f"{key}: groups {where}", what, did_you_mean(task.groups, planned.columns))


def _check_every_table(
    where: str, name: str, tables: Mapping[str, Sequence[str]], problems: Problems
) -> None:
    if not tables:
        problems.add(where, f"no experiment has a table of truth with {name!r}", "Remove the key")
    for experiment, columns in tables.items():
        if name not in columns:
            what = f"the truth of {experiment} has no column {name!r}"
            problems.add(where, what, did_you_mean(name, columns))
