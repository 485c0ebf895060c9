"""Copying of the next batch to the GPU while one is trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

from dynaclr.data.loading.dataset import Batch

T = TypeVar("T")
S = TypeVar("S")


def prefetch_to_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Hand out batches on a GPU, each copied while the one before it is in use.

    Copies run beside computation only from pinned memory, which is where a loader with
    ``pin_memory`` puts batches. For any other device batches stay as and where they are.

    Parameters
    ----------
    batches : iterable of dict
        Nested dicts of tensors. One more than was handed out is taken.
    device : torch.device
    """
    if device.type != "cuda":
        yield from batches
        return
    # Each worker of a loader imports this module, and needs none of what Lightning brings along.
    from lightning.fabric.utilities import move_data_to_device
    from lightning.fabric.utilities.apply_func import apply_to_collection

    copying = torch.cuda.Stream(device)

    def copy(batch: Batch) -> tuple[Batch, torch.cuda.Event]:
        with torch.cuda.stream(copying):
            return move_data_to_device(batch, device), copying.record_event()

    working = torch.cuda.current_stream(device)
    for batch, copied in _one_ahead(batches, copy):
        working.wait_event(copied)
        # Or its memory would be given to the next copy while it is still read.
        apply_to_collection(batch, Tensor, lambda x: x.record_stream(working))
        yield batch


def _one_ahead(items: Iterable[T], begin: Callable[[T], S]) -> Iterator[S]:
    """Hand out what `begin` makes of each item, after it has begun the next one."""
    begun: list[S] = []
    for item in items:
        begun.append(begin(item))
        if len(begun) > 1:
            yield begun.pop(0)
    yield from begun
