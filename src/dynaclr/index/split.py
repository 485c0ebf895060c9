"""Which rows train and which validate: by whole experiments or by whole fields of view.

A lineage lies in one field of view, so neither way puts a lineage on both sides.
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

    Raises
    ------
    UserError
        With every error of the definition.
    """
    problems = Problems()
    if not train:
        problems.add("split", "no experiment is named for training", "Name at least one")
    if validation and validation_fov_fraction is not None:
        problems.add(
            "split",
            "both validation experiments and a fraction of fields of view are given",
            "Keep one of them",
        )
    if not validation and validation_fov_fraction is None:
        problems.add(
            "split",
            "nothing is left for validation",
            "Name validation experiments, or give validation_fov_fraction",
        )
    if validation_fov_fraction is not None and not 0 < validation_fov_fraction < 1:
        problems.add(
            "split",
            f"validation_fov_fraction is {validation_fov_fraction}",
            "Give a number between 0 and 1",
        )
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


def split_fovs(
    conditions: Mapping[str, Mapping[str, str]], fraction: float, seed: int
) -> dict[str, list[str]]:
    """Choose the fields of view that validate.

    Each experiment with at least two gives ``fraction`` of them, rounded, at least one and never
    all. They are spread over its conditions in proportion, and a condition's last field of view
    stays in training as long as others can be taken. Inside a condition a hash of the seed and the
    names decides, so that the choice in one experiment does not depend on the others.

    Parameters
    ----------
    conditions : mapping
        Experiment to field of view to condition.
    fraction : float
        Between 0 and 1.
    seed : int

    Returns
    -------
    dict of str to list of str
        Experiment to the sorted fields of view that validate; experiments with none are left out.

    Raises
    ------
    UserError
        When no experiment has two fields of view.
    """
    chosen = {
        name: _choose(name, fovs, _number(fraction, len(fovs)), seed)
        for name, fovs in sorted(conditions.items())
        if len(fovs) > 1
    }
    if not chosen:
        raise UserError(
            "split: validation is empty, because no experiment has two fields of view "
            f"({', '.join(sorted(conditions))}). Name whole experiments for validation."
        )
    return chosen


def _number(fraction: float, available: int) -> int:
    return min(max(int(fraction * available + 0.5), 1), available - 1)


def _choose(experiment: str, fovs: Mapping[str, str], number: int, seed: int) -> list[str]:
    waiting: dict[str, list[str]] = {}
    for fov in sorted(fovs, key=lambda fov: digest_text(f"{seed}/{experiment}/{fov}")):
        waiting.setdefault(fovs[fov], []).append(fov)
    size = {condition: len(listed) for condition, listed in waiting.items()}
    chosen: list[str] = []
    while len(chosen) < number:
        # The condition that is furthest behind its share gives next; ties go to the one whose
        # first field of view comes first in the order of the hash.
        due = max(
            waiting,
            key=lambda c: (
                len(waiting[c]) > 1,
                bool(waiting[c]),
                number * size[c] / len(fovs) - (size[c] - len(waiting[c])),
            ),
        )
        chosen.append(waiting[due].pop(0))
    return sorted(chosen)
