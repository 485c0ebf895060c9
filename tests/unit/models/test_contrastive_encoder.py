"""ContrastiveEncoder: shapes, published parameter names, backbones, errors."""

import pytest
import timm
import torch
from torch import nn

from dynaclr.models import ContrastiveEncoder, StemDepthToChannels


def small(**options):
    defaults = {"backbone": "convnext_atto", "in_channels": 2, "in_stack_depth": 5}
    return ContrastiveEncoder(**(defaults | options))


@pytest.mark.parametrize(
    ("backbone", "feature_dim"),
    [("convnext_atto", 320), ("resnet18", 512), ("mobilenetv3_small_050", 1024)],
)
def test_any_convolutional_backbone(backbone, feature_dim):
    encoder = small(backbone=backbone, projection_dim=16).eval()
    features, projections = encoder(torch.randn(2, 2, 5, 64, 48))
    assert features.shape == (2, encoder.feature_dim) == (2, feature_dim)
    assert projections.shape == (2, encoder.projection_dim) == (2, 16)


@pytest.mark.parametrize(
    ("depth", "kernel", "stride", "weight"),
    [
        (1, (1, 4, 4), (1, 4, 4), (40, 2, 1, 4, 4)),
        (15, (15, 4, 4), (15, 4, 4), (40, 2, 15, 4, 4)),
        (20, (5, 4, 4), (5, 4, 4), (10, 2, 5, 4, 4)),
        (9, (5, 7, 7), (1, 4, 4), (8, 2, 5, 7, 7)),
    ],
)
def test_stem_folds_any_depth_into_the_channels_of_the_backbone(depth, kernel, stride, weight):
    encoder = small(in_stack_depth=depth, stem_kernel_size=kernel, stem_stride=stride).eval()
    assert encoder.state_dict()["stem.conv.weight"].shape == weight
    features, _ = encoder(torch.randn(1, 2, depth, 64, 64))
    assert features.shape == (1, 320)


def test_stem_keeps_planes_of_one_filter_together():
    stem = StemDepthToChannels(1, 4, 6, (2, 1, 1), (2, 1, 1))
    stack = torch.randn(2, 1, 4, 3, 3)
    planes = nn.functional.conv3d(stack, stem.conv.weight, stem.conv.bias, stride=(2, 1, 1))
    expected = torch.stack([planes[:, c, z] for c in range(3) for z in range(2)], dim=1)
    assert torch.equal(stem(stack), expected)


def test_parameter_names_are_the_published_ones():
    encoder = ContrastiveEncoder("convnext_tiny", 2, 15, embedding_dim=768, projection_dim=128)
    shapes = {name: tuple(value.shape) for name, value in encoder.state_dict().items()}
    assert len(shapes) == 194
    expected = {
        "stem.conv.weight": (32, 2, 5, 4, 4),
        "stem.conv.bias": (32,),
        "encoder.stem.1.weight": (96,),
        "encoder.stages.0.blocks.0.gamma": (96,),
        "encoder.stages.1.downsample.1.weight": (192, 96, 2, 2),
        "encoder.stages.3.blocks.2.mlp.fc2.weight": (768, 3072),
        "encoder.head.norm.weight": (768,),
        "projection.0.weight": (768, 768),
        "projection.1.running_mean": (768,),
        "projection.3.weight": (128, 768),
        "projection.4.num_batches_tracked": (),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    rooms = {name.split(".")[0] for name in shapes}
    assert rooms == {"stem", "encoder", "projection"}


@pytest.mark.parametrize(
    ("backbone", "first", "classifier"),
    [("convnext_atto", "stem.0", "head.fc"), ("resnet18", "conv1", "fc")],
)
def test_backbone_lacks_only_its_first_convolution_and_classifier(backbone, first, classifier):
    whole = timm.create_model(backbone).state_dict()
    encoder = small(backbone=backbone).encoder.state_dict()
    assert set(whole) - set(encoder) == {
        name for name in whole if name.startswith((f"{first}.", f"{classifier}."))
    }
    assert set(encoder) <= set(whole)


def test_embedding_in_eval_mode_does_not_depend_on_batch_mates():
    encoder = small().eval()
    patches = torch.randn(3, 2, 5, 32, 32)
    with torch.no_grad():
        together = encoder(patches)
        alone = encoder(patches[1:2])
    for whole, single in zip(together, alone, strict=True):
        torch.testing.assert_close(whole[1:2], single)


def test_drop_path_acts_in_training_only():
    torch.manual_seed(0)
    encoder = small(drop_path_rate=0.9)
    for parameter in encoder.encoder.parameters():
        nn.init.normal_(parameter, std=0.1)  # ConvNeXt starts its branches near zero
    patches = torch.randn(1, 2, 5, 32, 32).expand(4, -1, -1, -1, -1)
    features, _ = encoder(patches)
    assert not torch.allclose(features[0], features[1])
    features, _ = encoder.eval()(patches)
    torch.testing.assert_close(features[0], features[1])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"backbone": "convnext_atoo"}, "no model 'convnext_atoo'.*names: .*convnext_atto"),
        ({"backbone": "swin_tiny_patch4_window7_224"}, "Give `image_size`"),
        ({"backbone": "edgenext_xx_small", "image_size": (64, 64)}, "leave out image_size"),
        ({"in_stack_depth": 3}, "in_stack_depth=3"),
        ({"in_stack_depth": 15}, "3 planes"),
    ],
)
def test_what_does_not_fit_is_named(options, named):
    with pytest.raises(ValueError, match=named):
        small(**options)


@pytest.mark.parametrize(
    ("patches", "error", "named"),
    [
        (torch.zeros(1, 2, 32, 32), ValueError, "axes"),
        (torch.zeros(1, 3, 5, 32, 32), ValueError, "in_channels=2"),
        (torch.zeros(1, 2, 10, 32, 32), ValueError, "in_stack_depth=5"),
        (torch.zeros(1, 2, 5, 32, 32, dtype=torch.uint16), TypeError, "uint16"),
    ],
)
def test_wrong_patches_are_named(patches, error, named):
    with pytest.raises(error, match=named):
        small()(patches)
