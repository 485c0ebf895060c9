"""Checks of the section `evaluation` against the columns that there will be to score with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dynaclr.config import Problems, UserError
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
    for names, model in used.items():
        entries = [project.registry[name] for name in names]
        planned, where = PlannedIndex(entries), f"(experiments of model {model})"
        for task in evaluation.tasks:
            key = f"evaluation.tasks: {task.name}"
            if task.where is not None:
                try:
                    planned.check(task.where, f"{key}: where {where}", MARKER)
                except UserError as error:
                    problems.found.append(str(error))
            tables = {entry.name: label_names(entry, task.source) for entry in entries}
            _check_some_table(f"{key}: label {where}", task.label, tables, task.source, problems)
        truth = {entry.name: label_names(entry, "truth") for entry in entries if entry.truth}
        for key in ("progression", "onset"):
            column = getattr(evaluation, key)
            if column is not None:
                _check_every_table(f"evaluation.{key} {where}", column, truth, problems)
    problems.found = list(dict.fromkeys(problems.found))
    problems.raise_if_any()


def _check_some_table(
    where: str, name: str, tables: Mapping[str, Sequence[str]], source: str, problems: Problems
) -> None:
    known = sorted({column for columns in tables.values() for column in columns})
    if name not in known:
        what = f"no {source} of {', '.join(tables)} has a column {name!r}"
        problems.add(where, what, did_you_mean(name, known) if known else f"Add `{source}`")


def _check_every_table(
    where: str, name: str, tables: Mapping[str, Sequence[str]], problems: Problems
) -> None:
    if not tables:
        problems.add(where, f"no experiment has a table of truth with {name!r}", "Remove the key")
    for experiment, columns in tables.items():
        if name not in columns:
            what = f"the truth of {experiment} has no column {name!r}"
            problems.add(where, what, did_you_mean(name, columns))
