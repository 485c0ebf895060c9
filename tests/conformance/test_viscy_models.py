"""Encoders against those of the public package viscy-models: same weights in, same output out.

`make conformance` installs that package where these tests expect it.
"""

import importlib
import sys
from pathlib import Path

import pytest
import torch
from tests.lacking import lacks

from dynaclr.models import ContrastiveEncoder, ResNet3dEncoder

pytestmark = pytest.mark.slow

# Stems of 2-D and 2.5-D networks: planes folded whole, several times, and overlapping.
STEM_2D = {"in_stack_depth": 1, "stem_kernel_size": (1, 4, 4), "stem_stride": (1, 4, 4)}
STEM_15 = {"in_stack_depth": 15, "stem_kernel_size": (5, 4, 4), "stem_stride": (5, 4, 4)}
STEM_20 = {"in_stack_depth": 20, "stem_kernel_size": (5, 4, 4), "stem_stride": (5, 4, 4)}
STEM_OVERLAP = {"in_stack_depth": 9, "stem_kernel_size": (5, 7, 7), "stem_stride": (2, 4, 4)}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def viscy_models():
    """The package, from the folder beside the environment's own packages."""
    folder = Path(sys.prefix) / "viscy"
    if not folder.is_dir():
        lacks(f"viscy-models is not in {folder}, where `make conformance` puts it")
    sys.path.append(str(folder))
    yield importlib.import_module("viscy_models")
    sys.path.remove(str(folder))


@pytest.mark.parametrize(
    ("backbone", "channels", "stem", "widths"),
    [
        ("convnext_tiny", 2, STEM_15, {}),
        ("convnext_tiny", 1, STEM_2D, {}),
        ("convnext_tiny", 2, STEM_OVERLAP, {"embedding_dim": 256, "projection_dim": 32}),
        ("convnextv2_tiny", 1, STEM_15, {}),
        ("convnextv2_tiny", 2, STEM_2D, {"projection_dim": 32}),
        ("resnet50", 2, STEM_20, {"embedding_dim": 2048}),
        ("resnet50", 1, STEM_2D, {"embedding_dim": 512}),
    ],
)
def test_contrastive_encoder(viscy_models, backbone, channels, stem, widths):
    options = {"backbone": backbone, "in_channels": channels, **stem, **widths}
    theirs = viscy_models.ContrastiveEncoder(**options)
    ours = ContrastiveEncoder(**options)
    assert_same(ours, theirs, torch.randn(4, channels, stem["in_stack_depth"], 80, 64))


@pytest.mark.parametrize(
    ("backbone", "channels", "depth", "widths"),
    [
        ("resnet10", 2, 6, {}),
        ("resnet18", 1, 15, {}),
        ("resnet34", 2, 1, {"projection_dim": 32}),
        ("resnet50", 1, 15, {"embedding_dim": 2048}),
        ("resnet101", 2, 5, {"embedding_dim": 2048}),
    ],
)
def test_resnet3d_encoder(viscy_models, backbone, channels, depth, widths):
    options = {"backbone": backbone, "in_channels": channels, **widths}
    theirs = viscy_models.ResNet3dEncoder(**options)
    ours = ResNet3dEncoder(in_stack_depth=depth, **options)
    assert_same(ours, theirs, torch.randn(4, channels, depth, 72, 64))


def assert_same(ours, theirs, patches):
    """Weights pass both ways, and give the same outputs and the same running statistics."""
    randomize(theirs)
    ours.load_state_dict(theirs.state_dict())
    for training in (False, True):
        with torch.no_grad():
            expected = theirs.train(training)(patches)
            given = ours.train(training)(patches)
        for ours_BD, theirs_BD in zip(given, expected, strict=True):
            # Rows differ, or there would be nothing to compare.
            assert theirs_BD.std(0).mean() > 1e-3
            torch.testing.assert_close(ours_BD, theirs_BD, rtol=1e-5, atol=1e-5)
    assert expected[0].shape[1] == ours.feature_dim
    # Training mode has updated the running statistics.
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-5, atol=1e-5)
    theirs.load_state_dict(ours.state_dict())


def randomize(model):
    """Give every weight and running statistic a value that shows in the output."""
    for name, value in model.state_dict().items():
        if value.ndim > 1:
            value.normal_(std=value[0].numel() ** -0.5)
        elif name.endswith(("weight", "gamma", "running_var")):
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point():
            value.normal_(std=0.1)


@pytest.mark.parametrize("depth", [10, 18, 34, 50, 101, 152, 200])
def test_every_3d_network_has_the_published_parameters(viscy_models, depth):
    options = {"backbone": f"resnet{depth}", "embedding_dim": 512 if depth < 50 else 2048}
    with torch.device("meta"):
        theirs = viscy_models.ResNet3dEncoder(in_channels=2, **options).state_dict()
        ours = ResNet3dEncoder(in_channels=2, **options).state_dict()
    assert shapes(ours) == shapes(theirs)


def shapes(state):
    return {name: tuple(value.shape) for name, value in state.items()}
