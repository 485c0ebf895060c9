"""From tracking tables to one lineage index over many experiments.

`build_index` indexes an experiment, `merge_indexes` joins experiments into a collection's
memory-mappable index, and `MultiExperimentIndex` reads either. Columns are described in
`dynaclr.index.columns`, the rules for bad input in `dynaclr.index.tracks`.
"""

from dynaclr.index.anchors import Anchors, border_shift, pixel_of
from dynaclr.index.build import build_index, index_experiment
from dynaclr.index.lineage import (
    CycleError,
    Forest,
    Links,
    TrackTable,
    build_forest,
    division_frame,
    find_cycles,
    group_tracks,
    resolve_links,
)
from dynaclr.index.markers import MarkerPairs
from dynaclr.index.merge import merge_indexes
from dynaclr.index.multi import MultiExperimentIndex
from dynaclr.index.tracks import Observations, Repairs, read_tracks

__all__ = [
    "Anchors",
    "CycleError",
    "Forest",
    "Links",
    "MarkerPairs",
    "MultiExperimentIndex",
    "Observations",
    "Repairs",
    "TrackTable",
    "border_shift",
    "build_forest",
    "build_index",
    "division_frame",
    "find_cycles",
    "group_tracks",
    "index_experiment",
    "merge_indexes",
    "pixel_of",
    "read_tracks",
    "resolve_links",
]
