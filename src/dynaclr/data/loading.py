"""From composed batches to a loader that stops and goes on in the middle of an epoch."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from dynaclr.data.dataset import Batch, MultiExperimentTripletDataset
from dynaclr.sampling import FlexibleBatchSampler

# What schedulers send before they kill. They send it to all processes of a job.
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class EpochBatches(Sampler[list[int]]):
    """Batches of a batch sampler, each position stamped with the epoch it is drawn in.

    Workers outlive an epoch and hear nothing but positions, so these carry the epoch to them.

    Parameters
    ----------
    batches : FlexibleBatchSampler
        Yields lists of positions of its `epoch`.
    n : int
        Number of positions, the stamp's unit.
    """

    def __init__(self, batches: FlexibleBatchSampler, n: int) -> None:
        self.batches = batches
        self.n = n

    @property
    def sampler(self) -> FlexibleBatchSampler:
        """The object whose ``set_epoch`` Lightning calls at the start of an epoch."""
        return self.batches

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        stamp = self.batches.epoch * self.n
        for positions in self.batches:
            yield [stamp + position for position in positions]


class ResumableLoader(DataLoader[Batch]):
    """A loader whose place in the epoch is saved and restored with the trainer's checkpoints.

    The place counts the batches that were handed out, not those that workers read ahead.

    Parameters
    ----------
    dataset : MultiExperimentTripletDataset
    batches : FlexibleBatchSampler
    num_workers : int
        Processes that read batches; 0 reads in this one.
    """

    def __init__(
        self,
        dataset: MultiExperimentTripletDataset,
        batches: FlexibleBatchSampler,
        num_workers: int = 0,
    ) -> None:
        workers = num_workers > 0
        super().__init__(
            dataset,
            batch_sampler=EpochBatches(batches, len(dataset)),
            collate_fn=_as_is,
            num_workers=num_workers,
            persistent_workers=workers,
            # Threads of tensorstore do not survive a fork, so workers start afresh and then stay.
            multiprocessing_context="spawn" if workers else None,
            pin_memory=torch.cuda.is_available(),
        )
        self._step = 0

    @property
    def batches(self) -> FlexibleBatchSampler:
        """What composes the batches."""
        return self.batch_sampler.batches

    def __iter__(self) -> Iterator[Batch]:
        # A generator: nothing is read before the first batch is asked for. Lightning makes the
        # iterator of a resumed epoch before it tells the sampler which epoch that is.
        self._step = self.batches.resume_step
        with _workers_deaf_to(STOP_SIGNALS):
            batches = super().__iter__()
        for batch in batches:
            self._step += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Return the place in the epoch, and what it is only valid for."""
        return self.batches.state_dict() | {"step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a place that `state_dict` returned.

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
def _workers_deaf_to(signals: Iterable[signal.Signals]) -> Iterator[None]:
    """Let processes that are started meanwhile hear none of the signals.

    The training process saves and stops at them; it needs its workers for that long, and they end
    with it. A mask is inherited from the first instruction on, a handler would come too late.
    """
    # Its start, which the first worker's would bring along, lets signals through again.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
