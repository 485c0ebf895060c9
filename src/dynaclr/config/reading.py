"""Reading and validation of YAML files, with readable error messages."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dynaclr.config.errors import Problems
from dynaclr.config.grammar import parse_text

Model = TypeVar("Model", bound=BaseModel)


def read_yaml(path: Path, problems: Problems) -> Any:
    """Content of a YAML file, or None with an error added."""
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
    n_before = len(problems.found)
    content = parse_yaml(text, path, problems)
    if content is None and len(problems.found) == n_before:
        problems.add(path, "the file is empty", "Fill it in, or remove it from the list")
    return content


def parse_yaml(text: str, where: object, problems: Problems) -> Any:
    """Content of YAML or JSON text, or None with an error added."""
    try:
        return parse_text(text)
    except ValueError as error:
        problems.add(where, str(error), "Correct it")
    return None


def validate(
    model: type[Model], content: Any, base: Path, where: str, problems: Problems
) -> Model | None:
    """Validate content as a section of the configuration.

    Parameters
    ----------
    model : type of pydantic.BaseModel
        Class of the section.
    content : object
        What a YAML file holds.
    base : Path
        Folder that relative paths are relative to.
    where : str
        File or section, for messages.
    problems : Problems
        Takes the errors.

    Returns
    -------
    pydantic.BaseModel or None
        None where there are errors.
    """
    try:
        return model.model_validate(content, context={"base": base})
    except ValidationError as error:
        details = error.errors()
    unknown = [_nearest_key(model, detail["loc"]) for detail in details if _is_unknown(detail)]
    for detail in details:
        # A mistyped key is one error: the right one is not reported as missing too.
        if detail["type"] != "missing" or detail["loc"][-1] not in unknown:
            path = ".".join(str(key) for key in detail["loc"] if key != "[key]")
            problems.add(f"{where}: {path}" if path else where, *_explain(detail, model))
    return None


def _is_unknown(detail: ErrorDetails) -> bool:
    return detail["type"] == "extra_forbidden"


def _explain(detail: ErrorDetails, model: type[BaseModel]) -> tuple[str, str]:
    """What is wrong, and how to fix it."""
    given = detail["input"]
    if _is_unknown(detail):
        near = _nearest_key(model, detail["loc"])
        return "unknown key", f"Did you mean {near!r}?" if near else "Remove it"
    if detail["type"] == "missing":
        return "missing", "Add this key"
    if detail["type"] == "value_error":
        # Validators of this package write "what is wrong; how to fix it".
        what, _, fix = str(detail["ctx"]["error"]).partition("; ")
        return what, (fix[:1].upper() + fix[1:]) or "Correct it"
    if detail["type"] == "list_type" and isinstance(given, str):
        return f"must be a list (given: {given!r})", f"Write it as a list: [{given}]"
    message = detail["msg"][:1].lower() + detail["msg"][1:]
    shown = "a mapping" if isinstance(given, dict) else repr(given)
    quote = detail["type"] == "string_type" and isinstance(given, int | float)
    return f"{message} (given: {shown})", "Put it in quotes" if quote else "Correct the value"


def _nearest_key(model: type[BaseModel], path: tuple[int | str, ...]) -> str | None:
    """Known key nearest to the unknown one at the end of a path through the sections."""
    section: type[BaseModel] | None = model
    keys = iter(path[:-1])
    for key in keys:
        if section and key in section.model_fields:
            annotation = section.model_fields[str(key)].annotation
            section = _section_in(annotation)
            if get_origin(annotation) in (dict, list):
                next(keys, None)  # A name of the user's, or a number, is no field.
    known = list(section.model_fields) if section else []
    return next(iter(difflib.get_close_matches(str(path[-1]), known, n=1)), None)


def _section_in(annotation: Any) -> type[BaseModel] | None:
    """Class of the section that a type like ``dict[str, Section] | None`` holds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)
