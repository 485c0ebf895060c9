from .batches import FixedEpochBatchSampler, FlexibleBatchSampler
from .column_positives import ColumnPositiveSampler
from .description import BatchDescription
from .offsets import offset_weights, offsets_in_frames
from .positives import PositiveSampler

__all__ = [
    "BatchDescription",
    "ColumnPositiveSampler",
    "FixedEpochBatchSampler",
    "FlexibleBatchSampler",
    "PositiveSampler",
    "offset_weights",
    "offsets_in_frames",
]
