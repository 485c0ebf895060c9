"""What is done for the sake of a GPU, as far as it can be seen without one."""

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from toy import ToyEncoder, batches, fit

from dynaclr.models import ContrastiveEncoder, ResNet3dEncoder, SmallEncoder
from dynaclr.training import ContrastiveModule, MultiModalContrastiveModule
from dynaclr.training.base import to_channels_last


def encoder(in_channels: int = 2) -> ToyEncoder:
    # Before a batch norm a bias has no gradient but rounding, of which AdamW makes whole steps.
    return ToyEncoder(in_channels, p=0.0, norm=nn.LayerNorm)


def make(**options) -> ContrastiveModule:
    torch.manual_seed(0)
    return ContrastiveModule(encoder(), **options)


@pytest.mark.parametrize(
    "built",
    [
        SmallEncoder(2, 3, width=8),
        ContrastiveEncoder("convnext_atto", 2, 3, (3, 4, 4), (3, 4, 4)),
        ResNet3dEncoder("resnet10", 2, 3),
    ],
    ids=lambda built: type(built).__name__,
)
def test_channels_last_changes_the_memory_layout_alone(built):
    x_BCZYX = torch.randn(2, 2, 3, 32, 32)
    expected, before = built.eval()(x_BCZYX), copy.deepcopy(built.state_dict())
    to_channels_last(built)
    for given, wanted in zip(built(x_BCZYX), expected, strict=True):
        torch.testing.assert_close(given, wanted, rtol=1e-3, atol=1e-5)
    for name, value in built.state_dict().items():
        assert torch.equal(value, before[name]), name
    moved = [p for p in built.parameters() if p.ndim > 3 and min(p.shape[1:3]) > 1]
    assert moved
    assert not any(parameter.is_contiguous() for parameter in moved)


@pytest.mark.parametrize(
    "built",
    [
        ToyEncoder(),
        ContrastiveEncoder("mobilenetv3_small_050", 2, 1, (1, 4, 4), (1, 4, 4)),
        ResNet3dEncoder("resnet10", 2, 1),
    ],
    ids=lambda built: type(built).__name__,
)
def test_batch_norms_of_several_gpus_are_one_and_of_one_gpu_stay(built):
    side = 6 if isinstance(built, ToyEncoder) else 32
    module, x_BCZYX = Fused(built), torch.randn(4, 2, 1, side, side)
    before, expected = list(module.state_dict()), module.eval()(x_BCZYX)
    for processes in (1, 2, 2):
        module._trainer = SimpleNamespace(world_size=processes)
        module.configure_model()
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        assert norms
        assert all(isinstance(norm, nn.SyncBatchNorm) == (processes == 2) for norm in norms)
    assert not any(norm.training for norm in norms)
    for given, wanted in zip(module(x_BCZYX), expected, strict=True):
        torch.testing.assert_close(given, wanted)
    assert list(module.state_dict()) == before


class Fused(ContrastiveModule):
    """As on a GPU: one kernel for all weights."""

    _on_gpu = True


def final_weights(module: nn.Module, **options) -> torch.Tensor:
    fit(module, batches(4), epochs=2, **options)
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize(
    ("precision", "clipped", "fused"),
    [("32-true", 1.0, True), ("bf16-mixed", None, True), ("bf16-mixed", 1.0, False)],
)
def test_optimiser_is_fused_unless_lightning_refuses_to_clip(precision, clipped, fused):
    module = Fused(make().encoder)
    module._trainer = SimpleNamespace(
        precision=precision, gradient_clip_val=clipped, estimated_stepping_batches=1
    )
    assert module.configure_optimizers()["optimizer"].defaults["fused"] == fused
    final_weights(Fused(make().encoder), precision=precision, gradient_clip_val=clipped)


def test_bf16_learns_what_float32_learns():
    rows = {}
    for precision in ("32-true", "bf16-mixed"):
        trainer = fit(make(), batches(), batches(2, seed=1), epochs=8, precision=precision)
        rows[precision] = float(trainer.callback_metrics["loss/val"])
    assert rows["bf16-mixed"] == pytest.approx(rows["32-true"], rel=0.2)


@pytest.mark.slow
def test_compiled_encoders_keep_names_and_results():
    """The two encoders of a distillation, which hold all that a contrastive module has."""
    results = []
    for compiled in (False, True):
        torch.manual_seed(0)
        module = MultiModalContrastiveModule(
            encoder(1), encoder(1), [0], [1], compile_encoder=compiled
        )
        fit(module, batches(3), epochs=2)
        assert all((e._compiled_call_impl is not None) == compiled for e in module.encoders)
        results.append(module.state_dict())
    assert list(results[0]) == list(results[1])
    for name, value in results[0].items():
        torch.testing.assert_close(results[1][name], value, rtol=1e-3, atol=1e-4)
