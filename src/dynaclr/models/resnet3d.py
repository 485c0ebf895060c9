"""Contrastive encoder on a 3-D residual network."""

from __future__ import annotations

from collections import OrderedDict
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from dynaclr.models.checks import check_patches
from dynaclr.models.contrastive import projection_mlp


class ResNet3dEncoder(nn.Module):
    """A 3-D ResNet with a projection MLP: depth is an axis like the others to the end.

    The networks of He et al. 2016 (*Deep residual learning for image recognition*, table 1) with
    all kernels, strides and poolings extended along Z as in Hara et al. 2018 (*Can spatiotemporal
    3D CNNs retrace the history of 2D CNNs and ImageNet?*). The first convolution, the pooling and
    three of the four stages each halve the patch along Z, Y and X; the features are the mean of
    what the last stage leaves.

    Parameter names are those of ``ResNet3dEncoder`` in the VisCy project, whose network is MONAI's
    (``encoder.conv1``, ``encoder.layer1.0.conv1``, ..., ``projection.0/1/3/4``), so that weights
    trained there load with ``load_state_dict`` given the same backbone, ``in_channels`` and
    widths. Outputs are the same; gradients too, but for ``resnet18`` and ``resnet34``, where they
    flow through the shortcuts between stages here and stop there.

    Batch normalization makes features and projections depend on the other rows of the batch in
    training mode, and only there.

    Parameters
    ----------
    backbone : str
        ``resnet10``, ``resnet18``, ``resnet34``, ``resnet50``, ``resnet101``, ``resnet152`` or
        ``resnet200``.
    in_channels : int
        Channels of the patches.
    in_stack_depth : int
        Planes of the patches. The weights do not depend on it.
    embedding_dim : int
        Width of the hidden layer of the projection MLP. The width of the features is the
        backbone's own: see ``feature_dim``. VisCy knows only the two being equal.
    projection_dim : int
        Width of the projections.

    Attributes
    ----------
    feature_dim, projection_dim : int
        Widths of the two outputs; ``feature_dim`` is 512 up to ``resnet34`` and 2048 from
        ``resnet50`` on.
    in_channels, in_stack_depth : int
        C and Z of the patches.

    Raises
    ------
    ValueError
        If the backbone is not one of those above.
    """

    def __init__(
        self,
        backbone: str = "resnet18",
        in_channels: int = 2,
        in_stack_depth: int = 15,
        embedding_dim: int = 512,
        projection_dim: int = 128,
    ) -> None:
        super().__init__()
        if backbone not in _BACKBONES:
            raise ValueError(
                f"unknown backbone {backbone!r}; choose one of {', '.join(_BACKBONES)}"
            )
        self.backbone = backbone
        self.in_channels = in_channels
        self.in_stack_depth = in_stack_depth
        self.encoder, self.feature_dim = _residual_network(in_channels, *_BACKBONES[backbone])
        self.projection_dim = projection_dim
        self.projection = projection_mlp(self.feature_dim, embedding_dim, projection_dim)

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Features and projections of patches, as those of `ContrastiveEncoder.forward`."""
        check_patches(x_BCZYX, self.in_channels, self.in_stack_depth)
        features = self.encoder(x_BCZYX)
        return features, self.projection(features)


def _residual_network(
    in_channels: int, block: type[_Block], depths: tuple[int, ...], learned_shortcut: bool
) -> tuple[nn.Sequential, int]:
    """The network from patches (B, C, Z, Y, X) to features (B, width), and that width."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        # Planes are padded before the convolution: where it pads 5, 6 or 7 planes itself, oneDNN
        # 3.12 (CPUs with AVX-512) returns wrong gradients of its weights or crashes.
        pad=nn.ConstantPad3d((0, 0, 0, 0, 3, 3), 0.0),
        conv1=_convolution(in_channels, 64, 7, stride=2, padding=(0, 3, 3)),
        bn1=nn.BatchNorm3d(64),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool3d(3, stride=2, padding=1),
    )
    channels = 64
    for stage, depth in enumerate(depths):
        width = 64 * 2**stage
        blocks = []
        for i in range(depth):
            # The first stage is already at the resolution of the pooling before it.
            stride = 2 if i == 0 and stage > 0 else 1
            blocks.append(block(channels, width, stride, learned_shortcut))
            channels = width * block.expansion
        layers[f"layer{stage + 1}"] = nn.Sequential(*blocks)
    layers["avgpool"] = nn.AdaptiveAvgPool3d(1)
    layers["flatten"] = nn.Flatten()
    return nn.Sequential(layers), channels


def _convolution(
    in_channels: int,
    out_channels: int,
    size: int,
    stride: int = 1,
    padding: tuple[int, int, int] | None = None,
) -> nn.Conv3d:
    """A convolution before a normalization, with the initial weights of He et al. 2015."""
    if padding is None:
        padding = (size // 2,) * 3
    convolution = nn.Conv3d(in_channels, out_channels, size, stride, padding, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution


def _shortcut(in_channels: int, out_channels: int, stride: int, learned: bool) -> nn.Module:
    """What is added to a block's branch: its input, brought to the shape of the output."""
    if stride == 1 and in_channels == out_channels:
        return nn.Identity()
    if not learned:
        return _SubsampleAndPad(stride, out_channels - in_channels)
    return nn.Sequential(
        _convolution(in_channels, out_channels, 1, stride), nn.BatchNorm3d(out_channels)
    )


class _SubsampleAndPad(nn.Module):
    """Every n-th voxel, and channels of zeros: option A of He et al. 2016, without weights."""

    def __init__(self, stride: int, extra_channels: int) -> None:
        super().__init__()
        self.stride = stride
        self.extra_channels = extra_channels

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        n = self.stride
        return F.pad(x_BCZYX[:, :, ::n, ::n, ::n], (0, 0, 0, 0, 0, 0, 0, self.extra_channels))


class _Block(nn.Module):
    """A residual block.

    Attributes
    ----------
    expansion : int
        Output channels for each channel of its width.
    """

    expansion: ClassVar[int]

    def __init__(self, in_channels: int, width: int, stride: int, learned_shortcut: bool) -> None:
        super().__init__()


class _BasicBlock(_Block):
    """Two convolutions of 3 x 3 x 3."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, learned_shortcut: bool) -> None:
        super().__init__(in_channels, width, stride, learned_shortcut)
        self.conv1 = _convolution(in_channels, width, 3, stride)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2 = _convolution(width, width, 3)
        self.bn2 = nn.BatchNorm3d(width)
        self.downsample = _shortcut(in_channels, width, stride, learned_shortcut)

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        branch = F.relu(self.bn1(self.conv1(x_BCZYX)), inplace=True)
        branch = self.bn2(self.conv2(branch))
        return F.relu(branch + self.downsample(x_BCZYX), inplace=True)


class _Bottleneck(_Block):
    """Convolutions of 1, 3 and 1 voxels a side, the last with four times the channels."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, learned_shortcut: bool) -> None:
        super().__init__(in_channels, width, stride, learned_shortcut)
        out_channels = width * self.expansion
        self.conv1 = _convolution(in_channels, width, 1)
        self.bn1 = nn.BatchNorm3d(width)
        # The middle convolution strides: at the first, seven of eight voxels would go unseen.
        self.conv2 = _convolution(width, width, 3, stride)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3 = _convolution(width, out_channels, 1)
        self.bn3 = nn.BatchNorm3d(out_channels)
        self.downsample = _shortcut(in_channels, out_channels, stride, learned_shortcut)

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        branch = F.relu(self.bn1(self.conv1(x_BCZYX)), inplace=True)
        branch = F.relu(self.bn2(self.conv2(branch)), inplace=True)
        branch = self.bn3(self.conv3(branch))
        return F.relu(branch + self.downsample(x_BCZYX), inplace=True)


# Block, blocks in each stage, and whether shortcuts between stages have weights.
_BACKBONES: dict[str, tuple[type[_Block], tuple[int, ...], bool]] = {
    "resnet10": (_BasicBlock, (1, 1, 1, 1), True),
    "resnet18": (_BasicBlock, (2, 2, 2, 2), False),
    "resnet34": (_BasicBlock, (3, 4, 6, 3), False),
    "resnet50": (_Bottleneck, (3, 4, 6, 3), True),
    "resnet101": (_Bottleneck, (3, 4, 23, 3), True),
    "resnet152": (_Bottleneck, (3, 8, 36, 3), True),
    "resnet200": (_Bottleneck, (3, 24, 36, 3), True),
}
