"""The batch sampler and the positives under the loaders that will drive them."""

from itertools import islice

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, Dataset
from torchdata.stateful_dataloader import StatefulDataLoader

from dynaclr.sampling import FlexibleBatchSampler, PositiveSampler

N_ROWS = 600


class Rows(Dataset):
    """Gives back the row numbers asked for, with their positives."""

    def __init__(self) -> None:
        t, branch = np.tile(np.arange(20), N_ROWS // 20), np.repeat(np.arange(N_ROWS // 20), 20)
        self.epoch = 0
        self.positives = PositiveSampler(
            t, branch, branch + 1, np.zeros(N_ROWS, dtype=int), [np.arange(-6, 0)]
        )

    def __len__(self) -> int:
        return N_ROWS

    def __getitems__(self, rows: list[int]) -> torch.Tensor:
        rows = np.where(np.array(rows) % 20 == 0, np.array(rows) + 1, rows)
        return torch.from_numpy(np.stack([rows, self.positives.sample(rows, self.epoch)]))


def unchanged(batch: torch.Tensor) -> torch.Tensor:
    return batch


def batch_sampler(num_replicas: int = 1, rank: int = 0) -> FlexibleBatchSampler:
    rng = np.random.default_rng(0)
    columns = pd.DataFrame(
        {
            "experiment": rng.choice(["a", "b", "c"], N_ROWS),
            "condition": rng.choice(["mock", "infected"], N_ROWS),
            "hours": rng.integers(0, 40, N_ROWS) / 2,
        }
    )
    return FlexibleBatchSampler(
        columns, 32 // num_replicas, leaky=0.25, temporal_enrichment=True, seed=3,
        num_replicas=num_replicas, rank=rank,
    )  # fmt: skip


def loaded(loader: DataLoader) -> list:
    return [batch.tolist() for batch in loader]


def load(sampler: FlexibleBatchSampler, num_workers: int, kind: type = DataLoader) -> DataLoader:
    return kind(Rows(), batch_sampler=sampler, num_workers=num_workers, collate_fn=unchanged)


def test_any_number_of_workers_gives_the_same_rows_and_positives():
    expected = {}
    for num_workers in (0, 1, 3, 4):
        sampler = batch_sampler()
        loader = load(sampler, num_workers)
        assert len(loader) == len(sampler)
        for epoch in range(2):
            # As Lightning does it.
            loader.batch_sampler.sampler.set_epoch(epoch)
            assert expected.setdefault(epoch, got := loaded(loader)) == got
    assert expected[0] != expected[1]


def test_any_number_of_replicas_gives_the_same_pairs_of_rows_and_positives():
    expected = [sorted(zip(*batch, strict=True)) for batch in loaded(load(batch_sampler(), 0))]
    for n in (2, 4):
        shares = [loaded(load(batch_sampler(n, rank), 0)) for rank in range(n)]
        for step, whole in enumerate(expected):
            pairs = [zip(*share[step], strict=True) for share in shares]
            assert sorted(pair for own in pairs for pair in own) == whole
        assert {len(share) for share in shares} == {len(expected)}


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("done", [1, 7])
def test_a_stateful_loader_resumes_in_the_middle_of_an_epoch(num_workers, done):
    sampler = batch_sampler()
    sampler.set_epoch(5)
    expected = loaded(load(sampler, 0))
    loader = load(sampler, num_workers, StatefulDataLoader)
    first = [batch.tolist() for batch in islice(loader, done)]
    state = loader.state_dict()

    resumed = load(batch_sampler(), num_workers, StatefulDataLoader)
    resumed.load_state_dict(state)
    assert first + loaded(resumed) == expected
    resumed.batch_sampler.sampler.set_epoch(6)
    sampler.set_epoch(6)
    assert loaded(resumed) == loaded(load(sampler, 0))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_stateful_loader_saved_after_an_epoch_goes_on_with_a_whole_one(num_workers):
    loader = load(batch_sampler(), num_workers, StatefulDataLoader)
    expected = loaded(loader)
    resumed = load(batch_sampler(), num_workers, StatefulDataLoader)
    resumed.load_state_dict(loader.state_dict())
    assert loaded(resumed) == expected
