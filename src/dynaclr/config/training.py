"""Training configurations as mappings: read, inherited from one another, and overridden."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dynaclr.config.errors import Problems
from dynaclr.config.reading import parse_yaml, read_yaml

INHERITS = "inherits"
# The model of which only the arguments are given.
DEFAULT_MODEL = "dynaclr.training.ContrastiveModule"
_CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
# Arguments of models that name what their encoders start from.
_STARTS = ("encoder_checkpoint", "teacher_checkpoint")


def load_training(source: str | Path, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Read a training configuration and replace some of its values.

    However its files spell their models, with a class or as arguments alone, the result has one
    form: ``{"class_path": ..., "init_args": ...}``.

    Parameters
    ----------
    source : str or Path
        A YAML file, or YAML or JSON text. Its key ``inherits`` names a file, or several, that it
        changes: paths relative to the file itself, later ones winning over earlier ones.
    overrides : dict, optional
        New values by dotted key, ``{"model.learning_rate": 0.0003}``, whatever the model's class.

    Raises
    ------
    UserError
        When a file cannot be read, is no mapping or inherits from itself, or an override leads
        through a value.
    """
    problems = Problems()
    content = read_training(source, problems)
    if content is not None:
        override(content, overrides or {}, f"{source}: overrides", problems)
    problems.raise_if_any()
    return name_model_class(content)


def name_model_class(content: dict[str, Any]) -> dict[str, Any]:
    """Name the class of a model of which only the arguments are given: `DEFAULT_MODEL`."""
    content = _spell_out(content)
    if not isinstance(content.get("model"), dict) or "class_path" in content["model"]:
        return content
    return content | {"model": {"class_path": DEFAULT_MODEL} | content["model"]}


def _spell_out(content: dict[str, Any]) -> dict[str, Any]:
    """Put what a model is given beside its class, or without one, under its ``init_args``."""
    model = content.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("init_args", {}), dict):
        return content
    kept = {key: model[key] for key in _CLASS_KEYS if key in model}
    arguments = {key: value for key, value in model.items() if key not in _CLASS_KEYS}
    if arguments:
        kept["init_args"] = merge(kept.get("init_args", {}), arguments)
    return content | {"model": kept}


def read_training(
    source: str | Path, problems: Problems, heirs: tuple[Path, ...] = ()
) -> dict[str, Any] | None:
    """Content of a file or text with what it inherits, or None with a fault added.

    Arguments of the model are under ``init_args``; its class is named only if a file does so.

    Parameters
    ----------
    source : str or Path
    problems : Problems
    heirs : tuple of Path
        Files that inherit from this one, the first of them first.
    """
    faults = len(problems.found)
    if str(source).lstrip().startswith("{"):
        folder = Path.cwd()
        content = parse_yaml(str(source), "the given text", problems)
    else:
        source = Path(source)
        folder, heirs = source.parent, (*heirs, source.resolve())
        content = read_yaml(source, problems)
    if len(problems.found) == faults and not isinstance(content, dict):
        problems.add(source, "is no mapping of keys", "See config/README.md")
    if not isinstance(content, dict):
        return None
    return _inherit(content, folder, source, problems, heirs)


def _inherit(
    content: dict[str, Any],
    folder: Path,
    source: str | Path,
    problems: Problems,
    heirs: tuple[Path, ...],
) -> dict[str, Any] | None:
    named = content.pop(INHERITS, [])
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        problems.add(f"{source}: {INHERITS}", f"is {named!r}", "Name a file, or a list of files")
        return None
    merged: dict[str, Any] = {}
    for name in names:
        path = folder / name
        if path.resolve() in heirs:
            problems.add(f"{source}: {INHERITS}", f"{path} inherits from this file", "Remove one")
            return None
        parent = read_training(path, problems, heirs)
        if parent is None:
            return None
        merged = combine(merged, parent)
    return combine(merged, content)


def combine(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Merge what one training file says into another, whichever way each spells its model."""
    changes, base = _spell_out(changes), _spell_out(base)
    model = changes.get("model")
    if isinstance(model, dict) and "class_path" in model:
        # Known to be the default now, so that arguments of another class go.
        base = name_model_class(base)
    return merge(base, changes)


def merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Change a configuration: sections are merged, everything else is replaced.

    A section that names another class replaces the old one whole: its arguments are not those of
    the new class.
    """
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        sections = isinstance(old, dict) and isinstance(value, dict)
        if sections and value.get("class_path") in (None, old.get("class_path")):
            value = merge(old, value)
        merged[key] = value
    return merged


def override(
    content: dict[str, Any], overrides: dict[str, Any], where: str, problems: Problems
) -> None:
    """Set values by dotted key in place; a key that leads through a value is a fault."""
    for dotted, value in overrides.items():
        *parents, last = _spelled_out(dotted)
        place: Any = content
        for number, parent in enumerate(parents, 1):
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                section = dotted.rsplit(".", len(parents) + 1 - number)[0]
                problems.add(
                    f"{where}: {dotted}",
                    f"{section} is {place!r}, not a section with keys",
                    f"Override {section} as a whole, or correct the key",
                )
                break
        else:
            place[last] = value
    content.update(_spell_out(content))


def _spelled_out(dotted: str) -> list[str]:
    """Parts of a dotted key; those of an argument of the model lead through ``init_args``."""
    first, *rest = dotted.split(".")
    if first == "model" and rest and rest[0] not in _CLASS_KEYS:
        rest = ["init_args", *rest]
    return [first, *rest]


def starting_checkpoints(content: dict[str, Any]) -> dict[str, str]:
    """Checkpoints that a training starts from.

    Returns
    -------
    dict of str to str
        By the key of the model that names it: a path, relative to the working folder where it lies
        inside.
    """
    arguments = _model_arguments(content)
    named = {key: arguments[key] for key in _STARTS if isinstance(arguments.get(key), str)}
    return {key: _from_here(path) for key, path in named.items()}


def with_checkpoints(content: dict[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """Training configuration that starts from these checkpoints, by key, and from no others."""
    changed = copy.deepcopy(content)
    arguments = _model_arguments(changed)
    for key in starting_checkpoints(changed):
        del arguments[key]
    arguments.update(paths)
    return changed


def _model_arguments(content: dict[str, Any]) -> dict[str, Any]:
    """The mapping that holds a model's arguments; an empty one where there is none."""
    model = content.get("model")
    if isinstance(model, dict) and model.keys() & set(_CLASS_KEYS):
        model = model.get("init_args")
    return model if isinstance(model, dict) else {}


def _from_here(path: str) -> str:
    whole = Path(os.path.abspath(path))
    inside = whole.is_relative_to(Path.cwd())
    return (whole.relative_to(Path.cwd()) if inside else whole).as_posix()


def loader_workers(cpus: int, processes: int, threads: int) -> int:
    """Loader processes for each training process: its CPUs that torch's threads do not use.

    Parameters
    ----------
    cpus : int
        CPUs of the job on a node.
    processes : int
        Training processes on a node.
    threads : int
        CPU threads of each of them.
    """
    return max(0, cpus // processes - threads)
