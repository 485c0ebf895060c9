"""Networks against those of the public package viscy-models: same weights in, same output out.

`make conformance` installs that package where these tests expect it.
"""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.lacking import lacks

from dynaclr.losses import NTXentHCL
from dynaclr.models import (
    BetaVae25D,
    BetaVaeMonai,
    ContrastiveEncoder,
    FullyConvolutionalMAE,
    ResNet3dEncoder,
    Unet2d,
    Unet25d,
    UNeXt2,
)
from dynaclr.training import ContrastiveModule
from dynaclr.training.viscy import convert_viscy

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


VAE_25D = {"in_stack_depth": 8, "out_stack_depth": 8, "latent_dim": 32}
VAE_MONAI = {"out_channels": 2, "latent_size": 16, "channels": (8, 16), "strides": (2, 2)}
# One plane, in which a stack ends.
FLAT = {"in_stack_depth": 5, "out_stack_depth": 1}


@pytest.mark.parametrize(
    ("kind", "options", "size"),
    [
        (UNeXt2, {"backbone": "convnextv2_atto"}, (5, 64, 96)),
        (
            UNeXt2,
            {"backbone": "convnext_atto", "in_channels": 2} | FLAT,
            (5, 64, 64),
        ),
        (
            UNeXt2,
            {"decoder_upsample_pre_conv": True, "head_pool": True, "decoder_conv_blocks": 1}
            | {"in_stack_depth": 10, "out_channels": 2},
            (10, 64, 64),
        ),
        (Unet2d, {"in_channels": 2, "num_blocks": 3}, (1, 48, 64)),
        (Unet2d, {"residual": True, "num_filters": (8, 16, 12), "num_blocks": 2}, (1, 32, 32)),
        (
            Unet2d,
            {"task": "seg", "num_block_layers": 3, "kernel_size": (5, 3), "out_channels": 4},
            (1, 32, 32),
        ),
        (Unet25d, {"in_channels": 2, "num_blocks": 3} | FLAT, (5, 48, 64)),
        (
            Unet25d,
            {"residual": True, "in_stack_depth": 7, "out_stack_depth": 3, "num_blocks": 2}
            | {"num_filters": (8, 16, 12)},
            (7, 32, 32),
        ),
        (Unet25d, {"task": "seg", "xy_kernel_size": (5, 3), "out_channels": 4}, (5, 32, 32)),
    ],
)
def test_stacks_from_stacks(viscy_models, kind, options, size):
    # The defaults of these two differ: see the classes.
    if kind in (Unet2d, Unet25d):
        options = {"dropout": 0.0, "task": "reg"} | options
    theirs = getattr(viscy_models, kind.__name__)(**options)
    patches = torch.randn(3, options.get("in_channels", 1), *size)
    assert_same(kind(**options), theirs, patches)


@pytest.mark.parametrize(
    ("options", "depth"),
    [
        ({"in_channels": 2, "out_channels": 2}, 5),
        ({"in_channels": 1, "out_channels": 1, "in_stack_depth": 15}, 15),
        ({"in_channels": 2, "out_channels": 1, "head_conv": True}, 5),
        ({"in_channels": 1, "out_channels": 1, "decoder_conv_blocks": 2}, 5),
        ({"in_channels": 1, "out_channels": 1, "stem_kernel_size": (1, 2, 2)}, 1),
    ],
)
@pytest.mark.parametrize("mask_ratio", [0.0, 0.6])
def test_masked_autoencoder(viscy_models, options, depth, mask_ratio):
    options = options | {"encoder_blocks": (1, 1, 2), "dims": (30, 60, 120)}
    options = options | {"in_stack_depth": depth}
    theirs = viscy_models.FullyConvolutionalMAE(**options)
    patches = torch.randn(3, options["in_channels"], depth, 64, 48)
    assert_same(FullyConvolutionalMAE(**options), theirs, patches, mask_ratio=mask_ratio)


@pytest.mark.parametrize(
    ("options", "side"),
    [
        ({"backbone": "resnet50"}, 128),
        ({"backbone": "convnext_tiny", "decoder_stages": 3, "norm_name": "instance"}, 64),
        ({"backbone": "resnet18", "upsample_mode": "deconv", "head_pool": True}, 128),
    ],
)
def test_variational_autoencoder(viscy_models, options, side):
    options = options | VAE_25D | {"input_spatial_size": (side, side)}
    theirs = viscy_models.BetaVae25D(**options)
    assert_same(BetaVae25D(**options), theirs, torch.randn(3, 2, 8, side, side))


@pytest.mark.parametrize("norm", ["batch", "instance"])
@pytest.mark.parametrize("shape", [(2, 8, 32, 24), (2, 32, 24)])
def test_variational_autoencoder_of_monai(viscy_models, shape, norm):
    options = VAE_MONAI | {"spatial_dims": len(shape) - 1, "in_shape": shape, "norm": norm}
    theirs, ours = viscy_models.BetaVaeMonai(**options), BetaVaeMonai(**options)
    patches = torch.randn(3, *shape)
    stacks = patches if len(shape) == 4 else patches.unsqueeze(2)

    def reshaped(made):
        return [made[0].reshape(patches.shape), *made[1:]]

    assert_same(lambda _: reshaped(ours(stacks)), theirs, patches, ours)


def assert_same(ours, theirs, patches, module=None, **options):
    """Weights pass both ways, and give the same outputs and the same running statistics."""
    module = module or ours
    randomize(theirs)
    module.load_state_dict(theirs.state_dict())
    for training in (False, True):
        theirs.train(training)
        module.train(training)
        given, expected = (outputs(network, patches, **options) for network in (ours, theirs))
        for ours_B, theirs_B in zip(given, expected, strict=True):
            # Rows differ, or there would be nothing to compare.
            assert theirs_B.float().std(0).mean() > 1e-3
            torch.testing.assert_close(ours_B, theirs_B, rtol=1e-5, atol=1e-5)
    # Training mode has updated the running statistics.
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(module.state_dict()[name], value, rtol=1e-5, atol=1e-5)
    theirs.load_state_dict(module.state_dict())


def outputs(network, patches, **options):
    """What a network returns, as a list of tensors; what it draws at random is always the same."""
    torch.manual_seed(1)
    with torch.no_grad():
        made = network(patches.clone(), **options)
    if torch.is_tensor(made):
        return [made]
    # Theirs are tuples, without a mask one of them None, or namespaces.
    values = made if isinstance(made, tuple | list) else vars(made).values()
    return [value for value in values if value is not None]


def randomize(model):
    """Give every weight and running statistic a value that shows in the output."""
    for name, value in model.state_dict().items():
        if value.ndim > 1:
            value.normal_(std=value[0].numel() ** -0.5)
        elif name.endswith(("weight", "gamma", "running_var")):
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point():
            value.normal_(std=0.1)


@pytest.mark.parametrize("style", ["flat", "MLP"])
@pytest.mark.parametrize("kind", [ContrastiveEncoder, ResNet3dEncoder])
def test_converted_checkpoint(viscy_models, kind, style, tmp_path):
    widths = {"embedding_dim": 512, "projection_dim": 32}
    options = {"backbone": "resnet18", "in_channels": 2} | widths
    if kind is ContrastiveEncoder:
        options |= {"backbone": "convnext_tiny", "in_stack_depth": 15}
    theirs = getattr(viscy_models, kind.__name__)(**options)
    ours = kind(**options | {"in_stack_depth": 15})
    if style == "MLP":
        theirs.projection = viscy_models.MLP(ours.feature_dim, 512, 32)
    randomize(theirs)
    # As Lightning saves VisCy's ContrastiveModule, with what its configurations hold.
    hyperparameters = {
        "loss_function": viscy_models.NTXentHCL(temperature=0.07, beta=0.5),
        "ckpt_path": Path("last.ckpt"),
        "lr": np.float64(2e-5),
    }
    state = {f"model.{name}": value for name, value in theirs.state_dict().items()}
    content = {"state_dict": state, "hyper_parameters": hyperparameters}
    torch.save(content, tmp_path / "viscy.ckpt")
    convert_viscy(tmp_path / "viscy.ckpt", tmp_path / "ours.ckpt")
    module = ContrastiveModule(ours, encoder_checkpoint=tmp_path / "ours.ckpt").eval()
    patches = torch.randn(4, 2, 15, 64, 64)
    with torch.no_grad():
        for given, expected in zip(module(patches), theirs.eval()(patches), strict=True):
            torch.testing.assert_close(given, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("temperature", "beta"), [(0.07, 0.5), (0.5, 2.0)])
def test_hardness_of_the_loss_is_multiplied_by_the_temperature(viscy_models, temperature, beta):
    embeddings, labels = torch.randn(64, 8), torch.arange(32).repeat(2)
    theirs = viscy_models.NTXentHCL(temperature=temperature, beta=beta)(embeddings, labels)
    ours = NTXentHCL(temperature, beta * temperature)(embeddings, labels)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
    assert (NTXentHCL(temperature, beta)(embeddings, labels) - theirs).abs() > 0.01


@pytest.mark.parametrize("depth", [10, 18, 34, 50, 101, 152, 200])
def test_every_3d_network_has_the_published_parameters(viscy_models, depth):
    options = {"backbone": f"resnet{depth}", "embedding_dim": 512 if depth < 50 else 2048}
    with torch.device("meta"):
        theirs = viscy_models.ResNet3dEncoder(in_channels=2, **options).state_dict()
        ours = ResNet3dEncoder(in_channels=2, **options).state_dict()
    assert shapes(ours) == shapes(theirs)


def shapes(state):
    return {name: tuple(value.shape) for name, value in state.items()}
