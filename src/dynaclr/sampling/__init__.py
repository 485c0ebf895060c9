"""Which observations make a batch, and which observation is the positive of which.

Arrays in, row numbers out: nothing here knows of images, files or training, and NumPy is all it
needs, except that the batch samplers subclass :class:`torch.utils.data.Sampler`. Names are loaded
when first used, so that importing the offset functions does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dynaclr.sampling.batches import (
        BatchDescription,
        FixedEpochBatchSampler,
        FlexibleBatchSampler,
    )
    from dynaclr.sampling.offsets import offset_weights, offsets_in_frames
    from dynaclr.sampling.positives import ColumnPositiveSampler, PositiveSampler

_MODULE_OF = {
    "BatchDescription": "batches",
    "ColumnPositiveSampler": "positives",
    "FixedEpochBatchSampler": "batches",
    "FlexibleBatchSampler": "batches",
    "PositiveSampler": "positives",
    "offset_weights": "offsets",
    "offsets_in_frames": "offsets",
}

__all__ = [
    "BatchDescription",
    "ColumnPositiveSampler",
    "FixedEpochBatchSampler",
    "FlexibleBatchSampler",
    "PositiveSampler",
    "offset_weights",
    "offsets_in_frames",
]


def __getattr__(name: str) -> object:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
