from .anchors import Anchors, border_shift, pixel_of
from .build import build_index, index_experiment
from .labels import build_labels
from .markers import MarkerPairs
from .merge import merge_indexes
from .multi import MultiExperimentIndex

__all__ = [
    "Anchors",
    "MarkerPairs",
    "MultiExperimentIndex",
    "border_shift",
    "build_index",
    "build_labels",
    "index_experiment",
    "merge_indexes",
    "pixel_of",
]
