"""Reading of YAML files and validation of their content, with errors that a person reads."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from dynaclr.config.errors import Problems
from dynaclr.config.experiment import ExperimentConfig


def read_yaml(path: Path, problems: Problems) -> Any:
    """Content of a YAML file, or None with a fault added."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        problems.add(path, "no such file", "Correct the path, or write the file")
        return None
    except IsADirectoryError:
        problems.add(path, "is a folder", f"Name a YAML file in it: {path / '*.yaml'}")
        return None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problems.add(path, f"is no UTF-8 text at line {line}", "Save it with the encoding UTF-8")
        return None
    except OSError as error:
        problems.add(path, f"cannot be read ({error.strerror})", "Correct the path or its rights")
        return None
    faults = len(problems.found)
    content = parse_yaml(text, path, problems)
    if content is None and len(problems.found) == faults:
        problems.add(path, "the file is empty", "Fill it in, or remove it from the list")
    return content


def parse_yaml(text: str, where: object, problems: Problems) -> Any:
    """Content of YAML or JSON text, or None with a fault added."""
    try:
        return _safely_loaded(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}" if mark else ""
        problems.add(where, f"not valid YAML{place}: {getattr(error, 'problem', error)}", "Mend it")
    except ValueError as error:  # A date that is in no calendar.
        problems.add(where, f"not valid YAML: {error}", "Mend it")
    return None


def _safely_loaded(text: str) -> Any:
    """Load with libyaml, which is fast; what it refuses, the slow loader explains better."""
    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        return yaml.safe_load(text)


def validate(model: Any, content: Any, base: Path, where: str, problems: Problems) -> Any:
    """Validate `content` as a pydantic model; None with readable faults when it does not fit."""
    if isinstance(content, dict) and "name" in content and model is ExperimentConfig:
        where = f"{where} (experiment {content['name']})"
    try:
        return model.model_validate(content, context={"base": base})
    except ValidationError as error:
        faults = [_readable(fault, model, where) for fault in error.errors()]
        told = " ".join(fix for _, what, fix in faults if what == "unknown key")
        for place, what, fix in faults:
            # A mistyped key is told once, not as missing too.
            if what != "missing" or repr(place.rsplit(".", 1)[-1].rsplit(" ", 1)[-1]) not in told:
                problems.add(place, what, fix)
        return None


def _readable(fault: Any, model: Any, where: str) -> tuple[str, str, str]:
    location = ".".join(str(part) for part in fault["loc"])
    place = f"{where}: {location}" if location else where
    if fault["type"] == "extra_forbidden":
        key = str(fault["loc"][-1])
        near = difflib.get_close_matches(key, _known_keys(model, fault["loc"][:-1]), n=1)
        fix = f"Did you mean {near[0]!r}?" if near else "Remove it"
        return place, "unknown key", fix
    if fault["type"] == "missing":
        return place, "missing", "Add this key"
    if fault["type"] == "value_error":
        what, _, fix = str(fault["ctx"]["error"]).partition("; ")
        return place, what, (fix[:1].upper() + fix[1:]) or "Correct it"
    if fault["type"] == "list_type" and isinstance(fault["input"], str):
        fix = f"Write it as a list: [{fault['input']}]"
        return place, f"must be a list (given: {fault['input']!r})", fix
    given = fault["input"] if not isinstance(fault["input"], dict) else "a mapping"
    message = fault["msg"][:1].lower() + fault["msg"][1:]
    return place, f"{message} (given: {given!r})", "Correct the value"


def _known_keys(model: Any, location: tuple[Any, ...]) -> list[str]:
    """Keys that are known at a place of a model, found in its JSON schema."""
    schema = model.model_json_schema()
    names = [part for part in location if isinstance(part, str)]
    keys = list(schema.get("properties", {}))
    for name in names:
        for definition in (schema, *schema.get("$defs", {}).values()):
            target = definition.get("properties", {}).get(name)
            reference = _reference(target) if target else None
            if reference:
                keys = list(schema["$defs"][reference].get("properties", {}))
    return keys


def _reference(schema: Any) -> str | None:
    if isinstance(schema, dict):
        if "$ref" in schema:
            return schema["$ref"].rsplit("/", 1)[1]
        candidates = schema.values()
    elif isinstance(schema, list):
        candidates = schema
    else:
        return None
    return next((found for found in map(_reference, candidates) if found), None)
