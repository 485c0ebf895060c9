"""Training configurations: files that inherit from files, with values that a model overrides.

A model is written in two ways, with its class (``class_path`` and ``init_args``) or as arguments
alone. What is read has its arguments under ``init_args`` at once, so that files which write it
differently are merged alike.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dynaclr.config.errors import Problems
from dynaclr.config.reading import parse_yaml, read_yaml

# Class of a model of which only the arguments are given.
DEFAULT_MODEL = "dynaclr.training.ContrastiveModule"
_CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
_CHECKPOINT_KEYS = ("encoder_checkpoint", "teacher_checkpoint")
# Of encoders: true or false, or a file of weights.
_WEIGHTS_KEY = "pretrained"


def load_training(source: str | Path, overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Read a training configuration and replace some of its values.

    Parameters
    ----------
    source : str or Path
        A YAML file, or YAML or JSON text. Its key ``inherits`` names a file, or several, that it
        changes: paths relative to the file itself, later ones winning over earlier ones.
    overrides : dict, optional
        New values by dotted key, ``{"model.learning_rate": 0.0003}``, whatever the model's class.

    Returns
    -------
    dict
        The configuration, its model as ``{"class_path": ..., "init_args": ...}``.

    Raises
    ------
    UserError
        When a file cannot be read, is no mapping or inherits from itself, or an override leads
        through a value.
    """
    problems = Problems()
    content = read_training(source, problems) or {}
    content = override(content, overrides or {}, f"{source}: overrides", problems)
    problems.raise_if_any()
    return name_model_class(content)


def read_training(
    source: str | Path, problems: Problems, children: tuple[Path, ...] = ()
) -> dict[str, Any] | None:
    """Content of a file or text with what it inherits, or None with an error added.

    Arguments of the model are under ``init_args``; its class is named only if a file does so.

    Parameters
    ----------
    source : str or Path
        A YAML file, or YAML or JSON text.
    problems : Problems
        Takes the errors.
    children : tuple of Path
        Files that inherit from this one, directly or not.
    """
    n_before = len(problems.found)
    if str(source).lstrip().startswith("{"):
        folder = Path.cwd()
        content = parse_yaml(str(source), "the given text", problems)
    else:
        source = Path(source)
        folder, children = source.parent, (*children, source.resolve())
        content = read_yaml(source, problems)
    if len(problems.found) > n_before:
        return None
    if not isinstance(content, dict):
        problems.add(source, "is no mapping of keys", "See config/README.md")
        return None
    named = content.pop("inherits", [])
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        problems.add(f"{source}: inherits", f"is {named!r}", "Name a file, or a list of files")
        return None
    merged: dict[str, Any] = {}
    for name in names:
        path = folder / name
        if path.resolve() in children:
            problems.add(f"{source}: inherits", f"{path} inherits from this file", "Remove one")
            return None
        parent = read_training(path, problems, children)
        if parent is None:
            return None
        merged = merge_trainings(merged, parent)
    return merge_trainings(merged, _with_init_args(content))


def name_model_class(content: dict[str, Any]) -> dict[str, Any]:
    """Name the class of a model of which only the arguments are given: `DEFAULT_MODEL`."""
    content = _with_init_args(content)
    model = content.get("model")
    if not isinstance(model, dict) or "class_path" in model:
        return content
    return content | {"model": {"class_path": DEFAULT_MODEL} | model}


def _with_init_args(content: dict[str, Any]) -> dict[str, Any]:
    """Move arguments of the model that are written beside its class, or without one."""
    model = content.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("init_args", {}), dict):
        return content
    arguments = {key: value for key, value in model.items() if key not in _CLASS_KEYS}
    if not arguments:
        return content
    kept = {key: model[key] for key in _CLASS_KEYS if key in model}
    kept["init_args"] = _merge(kept.get("init_args", {}), arguments)
    return content | {"model": kept}


def merge_trainings(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Change a training configuration as a file changes those that it inherits from.

    Sections are merged, everything else is replaced. A section that names another class replaces
    the old one whole: its arguments are not those of the new class.

    Parameters
    ----------
    base, changes : dict
        From `read_training`. Neither is changed.
    """
    model = changes.get("model")
    if isinstance(model, dict) and "class_path" in model:
        # The base's class is then known to be the default, so that arguments of another one go.
        base = name_model_class(base)
    return _merge(base, changes)


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        old = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            same_class = value.get("class_path") in (None, old.get("class_path"))
            value = _merge(old, value) if same_class else value
        merged[key] = value
    return merged


def override(
    content: dict[str, Any], overrides: dict[str, Any], where: str, problems: Problems
) -> dict[str, Any]:
    """Configuration with values replaced whole by dotted key; one through a value is an error."""
    content = copy.deepcopy(content)
    for dotted, value in overrides.items():
        keys = dotted.split(".")
        if keys[0] == "model" and len(keys) > 1 and keys[1] not in _CLASS_KEYS:
            keys.insert(1, "init_args")
        *parents, last = keys
        section: Any = content
        for number, parent in enumerate(parents, 1):
            section = section.setdefault(parent, {})
            if not isinstance(section, dict):
                name = dotted.rsplit(".", len(parents) + 1 - number)[0]
                problems.add(
                    f"{where}: {dotted}",
                    f"{name} is {section!r}, not a section with keys",
                    f"Override {name} as a whole, or correct the key",
                )
                break
        else:
            section[last] = value
    return _with_init_args(content)


def starting_checkpoints(content: dict[str, Any]) -> dict[str, str]:
    """Checkpoints that a training starts from, and files of weights that its encoders name.

    Returns
    -------
    dict of str to str
        By the dotted key of the model's arguments that names it: a path, relative to the working
        folder where it lies inside.
    """
    named = _named_files(_model_arguments(content))
    return {".".join(keys): relative_inside(path) for keys, path in named}


def with_checkpoints(content: dict[str, Any], paths: Mapping[str, str]) -> dict[str, Any]:
    """Training configuration that starts from these checkpoints, by key, and from no others."""
    changed = copy.deepcopy(content)
    arguments = _model_arguments(changed)
    for keys, _ in list(_named_files(arguments)):
        _holder_of(arguments, keys).pop(keys[-1], None)
    for dotted, path in paths.items():
        keys = tuple(dotted.split("."))
        _holder_of(arguments, keys)[keys[-1]] = path
    return changed


def _named_files(
    arguments: dict[str, Any], parents: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Keys and paths of everything in a model's arguments that is a file of weights."""
    for key, value in arguments.items():
        keys = (*parents, key)
        if isinstance(value, dict):
            yield from _named_files(value, keys)
        elif isinstance(value, str) and (
            (not parents and key in _CHECKPOINT_KEYS)
            # An encoder of the user's own may call its weights by another name than a file's.
            or (key == _WEIGHTS_KEY and Path(value).is_file())
        ):
            yield keys, value


def _holder_of(arguments: dict[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    """The mapping that holds the last of nested keys."""
    for key in keys[:-1]:
        arguments = arguments[key]
    return arguments


def _model_arguments(content: dict[str, Any]) -> dict[str, Any]:
    """The mapping that holds a model's arguments; an empty one where there is none."""
    model = content.get("model")
    if isinstance(model, dict) and model.keys() & set(_CLASS_KEYS):
        model = model.get("init_args")
    return model if isinstance(model, dict) else {}


def relative_inside(path: str) -> str:
    """Path relative to the working folder where it lies inside, else absolute."""
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
