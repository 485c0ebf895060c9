"""The code that a result comes from: modules and all that they import, found without running them.

A stage depends on its entry module, on whatever that imports from this package, directly or not,
and on the classes that a configuration names. Modules of other packages do not count: the pinned
environment says which they are. Neither do comments, docstrings, help texts and layout.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

from dynaclr.config.errors import UserError
from dynaclr.io.artifacts import digest_text
from dynaclr.io.file_cache import read_cached

_PACKAGE = Path(__file__).resolve().parents[1]
# Rooms whose classes a configuration may name without their module.
_BARE = ("losses", "transforms", "models", "training")
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def code_digest(*entries: str, config: Any = None) -> str:
    """Digest of the code that some modules and the classes of a configuration run.

    Parameters
    ----------
    *entries : str
        Modules of this package, as in ``"index.build"``.
    config : JSON-able, optional
        Configuration: each dotted name in it that is found in this package or outside of the
        installed packages (``class_path: my_encoder.MyEncoder``) counts with its imports.

    Returns
    -------
    str
        16 hexadecimal digits.

    Raises
    ------
    UserError
        When the package has no such module.
    """
    modules = code_of(*entries, config=config)
    lines = (f"{name} {_read_module(name)[0]}" for name in sorted(modules))
    return digest_text("\n".join(lines))[:16]


def code_of(*entries: str, config: Any = None) -> dict[str, Path]:
    """Modules that count, and their files; arguments and errors as in `code_digest`."""
    waiting = []
    for entry in entries:
        name = f"{_PACKAGE.name}.{entry}"
        if _file_of(name) is None:
            raise UserError(f"{name}: no such module. Correct the rule's `code`.")
        waiting.append(name)
    waiting += filter(None, map(_module_of, _class_names(config)))
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        file = _file_of(name)
        if name not in found and file is not None:
            found[name] = file
            waiting += filter(None, map(_module_of, _read_module(name)[1]))
    return found


def _class_names(config: Any) -> Iterator[str]:
    """Every value of a configuration that may name a class, as a dotted name."""
    if isinstance(config, str) and _DOTTED.fullmatch(config):
        yield config
    elif isinstance(config, dict):
        given = config.get("class_path")
        # The parser finds a class of a known kind by its bare name.
        rooms = _BARE if isinstance(given, str) and given.isidentifier() else ()
        packages = [f"{_PACKAGE.name}.{room}" for room in rooms]
        for package in filter(_file_of, packages):
            if given in _read_module(package)[2]:
                yield f"{package}.{given}"
        yield from (name for value in config.values() for name in _class_names(value))
    elif isinstance(config, list | tuple):
        yield from (name for value in config for name in _class_names(value))


@cache
def _module_of(name: str) -> str | None:
    """Module that a dotted name stands for or is defined in; None outside of what counts.

    A package's ``__init__`` re-exports what its modules define; these count, not the others.
    """
    if _file_of(name) is not None:
        return name
    parent, _, attribute = name.rpartition(".")
    file = _file_of(parent) if parent else None
    if file is None:
        # An attribute of a class, for example.
        return _module_of(parent) if parent else None
    origin = _read_module(parent)[2].get(attribute)
    return (_module_of(origin) if origin else None) or parent


@cache
def _file_of(module: str) -> Path | None:
    """Source file of a module of this package or of the user's own; None for any other."""
    top, *parts = module.split(".")
    folder = _PACKAGE if top == _PACKAGE.name else _own_source(top)
    if folder is None:
        return None
    if folder.is_file():
        return None if parts else folder
    path = folder.joinpath(*parts)
    return next((f for f in (path / "__init__.py", path.with_suffix(".py")) if f.is_file()), None)


@cache
def _own_source(top: str) -> Path | None:
    """File or folder of a top-level module that belongs to no installed package."""
    if top in sys.stdlib_module_names:
        return None
    spec = PathFinder.find_spec(top)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    path = Path(folders[0] if folders else spec.origin or "").resolve()
    if {"site-packages", "dist-packages"} & {*path.parts}:
        return None
    return path if folders or path.suffix == ".py" else None


@cache
def _read_module(name: str) -> tuple[str, list[str], dict[str, str]]:
    """Digest of a module's code, the names that it imports, and what the names in it stand for."""
    file = _file_of(name)
    if file is None:
        raise KeyError(name)
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    stub = [path for path in [file.with_suffix(".pyi")] if path.is_file()]
    return tuple(read_cached("code", file, lambda file: (_parse(file, package), [file, *stub])))


def _syntax_of(file: Path) -> ast.Module:
    try:
        return ast.parse(file.read_bytes())
    except FileNotFoundError:
        raise UserError(f"{file}: no such file. Write it, or correct what names it.") from None
    except SyntaxError as error:
        raise UserError(f"{file}, line {error.lineno}: {error.msg}. Correct it.") from None


def _parse(file: Path, package: str) -> tuple[str, list[str], dict[str, str]]:
    tree = _syntax_of(file)
    imports: list[str] = []
    origins: dict[str, str] = {}
    waiting: list[tuple[ast.AST, bool]] = [(tree, True)]
    while waiting:
        node, runs = waiting.pop()
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            body.pop(0)
        found: list[str] = []
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = _absolute(node, package)
            names = {a.asname or a.name: f"{source}.{a.name}" for a in node.names if a.name != "*"}
            found = [*names.values()] or [source]
            origins |= names
        elif isinstance(node, ast.Call):
            origins |= _lazy_names(node, package, file)
            # Help texts of a configuration's fields are documentation, as docstrings are.
            node.keywords = [k for k in node.keywords if k.arg not in ("description", "examples")]
        imports += found if runs else []
        # What only type checkers import says where a name lies, but runs nothing.
        guarded = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        waiting += [(child, runs and not guarded) for child in ast.iter_child_nodes(node)]
    return digest_text(ast.dump(tree)), imports, origins


def _is_docstring(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _lazy_names(call: ast.Call, package: str, file: Path) -> dict[str, str]:
    """Names that a package re-exports by `attach` or `attach_stub`, and what they stand for."""
    if isinstance(call.func, ast.Attribute) and call.func.attr == "attach_stub":
        stub = _syntax_of(file.with_suffix(".pyi"))
        lines = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
        return {a.name: f"{_absolute(i, package)}.{a.name}" for i in lines for a in i.names}
    given = [k.value for k in call.keywords if k.arg == "submod_attrs"]
    if not given:
        return {}
    modules: dict[str, list[str]] = ast.literal_eval(given[0])
    return {name: f"{package}.{file}.{name}" for file, names in modules.items() for name in names}


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    parents = parts[: len(parts) - node.level + 1]
    return ".".join([*parents, *filter(None, [node.module])])
