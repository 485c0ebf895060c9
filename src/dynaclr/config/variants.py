"""Names of variants: how the features of an embedding were made."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

# Their order in tables and figures.
KINDS = ("trained", "untrained", "intensity", "texture", "pixels", "ceiling")
# A supervised ceiling is no baseline: it has seen the labels.
CEILING = "ceiling"
_TITLES = {
    "trained": "trained",
    "untrained": "untrained",
    "intensity": "raw intensity",
    "texture": "texture and shape",
    "pixels": "PCA of pixels",
    "ceiling": "supervised ceiling",
    "zscore": "z-scored",
    "transport": "transported",
}


class Variant(NamedTuple):
    """One set of features of the same observations.

    Attributes
    ----------
    name : str
        ``seed0``, ``seed0-untrained``, ``intensity``, any other baseline's name,
        ``ceiling-<task>``, or one of these after a correction: ``seed0+zscore``.
    kind : str
        ``trained``, ``untrained``, ``ceiling``, or the name itself; with the correction.
    seed : int or None
        Seed of the encoder, None for a baseline without one.
    """

    name: str
    kind: str
    seed: int | None

    @property
    def columns(self) -> dict[str, object]:
        """Columns of a result table that identify the variant."""
        return {"variant": self.name, "kind": self.kind, "seed": self.seed}

    @property
    def base(self) -> str:
        """Name of the variant before correction; its own name where it is not corrected."""
        return self.name.partition("+")[0]

    @property
    def correction(self) -> str:
        """Name of the correction, empty for none."""
        return self.name.partition("+")[2]

    def is_for(self, task: str) -> bool:
        """Whether a task is scored with it: a ceiling was trained on one, and on its markers."""
        of_task = self.base.removeprefix(f"{CEILING}-")
        is_ceiling = self.kind.partition("+")[0] == CEILING
        return not is_ceiling or task == of_task or task.startswith(f"{of_task}.")

    @property
    def title(self) -> str:
        """Title in figures."""
        base, _, correction = self.kind.partition("+")
        title = _TITLES.get(base, base)
        title = title if self.seed is None else f"{title}, seed {self.seed}"
        return f"{title}, {_TITLES.get(correction, correction)}" if correction else title


def parse_variant(name: str) -> Variant:
    """Kind and seed of a variant from its name."""
    base, plus, correction = name.partition("+")
    if base.startswith(f"{CEILING}-"):
        return Variant(name, CEILING + plus + correction, None)
    match = re.fullmatch(r"seed(\d+)(-(\w+))?", base)
    if match is None:
        return Variant(name, name, None)
    return Variant(name, (match[3] or "trained") + plus + correction, int(match[1]))


def ordered_variants(names: Iterable[str]) -> list[Variant]:
    """Variants of some names: uncorrected before corrected, trained before baselines, by seed."""

    def order(variant: Variant) -> tuple[str, int, str, int]:
        base = variant.kind.partition("+")[0]
        known = KINDS.index(base) if base in KINDS else len(KINDS)
        return variant.correction, known, variant.kind, -1 if variant.seed is None else variant.seed

    return sorted(map(parse_variant, names), key=order)


def uncorrected(variants: Iterable[Variant]) -> list[Variant]:
    """Variants whose features are not corrected, in the order given."""
    return [variant for variant in variants if not variant.correction]


def first_of_each_kind(variants: Iterable[Variant]) -> list[Variant]:
    """The first variant of each kind, in the order given."""
    by_kind: dict[str, Variant] = {}
    for variant in variants:
        by_kind.setdefault(variant.kind, variant)
    return list(by_kind.values())


def kind_title(kind: str) -> str:
    """Title of a kind in sentences and legends."""
    return Variant(kind, kind, None).title
