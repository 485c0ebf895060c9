"""Backbones of timm: weights of files, any channels, planes and sizes."""

import os
import subprocess
import sys

import pytest
import timm
import torch
from safetensors.torch import save_file

from dynaclr.models import ContrastiveEncoder, PerChannel

VIT = "vit_tiny_patch16_224"
# A plain transformer, one with windows, and a convolutional network, all of them small.
WHOLE = {
    VIT: {},
    "vit_small_patch14_dinov2": {"drop_path_rate": 0.1},
    "swin_tiny_patch4_window7_224": {"image_size": (56, 56)},
    "mobilenetv3_small_050": {"stem_kernel_size": None},
}


def encoder(backbone=VIT, **options):
    """An encoder of 2-D patches of one channel, if not told otherwise."""
    flat = {"in_channels": 1, "in_stack_depth": 1}
    return ContrastiveEncoder(backbone, **(flat | options)).eval()


@pytest.fixture(scope="module")
def vit():
    """A transformer of timm with random weights, its classifier among them."""
    torch.manual_seed(0)
    return timm.create_model(VIT).eval()


@pytest.fixture(scope="module")
def weights(vit, tmp_path_factory):
    """Its weights as files: of the whole network, and without the classifier."""
    folder = tmp_path_factory.mktemp("weights")
    state = vit.state_dict()
    save_file(state, folder / "whole.safetensors")
    torch.save({"state_dict": state}, folder / "whole.pth")
    headless = {name: value for name, value in state.items() if not name.startswith("head.")}
    torch.save(headless, folder / "headless.pt")
    return folder


@pytest.mark.parametrize(("backbone", "options"), WHOLE.items(), ids=WHOLE)
@pytest.mark.parametrize(("channels", "depth"), [(1, 1), (2, 1), (3, 1), (5, 1), (2, 3)])
def test_whole_backbones_take_any_channels_planes_and_sizes(backbone, options, channels, depth):
    built = encoder(backbone, in_channels=channels, in_stack_depth=depth, **options)
    for height, width in ((56, 56), (72, 40)):
        with torch.no_grad():
            features, projections = built(torch.randn(2, channels, depth, height, width))
        assert features.shape == (2, built.feature_dim)
        assert projections.shape == (2, built.projection_dim)


@pytest.mark.parametrize("file", ["whole.safetensors", "whole.pth", "headless.pt"])
def test_weights_of_a_file_give_the_features_of_timm(file, vit, weights):
    built = encoder(in_channels=3, pretrained=weights / file)
    image = torch.randn(2, 3, 1, 224, 224)
    with torch.no_grad():
        expected = vit.forward_head(vit.forward_features(image[:, :, 0]), pre_logits=True)
        torch.testing.assert_close(built(image)[0], expected)


def test_a_single_channel_is_seen_as_a_grey_image(vit, weights):
    built = encoder(pretrained=weights / "whole.pth")
    grey = torch.randn(2, 1, 1, 224, 224)
    with torch.no_grad():
        tokens = vit.forward_features(grey[:, :, 0].expand(-1, 3, -1, -1))
        expected = vit.forward_head(tokens, pre_logits=True)
        torch.testing.assert_close(built(grey)[0], expected, rtol=1e-4, atol=1e-4)


def test_weights_of_a_file_fill_all_of_a_convolutional_backbone_but_its_first_layer(tmp_path):
    trained = timm.create_model("convnext_atto")
    torch.save(trained.state_dict(), tmp_path / "convnext.pth")
    built = encoder(
        "convnext_atto", stem_kernel_size=(1, 4, 4), pretrained=tmp_path / "convnext.pth"
    )
    for name, value in built.encoder.state_dict().items():
        assert torch.equal(value, trained.state_dict()[name]), name


def test_files_that_hold_no_such_weights_are_refused(tmp_path, weights):
    state = torch.load(weights / "headless.pt", weights_only=True)
    del state["blocks.0.attn.qkv.weight"]
    torch.save(state, tmp_path / "lacking.pt")
    torch.save({"state_dict": state, "code": ValueError}, tmp_path / "pickle.pt")
    (tmp_path / "text.safetensors").write_text("no weights")
    for name, reason in {
        "lacking.pt": "blocks.0.attn.qkv.weight",
        "pickle.pt": "weights_only",
        "text.safetensors": "header",
        "absent.pt": "no such file",
    }.items():
        with pytest.raises(ValueError, match=rf"(?s){name}.*{reason}"):
            encoder(pretrained=tmp_path / name)


def test_without_network_and_cache_the_message_says_where_weights_go(tmp_path):
    script = (
        "from dynaclr.models import ContrastiveEncoder\n"
        f"ContrastiveEncoder({VIT!r}, 1, 1, pretrained=True)"
    )
    offline = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=offline, capture_output=True, text=True
    )
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: the weights of 'vit_tiny_patch16_224'")
    assert f"timm/{VIT}." in last
    assert "`pretrained: <file>`" in last


def test_channels_are_embedded_one_by_one():
    torch.manual_seed(0)
    single = encoder(projection_dim=8)
    patches = torch.randn(2, 3, 1, 32, 32)
    with torch.no_grad():
        alone = torch.stack([single(patches[:, [c]])[0] for c in range(3)], dim=1)
        joined = PerChannel(single, 3).eval()
        features, projections = joined(patches)
        torch.testing.assert_close(features, alone.flatten(1))
        assert projections.shape == (2, joined.projection_dim) == (2, 24)
        averaged = PerChannel(single, 3, "average").eval()
        torch.testing.assert_close(averaged(patches)[0], alone.mean(1))
    assert (joined.feature_dim, averaged.feature_dim) == (576, 192)
    assert joined.in_stack_depth == 1
    assert joined.projection is single.projection
    with pytest.raises(ValueError, match="in_channels=3"):
        joined(patches[:, :2])
    with pytest.raises(ValueError, match="set its in_channels to 1"):
        PerChannel(encoder(in_channels=2), 2)
