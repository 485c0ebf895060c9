"""Base class of all sections of the configuration, and types of fields that several of them use."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
)

Value = TypeVar("Value")


class ConfigModel(BaseModel):
    """Base of all sections: unknown keys are errors, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _resolve_path(value: Any, info: ValidationInfo) -> Any:
    """Expand ``${VAR}`` and make a path absolute, relative to the file that holds it."""
    if not isinstance(value, str | os.PathLike):
        return value
    text = os.path.expanduser(os.path.expandvars(os.fspath(value)))
    unset = re.search(r"\$\{?(\w+)", text)
    if unset:
        raise ValueError(
            f"environment variable {unset.group(1)} is not set; set it or write the path out"
        )
    base = (info.context or {}).get("base", Path.cwd())
    return Path(os.path.normpath(Path(base).absolute() / text))


def _check_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value):
        raise ValueError(
            f"{value!r} is used as a folder name; use letters, digits, '_', '-' and '.'"
        )
    return value


def check_distinct(values: list[Value]) -> list[Value]:
    """Return a list of distinct values.

    Raises
    ------
    ValueError
        When a value is listed twice.
    """
    twice = sorted({str(value) for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"{', '.join(twice)} is listed twice; name each one once")
    return values


ConfigPath = Annotated[Path, BeforeValidator(_resolve_path)]
Name = Annotated[str, AfterValidator(_check_name)]
Well = Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$", examples=["A/1"])]
Distinct = Annotated[list[Value], AfterValidator(check_distinct)]
# Lightning takes no larger one.
Seed = Annotated[int, Field(ge=0, lt=2**32)]
