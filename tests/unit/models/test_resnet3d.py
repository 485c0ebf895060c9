"""ResNet3dEncoder: shapes, equality with 2-D networks on single planes, gradients, errors."""

import pytest
import timm
import torch
from torch import nn

import dynaclr
from dynaclr.models import ResNet3dEncoder


def small(**options):
    return ResNet3dEncoder(**({"backbone": "resnet10", "in_stack_depth": 5} | options))


@pytest.mark.parametrize(("channels", "depth", "size"), [(1, 1, (32, 32)), (3, 15, (33, 50))])
@pytest.mark.parametrize(
    ("backbone", "feature_dim"), [("resnet10", 512), ("resnet18", 512), ("resnet50", 2048)]
)
def test_shapes(backbone, feature_dim, channels, depth, size):
    encoder = ResNet3dEncoder(backbone, channels, depth, embedding_dim=24, projection_dim=12)
    features, projections = encoder.eval()(torch.randn(2, channels, depth, *size))
    assert features.shape == (2, encoder.feature_dim) == (2, feature_dim)
    assert projections.shape == (2, encoder.projection_dim) == (2, 12)
    assert (encoder.in_channels, encoder.in_stack_depth) == (channels, depth)


def test_is_public():
    assert dynaclr.ResNet3dEncoder is ResNet3dEncoder


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_one_plane_gives_what_the_2d_network_gives(backbone):
    torch.manual_seed(0)
    flat = timm.create_model(backbone, num_classes=0, in_chans=2).double().eval()
    randomize_norms(flat)
    if backbone == "resnet18":
        let_shortcuts_copy(flat)
    deep = ResNet3dEncoder(backbone, 2, 1).double().eval()
    deep.encoder.load_state_dict(
        {
            name: at_centre(value)
            for name, value in flat.state_dict().items()
            if backbone == "resnet50" or "downsample" not in name
        }
    )
    patches = torch.randn(2, 2, 1, 70, 64, dtype=torch.float64)
    with torch.no_grad():
        expected, (features, _) = flat(patches[:, :, 0]), deep(patches)
    assert expected.std(0).mean() > 1e-3 * expected.mean()
    torch.testing.assert_close(features, expected)


def randomize_norms(network):
    """Give normalizations something to do; timm starts the last of each block with zeros."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)


def let_shortcuts_copy(network):
    """Make learned shortcuts of a 2-D network pass every second pixel on, and add no channels."""
    for name, module in network.named_modules():
        if name.endswith("downsample"):
            convolution, norm = module
            nn.init.dirac_(convolution.weight)
            norm.reset_parameters()
            norm.running_var.fill_(1 - norm.eps)


def at_centre(weight):
    """A 2-D kernel as the middle plane of a 3-D kernel of zeros; other weights unchanged."""
    if weight.ndim != 4:
        return weight
    side = weight.shape[-1]
    cube = weight.new_zeros(*weight.shape[:2], side, side, side)
    cube[:, :, side // 2] = weight
    return cube


def test_parameter_names_are_the_published_ones():
    shapes = {name: tuple(value.shape) for name, value in small().state_dict().items()}
    expected = {
        "encoder.conv1.weight": (64, 2, 7, 7, 7),
        "encoder.bn1.running_var": (64,),
        "encoder.layer1.0.conv1.weight": (64, 64, 3, 3, 3),
        "encoder.layer4.0.bn2.bias": (512,),
        "encoder.layer4.0.downsample.0.weight": (512, 256, 1, 1, 1),
        "encoder.layer4.0.downsample.1.weight": (512,),
        "projection.0.weight": (512, 512),
        "projection.1.running_mean": (512,),
        "projection.3.weight": (128, 512),
        "projection.4.num_batches_tracked": (),
    }
    assert {name: shapes.get(name) for name in expected} == expected
    assert not any(name.startswith("encoder.layer1.0.downsample") for name in shapes)


def test_weights_serve_any_depth():
    assert [*small(in_stack_depth=1).state_dict()] == [*small(in_stack_depth=15).state_dict()]


@pytest.mark.parametrize("backbone", ["resnet10", "resnet18"])
def test_all_weights_take_part(backbone):
    torch.manual_seed(0)
    encoder = small(backbone=backbone)
    patches = torch.randn(3, 2, 5, 32, 32, requires_grad=True)
    features, projections = encoder(patches)
    # Normalized projections have the same sum of squares whatever the weights.
    (features.square().sum() + (projections * torch.randn(3, 128)).sum()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in encoder.parameters())
    idle = [name for name, p in encoder.named_parameters() if not p.grad.abs().sum() > 0]
    # A shift before batch normalization is taken off by it.
    assert set(idle) <= {"projection.0.bias", "projection.3.bias"}
    assert patches.grad.abs().sum() > 0


def test_gradient_flows_through_shortcuts_without_weights():
    encoder = small(backbone="resnet18")
    for name, module in encoder.named_modules():
        if name.endswith("bn2"):
            nn.init.zeros_(module.weight)
    features, _ = encoder(torch.randn(2, 2, 5, 32, 32))
    features.square().sum().backward()
    assert encoder.encoder.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("depth", [1, 5, 6, 7, 15])
def test_gradient_of_the_first_convolution_is_that_in_double_precision(depth):
    torch.manual_seed(0)
    network = small(in_stack_depth=depth).encoder
    start = network[: [*network._modules].index("bn1")]
    patches = torch.randn(3, 2, depth, 32, 32)
    gradients = []
    for dtype in (torch.float64, torch.float32):
        start.to(dtype).zero_grad()
        maps = start(patches.to(dtype))
        maps.backward(torch.arange(maps.numel(), dtype=torch.float64).sin().to(dtype).view_as(maps))
        gradients.append(network.conv1.weight.grad.float())
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-3)


def test_embedding_in_eval_mode_does_not_depend_on_batch_mates():
    encoder = small().eval()
    patches = torch.randn(3, 2, 5, 32, 32)
    with torch.no_grad():
        together = encoder(patches)
        alone = encoder(patches[1:2])
    for whole, single in zip(together, alone, strict=True):
        torch.testing.assert_close(whole[1:2], single)


def test_half_precision_under_autocast():
    torch.manual_seed(0)
    encoder = small().eval()
    patches = torch.randn(4, 2, 5, 32, 32)
    with torch.no_grad():
        features, _ = encoder(patches)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half, _ = encoder(patches)
    torch.testing.assert_close(half.float(), features, rtol=0.1, atol=0.05)


def test_unknown_backbone_is_named():
    with pytest.raises(ValueError, match=r"'resnet20'.*resnet10, resnet18"):
        small(backbone="resnet20")


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
