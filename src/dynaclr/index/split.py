"""Which rows train and which validate: by whole experiments, fields of view or lineages.

A lineage lies in one field of view, so no way puts a lineage on both sides.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from dynaclr.config import Problems, UserError
from dynaclr.io.artifacts import digest_text


def check_split(
    found: Collection[str],
    train: Sequence[str],
    validation: Sequence[str],
    validation_fov_fraction: float | None,
    validation_lineage_fraction: float | None = None,
) -> None:
    """Check a split's definition against the experiments that are there.

    Parameters
    ----------
    found : collection of str
        Experiments whose index is given.
    train, validation : sequence of str
        Experiments on either side.
    validation_fov_fraction : float, optional
        Share of the training experiments' fields of view that validate instead.
    validation_lineage_fraction : float, optional
        Or of their lineages.

    Raises
    ------
    UserError
        With every error of the definition.
    """
    problems = Problems()
    if not train:
        problems.add("split", "no experiment is named for training", "Name at least one")
    fractions = {
        "validation_fov_fraction": validation_fov_fraction,
        "validation_lineage_fraction": validation_lineage_fraction,
    }
    given = {name: value for name, value in fractions.items() if value is not None}
    if len(given) + bool(validation) > 1:
        found_kinds = ", ".join(["validation"] * bool(validation) + [*given])
        problems.add("split", f"more than one of {found_kinds} is given", "Keep one of them")
    if not given and not validation:
        problems.add(
            "split",
            "nothing is left for validation",
            f"Name validation experiments, or give {' or '.join(fractions)}",
        )
    for name, value in given.items():
        if not 0 < value < 1:
            problems.add("split", f"{name} is {value}", "Give a number between 0 and 1")
    for name in sorted(set(train) & set(validation)):
        problems.add("split", f"{name} is in training and in validation", "Leave it in one")
    for name in sorted({*train, *validation} - set(found)):
        problems.add(
            "split",
            f"{name} is not among the experiments given ({', '.join(sorted(found))})",
            "Correct the name, or give its index",
        )
    for name in sorted(set(found) - {*train, *validation}):
        problems.add("split", f"{name} is on neither side", "Add it to one, or leave its index out")
    problems.raise_if_any()


def split_units(
    conditions: Mapping[str, Mapping[str, str]],
    fraction: float,
    seed: int,
    what: str = "fields of view",
) -> dict[str, list[str]]:
    """Choose the fields of view, or the lineages, that validate.

    Each experiment with at least two gives ``fraction`` of them, rounded, at least one and never
    all. They are spread over its conditions in proportion, and a condition's last one stays in
    training as long as others can be taken. Inside a condition a hash of the seed and the names
    decides, so that the choice in one experiment does not depend on the others.

    Parameters
    ----------
    conditions : mapping
        Experiment to unit to condition.
    fraction : float
        Between 0 and 1.
    seed : int
    what : str
        What the units are, for messages.

    Returns
    -------
    dict of str to list of str
        Experiment to the sorted units that validate; experiments with none are left out.

    Raises
    ------
    UserError
        When no experiment has two of them.
    """
    chosen = {
        name: _choose(name, units, _number(fraction, len(units)), seed)
        for name, units in sorted(conditions.items())
        if len(units) > 1
    }
    if not chosen:
        instead = "" if what == "lineages" else " or give validation_lineage_fraction"
        raise UserError(
            f"split: validation is empty, because no experiment has two {what} "
            f"({', '.join(sorted(conditions))}). Name whole experiments for validation{instead}."
        )
    return chosen


def _number(fraction: float, available: int) -> int:
    return min(max(int(fraction * available + 0.5), 1), available - 1)


def _choose(experiment: str, units: Mapping[str, str], number: int, seed: int) -> list[str]:
    waiting: dict[str, list[str]] = {}
    for unit in sorted(units, key=lambda unit: digest_text(f"{seed}/{experiment}/{unit}")):
        waiting.setdefault(units[unit], []).append(unit)
    size = {condition: len(listed) for condition, listed in waiting.items()}
    chosen: list[str] = []
    while len(chosen) < number:
        # The condition that is furthest behind its share gives next; ties go to the one whose
        # first unit comes first in the order of the hash.
        due = max(
            waiting,
            key=lambda c: (
                len(waiting[c]) > 1,
                bool(waiting[c]),
                number * size[c] / len(units) - (size[c] - len(waiting[c])),
            ),
        )
        chosen.append(waiting[due].pop(0))
    return sorted(chosen)
