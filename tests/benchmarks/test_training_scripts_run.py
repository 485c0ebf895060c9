"""The benchmarks of loss, transforms and training run, and compare what is comparable."""

import pytest
import torch
from tests.benchmarks.running import FOLDER, README, lines_of


def test_losses_that_are_compared_are_the_same(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import losses

    generator = torch.Generator().manual_seed(0)
    z = torch.randn(40, losses.DIMENSIONS, generator=generator)
    labels = torch.arange(20).repeat(2)
    values = {name: loss(z, labels) for name, loss in losses.losses().items()}
    torch.testing.assert_close(values["plain, beta 0"], values["NTXentHCL, beta 0"])
    torch.testing.assert_close(values["plain, beta 0.5"], values["NTXentHCL, beta 0.5"])
    torch.testing.assert_close(values["pytorch-metric-learning"], values["NTXentHCL, beta 0"])


@pytest.mark.slow
def test_drift_benchmark_judges_every_kind_of_plate(tmp_path):
    size = ("--training", "3", "--clean", "1", "--altered", "1")
    lines = lines_of("drift.py", "--folder", str(tmp_path), *size)
    rows = [line for line in lines if line.startswith("| ")][1:]
    table = README.read_text()
    assert len(rows) == 12
    for row in rows:
        assert f"\n| {row.split('|')[1].strip()}" in table


@pytest.mark.slow
def test_loss_benchmark_measures_everything_that_its_table_holds():
    device, *rows = lines_of("losses.py", "--pairs", "16", "--seconds", "0.01")
    assert device.split()[0] in ("cpu", "cuda")
    table = README.read_text()
    for row in rows[:5]:
        assert f"| {row.split('  ')[0]} |" in table
        assert row.count(" ms") == row.count(" MB") == 1


@pytest.mark.slow
def test_transform_benchmark_measures_everything_that_its_table_holds():
    lines = lines_of("transforms.py", "--batch", "2", "--size", "12", "--repeats", "1")
    table = README.read_text()
    rows = [line for line in lines if " x " not in line]
    assert len(rows) == 16
    for row in rows:
        assert f"| {row.split('  ')[0]} |" in table


@pytest.mark.slow
def test_training_benchmark_trains_both_stacks_from_both_sources():
    tiny = ["--size", "32", "--batch", "4", "--steps", "2", "--workers", "0"]
    rows = lines_of("training.py", "--cpu", "--backbone", "convnext_femto", *tiny)
    assert [row.split("   ")[0].strip() for row in rows] == [
        f"{stack} x 32 x 32, {source}"
        for stack in ("2 x 1", "1 x 15")
        for source in ("memory", "loader")
    ]
    for row in rows:
        assert "steps/s" in row
        assert "waiting for data, %" in row
