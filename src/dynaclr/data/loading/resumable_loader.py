"""A loader of composed batches that stops and resumes in the middle of an epoch."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Sampler

from dynaclr.data.loading.dataset import Batch, MultiExperimentTripletDataset
from dynaclr.data.loading.device_prefetch import prefetch_to_device
from dynaclr.sampling import FlexibleBatchSampler

# What schedulers send before they kill. They send it to all processes of a job.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class EpochBatches(Sampler[NDArray[np.int64]]):
    """Batches of a batch sampler as the rows that are drawn for them in its epoch.

    Workers outlive an epoch and get nothing but what is drawn here, so they need neither the epoch
    nor anything that grows with the index.

    Parameters
    ----------
    batches : FlexibleBatchSampler
        Yields lists of positions of its `epoch`.
    dataset : MultiExperimentTripletDataset
        Looks up the rows.
    """

    def __init__(
        self, batches: FlexibleBatchSampler, dataset: MultiExperimentTripletDataset
    ) -> None:
        self.batches = batches
        self.dataset = dataset

    @property
    def sampler(self) -> FlexibleBatchSampler:
        """The object whose ``set_epoch`` Lightning calls at the start of an epoch."""
        return self.batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        stamp = self.batches.epoch * len(self.dataset)
        for positions in self.batches:
            yield self.dataset.draw(stamp + np.asarray(positions, np.int64))


class ResumableLoader(DataLoader[Batch]):
    """A loader whose position in the epoch is saved and restored with the trainer's checkpoints.

    The position counts the batches that were handed out, not those that workers read ahead.

    Parameters
    ----------
    dataset : MultiExperimentTripletDataset
    batches : FlexibleBatchSampler
    num_workers : int
        Processes that read batches; 0 reads in this one.
    device : torch.device
        Batches are handed out on this device if it is a GPU, see `prefetch_to_device`.
    """

    def __init__(
        self,
        dataset: MultiExperimentTripletDataset,
        batches: FlexibleBatchSampler,
        num_workers: int = 0,
        device: torch.device = torch.device("cpu"),  # noqa: B008 (immutable)
    ) -> None:
        workers = num_workers > 0
        super().__init__(
            dataset,
            # Torch expects lists of keys; ours are arrays of rows, and batches come whole.
            batch_sampler=EpochBatches(batches, dataset),  # type: ignore[arg-type]
            collate_fn=_as_is,  # type: ignore[arg-type]
            num_workers=num_workers,
            persistent_workers=workers,
            # Threads (of torch, say) do not survive a fork, so workers start afresh and stay.
            multiprocessing_context="spawn" if workers else None,
            pin_memory=torch.cuda.is_available(),
        )
        self.batches = batches
        self._step = 0
        self._device = device

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        # A generator: nothing is read before the first batch is requested. Lightning makes
        # the iterator of a resumed epoch before it sets the epoch of the sampler.
        self._step = self.batches.resume_step
        with _signals_blocked_in_workers(STOP_SIGNALS):
            batches = super().__iter__()
        for batch in prefetch_to_device(batches, self._device):
            self._step += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the position in the epoch, and what it is only valid for."""
        return self.batches.state_dict() | {"step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a position that `state_dict` returned.

        Raises
        ------
        ValueError
            When it was saved with other data or options.
        """
        self.batches.load_state_dict(state)


def _as_is(batch: Batch) -> Batch:
    """Collate function for batches that are already whole; a plain function, so it pickles."""
    return batch


@contextmanager
def _signals_blocked_in_workers(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Block signals in processes that are started meanwhile.

    The training process saves its state and stops when it receives one. Until then it needs its
    workers, which end with it. Workers inherit the mask before they run any code; a handler that
    they install would come too late.
    """
    # Started here, because to start it unblocks the signals. The first worker would start it.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
