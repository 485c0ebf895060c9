"""Counts and examples of repairs in tracking tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_GRAPH_SUFFIXES = ("", ".geff", ".zarr")
EXAMPLES = 5


@dataclass
class Repairs:
    """Counts the repairs of an experiment, rule by rule, with the first examples.

    Attributes
    ----------
    counts : dict of str to int
        Times each rule was needed.
    examples : dict of str to list of dict
        ``file``, and where a row was repaired ``line`` (the header is line 1; in a Parquet file
        the first row is), or ``node`` of a GEFF store.
    """

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, rule: str, file: str, lines: Sequence[int] | NDArray[np.integer] = ()) -> None:
        """Count a repair of `file`: once for each of `lines`, or once for the whole file."""
        listed = sorted(int(line) for line in lines)
        self.counts[rule] = self.counts.get(rule, 0) + (len(listed) or 1)
        kind = _unit_of(Path(file))
        found = [{"file": file, kind: line} for line in listed] or [{"file": file}]
        shown = self.examples.setdefault(rule, [])
        shown += found[: EXAMPLES - len(shown)]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able content: rule to ``count`` and ``examples``."""
        return {
            rule: {"count": count, "examples": self.examples[rule]}
            for rule, count in sorted(self.counts.items())
        }


def location_of(path: Path, lines: Sequence[int] | NDArray[np.integer]) -> str:
    """Name a table and lines of it (nodes of a GEFF store): all of a few, the first of many."""
    listed = sorted(int(line) for line in lines)
    kind = _unit_of(path)
    shown = ", ".join(map(str, listed[:EXAMPLES]))
    more = f" and {len(listed) - EXAMPLES} more" if len(listed) > EXAMPLES else ""
    return f"{path}, {kind}{'s' if len(listed) > 1 else ''} {shown}{more}"


def _unit_of(path: Path) -> str:
    return "node" if path.suffix.lower() in _GRAPH_SUFFIXES else "line"
