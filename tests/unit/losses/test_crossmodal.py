"""The cross-modal loss against loops, alone and over processes."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from dynaclr.losses import CrossModalInfoNCE

SIZES = {2: (5, 4), 3: (4, 0, 5)}


def modalities(n=9):
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, n, 4, generator=generator, dtype=torch.float64)
    return first, second, torch.arange(n) % 4


def by_loop(first, second, lineages, temperature):
    terms = []
    for anchors, keys in ((first, second), (second, first)):
        for i, anchor in enumerate(anchors):
            kept = [j for j in range(len(keys)) if j == i or lineages[j] != lineages[i]]
            s = {j: torch.cosine_similarity(anchor, keys[j], dim=0) / temperature for j in kept}
            terms.append(-(s[i] - torch.stack(list(s.values())).logsumexp(0)))
    return torch.stack(terms).mean()


@pytest.mark.parametrize("temperature", [0.01, 0.07, 0.5])
def test_equals_a_loop_over_anchors(temperature):
    first, second, lineages = modalities()
    criterion = CrossModalInfoNCE(temperature)
    torch.testing.assert_close(
        criterion(first, second, lineages), by_loop(first, second, lineages, temperature)
    )
    alone = by_loop(first, second, torch.arange(9), temperature)
    torch.testing.assert_close(criterion(first, second), alone)
    torch.testing.assert_close(criterion(second, first), alone)


def test_gradients_are_those_of_the_value():
    first, second, lineages = (x[:5] for x in modalities())
    inputs = first.clone().requires_grad_(), second.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: CrossModalInfoNCE(0.3)(a, b, lineages), inputs)


def test_own_modality_is_no_negative():
    _, second, _ = modalities()
    first = torch.ones(9, 4, dtype=torch.float64)
    # Any row of the first modality is as similar to a key as any other.
    loss = CrossModalInfoNCE(0.5)(first, second)
    similarity = torch.cosine_similarity(first, second) / 0.5
    expected = (math.log(9) + (similarity.logsumexp(0) - similarity).mean()) / 2
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize("n", [0, 1, 3])
def test_rows_without_negatives_contribute_nothing(n):
    first, second, _ = modalities(n)
    first.requires_grad_()
    loss = CrossModalInfoNCE()(first, second, torch.zeros(n, dtype=torch.long))
    loss.backward()
    assert loss == 0
    assert (first.grad == 0).all()


def test_half_precision_and_wrong_input():
    first, second, lineages = modalities()
    half = CrossModalInfoNCE()(first.bfloat16(), second.bfloat16(), lineages)
    whole = CrossModalInfoNCE()(first.bfloat16().float(), second.bfloat16().float(), lineages)
    torch.testing.assert_close(half, whole)
    with pytest.raises(ValueError, match="same shape"):
        CrossModalInfoNCE()(first, second[:3])
    with pytest.raises(ValueError, match="lineages must have one entry"):
        CrossModalInfoNCE()(first, second, lineages[:3])
    for temperature in (0, -1, math.nan):
        with pytest.raises(ValueError, match="temperature must be positive"):
            CrossModalInfoNCE(temperature)


def run_rank(rank, folder):
    torch.set_num_threads(1)
    for world in (3, 2):
        if rank < world:
            store = f"file://{folder}/{world}"
            dist.init_process_group("gloo", init_method=store, rank=rank, world_size=world)
            compare_with_one_process(rank, world)
            dist.destroy_process_group()


def compare_with_one_process(rank, world):
    first, second, lineages = modalities()
    whole = first.clone().requires_grad_(), second.clone().requires_grad_()
    expected = CrossModalInfoNCE(0.2)(*whole, lineages)
    expected.backward()
    offset = sum(SIZES[world][:rank])
    own = slice(offset, offset + SIZES[world][rank])
    for averaged in (False, True):
        local = [x[own].clone().requires_grad_() for x in (first, second)]
        criterion = CrossModalInfoNCE(0.2, gather=True, averaged_gradients=averaged)
        loss = criterion(*local, lineages[own])
        loss.backward()
        torch.testing.assert_close(loss, expected)
        for x, reference in zip(local, whole, strict=True):
            torch.testing.assert_close(x.grad, reference.grad[own] * (world if averaged else 1))


def test_ranks_together_equal_one_process(tmp_path):
    mp.spawn(run_rank, args=(tmp_path,), nprocs=3)
