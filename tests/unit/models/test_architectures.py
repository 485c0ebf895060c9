"""Autoencoders and U-Nets: shapes, embeddings, masks, what does not fit."""

import subprocess
import sys

import pytest
import torch

from dynaclr.models import (
    BetaVae25D,
    BetaVaeMonai,
    FullyConvolutionalMAE,
    Unet2d,
    Unet25d,
    UNeXt2,
)
from dynaclr.models.decoders import init_for_shuffle
from dynaclr.models.fcmae import random_mask

MAE = {"encoder_blocks": (1, 1), "dims": (16, 32), "stem_kernel_size": (1, 4, 4)}
MONAI = {"latent_size": 8, "channels": (4, 8), "strides": (2, 2)}
VAE = {
    "backbone": "convnext_atto",
    "in_stack_depth": 4,
    "out_stack_depth": 4,
    "latent_dim": 12,
    "input_spatial_size": (64, 64),
    "decoder_stages": 3,
}
# Each with patches that it takes, and the shape that it makes of them.
NETWORKS = {
    "unext2": (UNeXt2, {"backbone": "convnextv2_atto", "out_channels": 2}, (1, 5), (2, 5)),
    "unext2-flat": (
        UNeXt2,
        {"backbone": "convnextv2_atto", "in_channels": 2, "out_stack_depth": 1},
        (2, 5),
        (1, 1),
    ),
    "unet2d": (Unet2d, {"in_channels": 2, "num_blocks": 2}, (2, 1), (1, 1)),
    "unet25d": (Unet25d, {"out_channels": 2, "num_blocks": 2}, (1, 5), (2, 1)),
    "mae": (
        FullyConvolutionalMAE,
        {"in_channels": 2, "out_channels": 2, "in_stack_depth": 4} | MAE,
        (2, 4),
        (2, 4),
    ),
    "mae-flat": (
        FullyConvolutionalMAE,
        {"in_channels": 1, "out_channels": 1, "in_stack_depth": 1} | MAE,
        (1, 1),
        (1, 1),
    ),
    "vae": (BetaVae25D, VAE, (2, 4), (2, 4)),
    "vae-monai": (
        BetaVaeMonai,
        {"spatial_dims": 3, "in_shape": (2, 4, 64, 64), "out_channels": 2} | MONAI,
        (2, 4),
        (2, 4),
    ),
    "vae-monai-flat": (
        BetaVaeMonai,
        {"spatial_dims": 2, "in_shape": (2, 64, 64), "out_channels": 2} | MONAI,
        (2, 1),
        (2, 1),
    ),
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=NETWORKS)
def network(request):
    kind, options, given, made = NETWORKS[request.param]
    return kind(**options), torch.randn(3, *given, 64, 64), made


def test_stacks_and_features_have_the_shapes_that_are_documented(network):
    model, patches, made = network
    output = model(patches)
    stacks = output if torch.is_tensor(output) else output.reconstruction
    assert stacks.shape == (3, *made, 64, 64)
    assert (model.in_channels, model.in_stack_depth) == patches.shape[1:3]
    features = model.embed(patches)
    assert features.shape == (3, model.feature_dim)
    assert features.std(0).mean() > 0
    stacks.square().mean().backward()
    without = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    assert not without, "several processes wait for every weight that can train"


def test_embedding_in_eval_mode_is_of_the_single_patch_and_always_the_same(network):
    model, patches, _ = network
    model.eval()
    with torch.no_grad():
        torch.testing.assert_close(model.embed(patches)[1:2], model.embed(patches[1:2]))


def test_patches_that_a_network_was_not_built_for_are_refused(network):
    model, patches, _ = network
    with pytest.raises(ValueError, match="on axis 1"):
        model(torch.cat([patches, patches], dim=1))
    with pytest.raises(TypeError, match="floating point"):
        model.embed(patches.int())
    with pytest.raises(ValueError, match="64 x 63 pixels"):
        model(patches[..., :63])


@pytest.mark.parametrize("ratio", [0.01, 0.5, 0.75])
def test_masks_hide_as_many_squares_of_every_patch_but_not_the_same(ratio):
    patches = torch.zeros(5, 2, 1, 64, 96)
    mask = random_mask(patches, 16, ratio)
    assert mask.shape == (5, 1, 4, 6)
    assert (mask.sum(dim=(1, 2, 3)) == int(24 * ratio)).all()
    if ratio > 0.1:
        assert (mask != mask[:1]).any()


def test_what_is_hidden_does_not_reach_the_encoder():
    mae = FullyConvolutionalMAE(1, 1, in_stack_depth=1, **MAE)
    patches = torch.randn(2, 1, 1, 32, 32)
    torch.manual_seed(3)
    first = mae(patches, mask_ratio=0.5)
    hidden = first.mask.unsqueeze(2)
    assert hidden.float().mean() == 0.5
    torch.manual_seed(3)
    second = mae(patches.where(~hidden, 100.0), mask_ratio=0.5)
    torch.testing.assert_close(first.reconstruction, second.reconstruction)
    torch.manual_seed(3)
    third = mae(patches.where(hidden, 0.0), mask_ratio=0.5)
    assert not torch.allclose(first.reconstruction, third.reconstruction)


def test_latents_are_drawn_from_their_distribution():
    vae = BetaVaeMonai(2, (1, 8, 8), 1, **MONAI)
    with torch.no_grad():
        made = vae(torch.randn(1, 1, 1, 8, 8).expand(4000, -1, -1, -1, -1))
    spread = made.latent.std(0) / (0.5 * made.log_variance[0]).exp()
    torch.testing.assert_close(spread, torch.ones(8), atol=0.06, rtol=0)
    standard_error = (0.5 * made.log_variance[0]).exp() / 4000**0.5
    assert ((made.latent.mean(0) - made.mean[0]).abs() < 5 * standard_error).all()


def test_pixels_of_a_shuffled_block_start_alike():
    convolution = torch.nn.Conv2d(3, 8, 3, padding=1, bias=False)
    init_for_shuffle(convolution, 2)
    image = torch.nn.functional.pixel_shuffle(convolution(torch.randn(1, 3, 5, 5)), 2)
    blocks = torch.nn.functional.pixel_unshuffle(image, 2).unflatten(1, (2, 4))
    assert torch.equal(blocks, blocks[:, :, :1].expand_as(blocks))
    assert image.std() > 0


@pytest.mark.parametrize(
    ("kind", "options", "named"),
    [
        (UNeXt2, {"backbone": "resnet18"}, "is no ConvNeXt"),
        (UNeXt2, {"in_stack_depth": 7}, "no multiple"),
        (Unet2d, {"num_filters": (8, 16)}, "needs 5"),
        (Unet25d, {"out_stack_depth": 6}, "from 1 to in_stack_depth=5"),
        (
            FullyConvolutionalMAE,
            {"in_channels": 1, "out_channels": 1, "in_stack_depth": 3} | MAE,
            "3 planes, which do not divide",
        ),
        (BetaVae25D, VAE | {"decoder_stages": 4}, "reconstructed as 128 x 128"),
        (BetaVae25D, VAE | {"backbone": "vgg11"}, "neither a ConvNeXt nor a ResNet"),
        (BetaVae25D, VAE | {"latent_dim": 3}, "less than the 2 x 2 pixels"),
        (
            BetaVaeMonai,
            {"spatial_dims": 3, "in_shape": (1, 8, 8), "out_channels": 1} | MONAI,
            r"\(C, Z, Y, X\) with 3",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_named(kind, options, named):
    with pytest.raises(ValueError, match=named):
        kind(**options)


def test_without_monai_only_the_variational_autoencoders_are_missing():
    script = f"""
import sys
sys.modules["monai"] = None
from dynaclr.models import BetaVae25D, UNeXt2
UNeXt2(backbone="convnextv2_atto")
try:
    BetaVae25D(**{VAE!r})
except ImportError as error:
    assert "pip install 'dynaclr[monai]'" in str(error)
else:
    raise AssertionError
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
