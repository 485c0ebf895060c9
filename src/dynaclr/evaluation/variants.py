"""Variants: what the name of a set of features says about where it comes from."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

# In this order they stand in tables and figures.
KINDS = ("trained", "untrained", "intensity")
_TITLES = {"trained": "trained", "untrained": "untrained", "intensity": "raw intensity"}


class Variant(NamedTuple):
    """One set of features of the same observations.

    Attributes
    ----------
    name : str
        ``seed0``, ``seed0-untrained``, ``intensity``, or any other baseline's name.
    kind : str
        ``trained``, ``untrained``, ``intensity``, or the name itself.
    seed : int or None
        Seed of the encoder, None where there is none.
    """

    name: str
    kind: str
    seed: int | None

    @property
    def title(self) -> str:
        """Words for figures."""
        title = _TITLES.get(self.kind, self.kind)
        return title if self.seed is None else f"{title}, seed {self.seed}"


def parse_variant(name: str) -> Variant:
    """Kind and seed of a variant from its name."""
    match = re.fullmatch(r"seed(\d+)(-(\w+))?", name)
    if match is None:
        return Variant(name, name, None)
    return Variant(name, match[3] or "trained", int(match[1]))


def ordered_variants(names: Iterable[str]) -> list[Variant]:
    """Variants with the trained ones first, then the baselines, each by seed."""

    def place(variant: Variant) -> tuple[int, str, int]:
        known = KINDS.index(variant.kind) if variant.kind in KINDS else len(KINDS)
        return known, variant.kind, -1 if variant.seed is None else variant.seed

    return sorted(map(parse_variant, names), key=place)


def first_of_each_kind(variants: Iterable[Variant]) -> list[Variant]:
    """The first variant of each kind, in the order given."""
    by_kind: dict[str, Variant] = {}
    for variant in variants:
        by_kind.setdefault(variant.kind, variant)
    return list(by_kind.values())


def kind_title(kind: str) -> str:
    """Words for a kind, for sentences and legends."""
    return _TITLES.get(kind, kind)
