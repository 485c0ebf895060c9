"""The gathered loss on several processes against one process with the whole batch."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from dynaclr.losses import CosineMarginLoss, NTXentHCL, TripletMarginLoss

OPTIONS = {"temperature": 0.1, "beta": 0.5, "tau_plus": 0.05}
LOSSES = [(NTXentHCL, OPTIONS), (TripletMarginLoss, {"margin": 0.5}), (CosineMarginLoss, {})]
SIZES = {2: (6, 10), 3: (7, 0, 9)}


def whole():
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(16, 5, generator=generator, dtype=torch.float64)
    labels = torch.randperm(16, generator=generator) % 8  # positives also lie on other ranks
    return embeddings, labels, labels % 3


def own_rows(rank, world):
    offset = sum(SIZES[world][:rank])
    return slice(offset, offset + SIZES[world][rank])


def run_rank(rank, folder):
    """Three ranks, then two of them: processes take longer to start than to compare."""
    torch.set_num_threads(1)
    for world in (3, 2):
        if rank < world:
            store = f"file://{folder}/{world}"
            dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
            for kind, options in LOSSES:
                compare_with_one_process(rank, world, kind, options)
            compare_disagreement(rank)
            dist.destroy_process_group()


def compare_with_one_process(rank, world, kind, options):
    embeddings, labels, lineages = whole()
    expected_leaf = embeddings.clone().requires_grad_()
    expected = kind(**options)(expected_leaf, labels, lineages)
    (3 * expected).backward()
    own = own_rows(rank, world)
    leaf = embeddings[own].clone().requires_grad_()
    loss = kind(**options, gather=True)(leaf, labels[own], lineages[own])
    (3 * loss).backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(leaf.grad, expected_leaf.grad[own])
    compare_parameters(embeddings, labels, own, kind, options)


def compare_parameters(embeddings, labels, own, kind, options):
    """Averaged over ranks, as data-parallel training does, gradients are those of one process."""
    torch.manual_seed(1)
    single = nn.Linear(5, 4, dtype=torch.float64)
    replica = nn.Linear(5, 4, dtype=torch.float64)
    replica.load_state_dict(single.state_dict())
    kind(**options)(single(embeddings), labels).backward()
    criterion = kind(**options, gather=True, averaged_gradients=True)
    criterion(replica(embeddings[own]), labels[own]).backward()
    for parameter, expected in zip(replica.parameters(), single.parameters(), strict=True):
        dist.all_reduce(parameter.grad)
        torch.testing.assert_close(parameter.grad / dist.get_world_size(), expected.grad)


def compare_disagreement(rank):
    """A rank that forgets its lineages is an error on all ranks; none waits for ever."""
    embeddings, labels, _ = whole()
    lineages = labels if rank else None
    with pytest.raises(ValueError, match=r"lineages.*\[0\]"):
        NTXentHCL(gather=True)(embeddings, labels, lineages)
    with pytest.raises(ValueError, match="dimensions"):
        NTXentHCL(gather=True)(embeddings[:, : 3 + min(rank, 1)], labels)


def test_ranks_together_equal_one_process(tmp_path):
    mp.spawn(run_rank, args=(tmp_path,), nprocs=3)


@pytest.mark.parametrize(("kind", "options"), LOSSES)
def test_without_a_process_group_gather_changes_nothing(kind, options):
    embeddings, labels, lineages = whole()
    loss = kind(**options, gather=True)(embeddings, labels, lineages)
    assert loss == kind(**options)(embeddings, labels, lineages)
    with pytest.raises(ValueError, match="no effect without gather"):
        kind(averaged_gradients=True)
