"""Base class of all sections of the configuration, and types of fields that several of them use."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
)

Value = TypeVar("Value")
# Longer ones hide others in figures and tables, and names of files have 255 characters at most.
_LONGEST_LABEL = 100


class ConfigModel(BaseModel):
    """Base of all sections: unknown keys are errors, and values cannot be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_value_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        kind = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and bool not in (kind, *get_args(kind)):
            raise ValueError(f"must not be {str(value).lower()}; give its value")
        return value


def _resolve_path(value: Any, info: ValidationInfo) -> Any:
    """Expand ``${VAR}`` and make a path absolute, relative to the file that holds it."""
    return _resolve(value, Path((info.context or {}).get("base", Path.cwd())))


def _resolve_product(value: Any) -> Any:
    """The same, relative to the folder that the workflow runs in, as all results are."""
    return _resolve(value, Path.cwd())


def _resolve(value: Any, base: Path) -> Any:
    if not isinstance(value, str | os.PathLike):
        return value
    _check_printable(os.fspath(value))
    text = os.path.expanduser(os.path.expandvars(os.fspath(value)))
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", text):
        raise ValueError(
            f"{text} is no path: S3, HTTP and other remote stores are not read; mount the store "
            "(rclone mount, s3fs), or copy it to a disk, and give the path there"
        )
    unset = re.search(r"\$\{?(\w+)", text)
    if unset:
        raise ValueError(
            f"environment variable {unset.group(1)} is not set; set it or write the path out"
        )
    return Path(os.path.normpath(base.absolute() / text))


def _check_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", value):
        raise ValueError(
            f"{value!r} is used as a folder name; use letters, digits, '_', '-' and '.'"
        )
    return value


def _check_printable(value: str) -> str:
    # Also what is no character at all: half of a pair that stands for one.
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in value):
        raise ValueError(f"{value!r} holds a line end or control character; remove it")
    return value


def _check_label(value: str) -> str:
    if value.startswith("_"):
        raise ValueError(f"{value!r} begins with '_', which hides it in legends; rename it")
    return _check_printable(value)


def _check_fact(value: Any) -> Any:
    if isinstance(value, str) and 0 < len(value) <= _LONGEST_LABEL:
        return _check_printable(value)
    if not isinstance(value, int | float):
        raise ValueError("must be a short text, a number, true or false; correct the value")
    if not abs(value) < 2**63:
        raise ValueError(f"{value} is no number that a column can hold; correct the value")
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
ProductPath = Annotated[Path, BeforeValidator(_resolve_product)]
Name = Annotated[str, Field(max_length=_LONGEST_LABEL), AfterValidator(_check_name)]
# A word or two in figures and tables.
Label = Annotated[str, Field(min_length=1, max_length=_LONGEST_LABEL), AfterValidator(_check_label)]
Fact = Annotated[str | int | float | bool, BeforeValidator(_check_fact)]
Well = Annotated[str, Field(pattern=r"^[^/\s]+/[^/\s]+$", examples=["A/1"])]
Distinct = Annotated[list[Value], AfterValidator(check_distinct)]
# Lightning takes no larger one.
Seed = Annotated[int, Field(ge=0, lt=2**32, strict=True)]
