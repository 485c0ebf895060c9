"""Warnings of an experiment whose tracking tables seem to be in other units than its entry says."""

from __future__ import annotations

import logging

from dynaclr.config import ExperimentConfig
from dynaclr.index.repairs import Repairs
from dynaclr.index.tracks import Observations
from dynaclr.io import Position

log = logging.getLogger(__name__)

# With larger pixels positions in micrometres would not stand out.
_SMALL_PIXEL_UM = 0.7
_WARNINGS = {
    "frames_from_one": "no tracking table has a row at frame 0. If their frames are numbered from "
    "1, give the entry `tracks_first_frame: 1`",
    "position_in_um": "the tracking tables say that their positions are in micrometres, but they "
    "are read as pixels. Give the entry `tracks_unit: um`",
    "position_may_be_in_um": "all positions lie where they would lie if they were given in "
    "micrometres. If so, give the entry `tracks_unit: um`",
}


def warn_of_units(
    entry: ExperimentConfig,
    positions: dict[str, Position],
    filled: dict[str, Observations],
    repairs: Repairs,
) -> None:
    """Warn of positions that look like micrometres, and of frames that look numbered from 1.

    Parameters
    ----------
    entry : ExperimentConfig
    positions : dict of str to Position
        Fields of view by name.
    filled : dict of str to Observations
        Observations of those that have any.
    repairs : Repairs
        Takes the rules ``frames_from_one`` and ``position_may_be_in_um``; ``position_in_um`` is
        there already.
    """
    where = f"experiment {entry.name}"
    if filled and entry.tracks_first_frame == 0 and min(r.t.min() for r in filled.values()) == 1:
        repairs.add("frames_from_one", where)
    if entry.tracks_unit == "pixel" and filled and "position_in_um" not in repairs.counts:
        sizes = [entry.pixel_size_um or positions[fov].pixel_size_um for fov in filled]
        small = max(sizes) < _SMALL_PIXEL_UM and all(
            rows.y.max() <= size * positions[fov].shape[3]
            and rows.x.max() <= size * positions[fov].shape[4]
            for size, (fov, rows) in zip(sizes, filled.items(), strict=True)
        )
        if small:
            repairs.add("position_may_be_in_um", where)
    for rule, warning in _WARNINGS.items():
        if rule in repairs.counts:
            log.warning("%s: %s", where, warning)
