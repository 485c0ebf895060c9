"""Monitors against closed forms."""

import math

import numpy as np
import pytest
import torch

from dynaclr.inference.batch_inspection import same_lineage_share
from dynaclr.training.monitors import (
    alignment,
    effective_rank,
    retrieval,
    same_lineage_negatives,
    similarity_margins,
    uniformity,
)
from dynaclr.training.schedule import WarmupCosine


def test_alignment_of_opposite_and_equal_pairs():
    x = torch.randn(5, 3)
    assert alignment(x, 2 * x) == pytest.approx(0, abs=1e-6)
    assert alignment(x, -x) == pytest.approx(4, abs=1e-5)


def test_uniformity_of_one_point_and_of_two_poles():
    x = torch.ones(4, 3)
    assert uniformity(x) == pytest.approx(0, abs=1e-6)
    poles = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert uniformity(poles) == pytest.approx(-8, abs=1e-5)
    assert uniformity(poles[:1]) == 0


def test_effective_rank_counts_equal_directions():
    line = torch.linspace(-1, 1, 9)[:, None] * torch.tensor([[1.0, 2.0, 3.0]])
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    axes = torch.cat([torch.eye(4), -torch.eye(4)])
    assert effective_rank(axes) == pytest.approx(4, abs=1e-4)
    noise = torch.randn(300, 20, generator=torch.Generator().manual_seed(0))
    shares = torch.linalg.svdvals(noise[:128] - noise[:128].mean(0))
    shares = shares / shares.sum()
    assert effective_rank(noise) == pytest.approx(
        (-shares * shares.log()).sum().exp().item(), rel=1e-5
    )


def test_effective_rank_of_one_point_is_not_that_of_its_rounding():
    noise = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    point = torch.rand(64, generator=torch.Generator().manual_seed(1)) + 1
    assert effective_rank(point + 1e-7 * noise) == 1
    assert effective_rank((point + 1e-7 * noise).bfloat16()) == 1
    assert effective_rank(torch.zeros(64, 64)) == 1
    assert effective_rank(point + 0.1 * noise) > 40


def test_schedule_warms_up_and_ends_at_zero():
    factor = WarmupCosine(10, 110)
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == factor(10) == 1
    assert factor(60) == pytest.approx(0.5)
    assert factor(110) == pytest.approx(0)
    assert factor(10_000) == pytest.approx(0)
    assert WarmupCosine(0, 4)(2) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))


@pytest.mark.parametrize("lineages", [None, torch.tensor([0, 0, 1, 2, 1])])
def test_margins_and_retrieval_equal_loops(lineages):
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(5, 3, generator=generator)
    second = first + 0.7 * torch.randn(5, 3, generator=generator)
    group = range(5) if lineages is None else lineages.tolist()
    positive, negative, nearest, found = [], [], [], []
    for i in range(5):
        cosine = torch.cosine_similarity(first[i], second, dim=1).tolist()
        others = [c for j, c in enumerate(cosine) if group[j] != group[i]]
        positive.append(cosine[i])
        negative += others
        nearest.append(max(others))
        found.append(cosine[i] > max(others))
    mean, hardest = similarity_margins(first, second, lineages)
    n = len(positive)
    assert mean == pytest.approx(sum(positive) / n - sum(negative) / len(negative), abs=1e-6)
    assert hardest == pytest.approx((sum(positive) - sum(nearest)) / n, abs=1e-6)
    assert retrieval(first, second, lineages) == pytest.approx(sum(found) / n)


def test_margins_without_negatives_are_zero():
    x = torch.randn(3, 2)
    assert similarity_margins(x, -x, torch.zeros(3)) == (0, 0)
    assert similarity_margins(x[:1], x[:1]) == (0, 0)


@pytest.mark.parametrize("lineages", [[4], [1, 1], [0, 1, 2], [0, 0, 1, 0, 2, 2]])
def test_share_of_same_lineage_negatives_is_that_of_the_audit(lineages):
    share = same_lineage_negatives(torch.tensor(lineages))
    assert share == pytest.approx(same_lineage_share(np.array(lineages)))
