"""Whether experiments have the markers that a training asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dynaclr.config import ExperimentConfig, UserError


def check_markers(markers: Sequence[str], registry: Mapping[str, ExperimentConfig]) -> None:
    """Every marker must be in some experiment, and each experiment must have one of them.

    Raises
    ------
    UserError
        When no experiment has a marker, or an experiment has none of them.
    """
    known = {marker for entry in registry.values() for marker in entry.markers}
    for marker in markers:
        if marker not in known:
            raise UserError(
                f"marker {marker!r}: no experiment of {', '.join(registry)} has it. "
                f"Known markers: {', '.join(sorted(known))}. Correct `data.patches.markers`."
            )
    for name, entry in registry.items():
        check_some_marker(markers, name, entry)


def check_some_marker(markers: Sequence[str], name: str, entry: ExperimentConfig) -> None:
    """An experiment without any of the markers has nothing to show; one that it lacks is zeros.

    Raises
    ------
    UserError
        When it has none of them.
    """
    if set(markers).isdisjoint(entry.markers):
        raise UserError(
            f"experiment {name}: has none of the markers {', '.join(markers)}, only "
            f"{', '.join(entry.markers)}. Correct `marker` under its `channels`, or leave the "
            "experiment out."
        )
