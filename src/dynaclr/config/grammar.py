"""The grammar of everything a user writes: JSON, or YAML that means the same to everyone.

Plain words are what they look like. Of YAML 1.1's readings only those that JSON has are kept, so
that ``3:30`` is no 210, ``2024_05_07`` no 20240507, ``010`` no 8, ``no`` not false and ``1e-5`` no
text; keys are text whatever they look like. A key that is there twice, control characters, values
of other types and very deep nesting are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, ClassVar, NoReturn

import yaml

MOST_LEVELS = 50
# Also bounds what aliases of aliases stand for.
MOST_VALUES = 1_000_000
_PREFIX = "tag:yaml.org,2002:"
_FLOAT = (
    r"[-+]?(\.[0-9]+|(0|[1-9][0-9]*)(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"
)
_PLAIN = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?(0|[1-9][0-9]*)",
    "float": _FLOAT,
    "merge": r"<<",
}
# Neither has half of a pair that stands for one character.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Reads values that JSON has too."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}
    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: constructor
        for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
        if tag in (None, *(_PREFIX + name for name in (*_PLAIN, "str", "seq", "map")))
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        """Mapping whose keys are text."""
        self.flatten_mapping(node)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


class _Dumper(yaml.SafeDumper):
    """Quotes text that this grammar or YAML 1.1 would read as something else."""


for _tag, _pattern in _PLAIN.items():
    _Loader.add_implicit_resolver(_PREFIX + _tag, re.compile(rf"(?:{_pattern})\Z"), None)
_Dumper.add_implicit_resolver(f"{_PREFIX}float", re.compile(rf"(?:{_FLOAT})\Z"), None)


def parse_text(text: str) -> Any:
    """Content of YAML or JSON text.

    Parameters
    ----------
    text : str

    Returns
    -------
    Any
        None, truth values, numbers, text, lists, and mappings with text as keys.

    Raises
    ------
    ValueError
        Saying what is wrong, and at which line if that is known.
    """
    if text.lstrip()[:1] in ("{", "[", '"'):
        try:
            content = json.loads(text, object_pairs_hook=_distinct)
        except (ValueError, RecursionError):
            pass  # No JSON: it may be YAML, whose errors name the line.
        else:
            _check_content(content)
            return content
    try:
        _check_structure(text)
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        raise ValueError(f"not valid YAML{line}: {reason}") from None
    _check_content(content)
    return content


def dump_yaml(content: Any) -> str:
    """YAML text that `parse_text` reads as the same content; keys keep their order."""
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def parser_mode() -> str:
    """Mode in which parsers of jsonargparse read and write values by this grammar."""
    from jsonargparse import set_dumper, set_loader

    set_loader("dynaclr", parse_text, (ValueError,))
    set_dumper("dynaclr", dump_yaml)
    return "dynaclr"


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key is there twice")
    return dict(pairs)


def _check_structure(text: str) -> None:
    """Refuse deep nesting, which would crash the parser itself, and keys that repeat."""
    levels: list[list[str] | None] = []  # Keys and values so far of open mappings; None: a list.
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionEndEvent):
            levels.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue
        children = levels[-1] if levels else None
        if children is not None:
            is_key, name = len(children) % 2 == 0, getattr(event, "value", "")
            if is_key and not isinstance(event, yaml.ScalarEvent):
                _refuse("a key must be text", event)
            if is_key and name in children[::2]:
                _refuse(f"the key {name!r} is there twice", event)
            children.append(name)
        if isinstance(event, yaml.CollectionStartEvent):
            levels.append([] if isinstance(event, yaml.MappingStartEvent) else None)
            if len(levels) > MOST_LEVELS:
                _refuse(f"nested in more than {MOST_LEVELS} levels", event)


def _refuse(what: str, event: yaml.Event) -> NoReturn:
    mark: Any = event.start_mark
    raise yaml.MarkedYAMLError(problem=what, problem_mark=mark)


def _check_content(content: Any) -> None:
    """Refuse control characters, deep nesting, and aliases that stand for too much or themselves.

    Raises
    ------
    ValueError
    """
    values = [content]
    for _ in range(MOST_LEVELS + 1):
        for value in values:
            for text in value if isinstance(value, dict) else [value]:
                if isinstance(text, str) and _CONTROL.search(text):
                    raise ValueError(f"{text!r} holds a control character")
        values = [child for value in values for child in _children(value)]
        if not values:
            return
        if len(values) > MOST_VALUES:
            raise ValueError(f"it stands for more than {MOST_VALUES:,} values")
    raise ValueError(f"nested in more than {MOST_LEVELS} levels")


def _children(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
