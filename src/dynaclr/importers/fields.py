"""Which files are which field of view: by a table of them, or by the names of the files.

Paths may hold names in braces, as in ``movies/{well}_{field}.tif``. With a table these are its
columns, and each row is a field of view. Without one they match what stands there in the names of
the files, and each set of files is a field of view. ``well``, ``field`` and ``condition`` say where
it belongs; other names only tie the paths of a field of view together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from dynaclr.config.errors import Problems, UserError, did_you_mean
from dynaclr.io.text_table import read_rows

_WELL = re.compile(r"([A-Za-z]+)[/_-]?0*(\d+)")
_BRACES = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class Field:
    """A field of view that is imported.

    Attributes
    ----------
    name : str
        ``row/column/fov``.
    condition : str
    values : dict of str to str
        What the names in braces stand for.
    base : Path
        Folder that relative paths are relative to.
    """

    name: str
    condition: str
    values: dict[str, str] = field(default_factory=dict)
    base: Path = Path()

    def path(self, pattern: str | Path) -> Path:
        """Path of this field of view.

        Raises
        ------
        UserError
            When a name in braces is not among the values.
        """
        for name in _BRACES.findall(str(pattern)):
            if not self.values.get(name):
                raise UserError(
                    f"{pattern}: nothing is known for {{{name}}} of field of view {self.name}. "
                    f"{did_you_mean(name, self.values)}."
                )
        return self.base / _BRACES.sub(lambda match: self.values[match[1]], str(pattern))


def list_fields(
    pattern: str | Path,
    table: Path | None,
    condition: str,
    accept: Callable[[Path], bool] = Path.is_file,
) -> list[Field]:
    """List the fields of view, in the order of the table or of the files' names.

    Parameters
    ----------
    pattern : str or Path
        Path of a field's images, with names in braces where there are several fields.
    table : Path, optional
        Table with a row a field of view; ``well``, ``field`` and ``condition`` are optional. Paths
        are relative to its folder.
    condition : str
        Where it is not given.
    accept : callable
        Whether a path that the pattern fits may be images.

    Returns
    -------
    list of Field

    Raises
    ------
    UserError
        When there is none, or names of wells or fields of view are unusable or not distinct.
    """
    if table is not None:
        rows, base = _read_rows(table), table.parent
    elif _BRACES.search(str(pattern)):
        rows, base = _matches(str(pattern), accept), Path()
    else:
        return [Field("A/1/0", condition)]
    return _named(rows, base, condition, str(table or pattern))


def _read_rows(table: Path) -> list[dict[str, str]]:
    listed: list[dict[str, str]] = read_rows(table).to_dict("records")
    if not listed:
        raise UserError(f"{table}: lists no field of view. Give it a row for each.")
    return listed


def _matches(pattern: str, accept: Callable[[Path], bool]) -> list[dict[str, str]]:
    """Values of the names in braces, of each path that fits the pattern."""
    seen: set[str] = set()
    expression = ""
    for i, part in enumerate(_BRACES.split(pattern)):
        if i % 2 == 0:
            expression += re.escape(part)
        else:
            expression += f"(?P={part})" if part in seen else f"(?P<{part}>[^/]+)"
            seen.add(part)
    # What comes before the first name is a folder that is there.
    head = pattern[: pattern.index("{")].rpartition("/")
    folder = Path(head[0] + head[1] or ".")
    rest = _BRACES.sub("*", pattern[len(head[0] + head[1]) :])
    paths = sorted(str(path) for path in folder.glob(rest) if accept(path))
    found = [re.fullmatch(expression, path) for path in paths]
    rows = [match.groupdict() for match in found if match]
    if not rows:
        raise UserError(f"{pattern}: no file has such a path. Correct the pattern.")
    return rows


def _named(rows: list[dict[str, str]], base: Path, condition: str, source: str) -> list[Field]:
    """Fields of view with names: in the well and of the number that are given, else counted."""
    problems, fields = Problems(), []
    conditions = [row.get("condition") or condition for row in rows]
    # A well has one condition, so that each condition gets a well where wells are not given.
    number = {name: i for i, name in enumerate(dict.fromkeys(conditions), 1)}
    used: set[str] = set()
    for row, of in zip(rows, conditions, strict=True):
        well = row.get("well") or f"A/{number[of]}"
        match = _WELL.fullmatch(well)
        if match is None:
            problems.add(source, f"{well!r} is no well", "Write it as B/3 or B03")
            continue
        prefix = f"{match[1]}/{match[2]}/"
        fov = prefix + (row.get("field") or _next(used, prefix))
        if not re.fullmatch(r"[A-Za-z0-9]+", fov[len(prefix) :]):
            problems.add(source, f"{fov!r} is no field of view", "Use letters and digits")
        if fov in used:
            what = f"two fields of view are {fov}"
            problems.add(source, what, "Give each its own `field`")
        used.add(fov)
        fields.append(Field(fov, of, row, base))
    problems.raise_if_any()
    return fields


def _next(used: Iterable[str], prefix: str) -> str:
    return str(sum(name.startswith(prefix) for name in used))
