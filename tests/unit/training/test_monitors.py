"""Monitors against closed forms."""

import math

import pytest
import torch

from dynaclr.training.modules import WarmupCosine
from dynaclr.training.monitors import alignment, effective_rank, uniformity


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


def test_schedule_warms_up_and_ends_at_zero():
    factor = WarmupCosine(10, 110)
    assert factor(0) == pytest.approx(0.1)
    assert factor(9) == factor(10) == 1
    assert factor(60) == pytest.approx(0.5)
    assert factor(110) == pytest.approx(0)
    assert factor(10_000) == pytest.approx(0)
    assert WarmupCosine(0, 4)(2) == pytest.approx(0.5 * (1 + math.cos(math.pi / 2)))
