"""Contrastive encoder on a 2-D backbone of timm with a 2.5-D stem."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from dynaclr.models.checks import check_patches


class StemDepthToChannels(nn.Module):
    """A 3-D convolution whose output planes become channels of a 2-D image.

    The output has ``out_channels`` channels whatever the depth of the stack, so that it can stand
    in for the first convolution of a 2-D network.

    Parameters
    ----------
    in_channels : int
        Channels of the stack.
    in_stack_depth : int
        Planes of the stack.
    out_channels : int
        Channels of the image.
    kernel_size, stride : tuple of int
        Of the convolution, in voxels along (Z, Y, X).

    Raises
    ------
    ValueError
        If the kernel is deeper than the stack, or if its output planes do not divide
        ``out_channels``.
    """

    def __init__(
        self,
        in_channels: int,
        in_stack_depth: int,
        out_channels: int,
        kernel_size: tuple[int, int, int],
        stride: tuple[int, int, int],
    ) -> None:
        super().__init__()
        if kernel_size[0] > in_stack_depth:
            raise ValueError(
                f"stem_kernel_size {tuple(kernel_size)} is deeper than in_stack_depth="
                f"{in_stack_depth}; its first number must be at most {in_stack_depth}"
            )
        planes = (in_stack_depth - kernel_size[0]) // stride[0] + 1
        if out_channels % planes:
            raise ValueError(
                f"in_stack_depth={in_stack_depth} with a stem kernel of depth {kernel_size[0]} "
                f"and stride {stride[0]} leaves {planes} planes, which do not divide the "
                f"{out_channels} channels that the backbone expects; change one of the three"
            )
        self.conv = nn.Conv3d(
            in_channels, out_channels // planes, _as_triple(kernel_size), _as_triple(stride)
        )

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        """Turn stacks (B, C, Z, Y, X) into images (B, out_channels, Y', X')."""
        images_BCYX: Tensor = self.conv(x_BCZYX).flatten(1, 2)
        return images_BCYX


class ContrastiveEncoder(nn.Module):
    """A timm backbone behind a 2.5-D stem, with a projection MLP.

    The stem replaces the backbone's first convolution, and the classifier is left out.
    Parameter names are those of ``ContrastiveEncoder`` in the VisCy project (``stem.conv``,
    ``encoder.*``, ``projection.0/1/3/4``), so that published DynaCLR weights load with
    ``load_state_dict`` given the same arguments.

    Features come from the backbone alone. The projection MLP uses batch normalization, so that in
    training mode, and only there, projections depend on the other rows of the batch.

    Parameters
    ----------
    backbone : str
        Name of a timm model that begins with a 2-D convolution over pixels: ConvNeXt, ResNet,
        RegNet, EfficientNet and others, but no plain vision transformer.
    in_channels : int
        Channels of the patches.
    in_stack_depth : int
        Planes of the patches.
    stem_kernel_size, stem_stride : tuple of int
        Of the stem, in voxels along (Z, Y, X). For 2-D data use a kernel of depth 1.
    embedding_dim : int
        Width of the hidden layer of the projection MLP. The width of the features is the
        backbone's own: see ``feature_dim``.
    projection_dim : int
        Width of the projections.
    drop_path_rate : float
        Probability with which a residual branch is left out in training.
    pretrained : bool
        Start the backbone, all but its first convolution, from timm's published weights.

    Attributes
    ----------
    feature_dim, projection_dim : int
        Widths of the two outputs.
    in_channels, in_stack_depth : int
        C and Z of the patches.

    Raises
    ------
    ValueError
        If the backbone does not begin with a 2-D convolution, or if stem and depth do not fit.
    """

    def __init__(
        self,
        backbone: str = "convnext_tiny",
        in_channels: int = 2,
        in_stack_depth: int = 15,
        stem_kernel_size: tuple[int, int, int] = (5, 4, 4),
        stem_stride: tuple[int, int, int] = (5, 4, 4),
        embedding_dim: int = 768,
        projection_dim: int = 128,
        drop_path_rate: float = 0.0,
        pretrained: bool = False,
    ) -> None:
        import timm  # slow to import, and not needed by the other encoders

        super().__init__()
        # Not all families know the option, so it is passed only when it says something.
        options: dict[str, Any] = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
        encoder: Any = timm.create_model(backbone, pretrained=pretrained, num_classes=0, **options)
        stem_channels = _remove_first_convolution(encoder, backbone)
        self.backbone = backbone
        self.in_channels = in_channels
        self.in_stack_depth = in_stack_depth
        self.feature_dim = int(getattr(encoder, "head_hidden_size", encoder.num_features))
        self.projection_dim = projection_dim
        self.stem = StemDepthToChannels(
            in_channels, in_stack_depth, stem_channels, stem_kernel_size, stem_stride
        )
        self.encoder = encoder
        self.projection = nn.Sequential(
            nn.Linear(self.feature_dim, embedding_dim),
            nn.BatchNorm1d(embedding_dim),
            nn.ReLU(inplace=True),
            nn.Linear(embedding_dim, projection_dim),
            nn.BatchNorm1d(projection_dim),
        )

    def forward(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        """Embed patches.

        Parameters
        ----------
        x_BCZYX : Tensor
            Normalized patches, floating point, shape (B, C, Z, Y, X).

        Returns
        -------
        features : Tensor
            Shape (B, feature_dim).
        projections : Tensor
            Shape (B, projection_dim), of any length.

        Raises
        ------
        TypeError, ValueError
            If the patches are not what the encoder was built for.
        """
        check_patches(x_BCZYX, self.in_channels, self.in_stack_depth)
        features = self.encoder(self.stem(x_BCZYX))
        return features, self.projection(features)


def _as_triple(numbers: Sequence[int]) -> tuple[int, int, int]:
    """Numbers along (Z, Y, X); a configuration gives them as a list."""
    z, y, x = numbers
    return z, y, x


def _remove_first_convolution(encoder: Any, backbone: str) -> int:
    """Replace the convolution over pixels by an identity; return its output channels."""
    name = encoder.pretrained_cfg.get("first_conv")
    convolution = encoder.get_submodule(name) if isinstance(name, str) else None
    # A transformer too makes its patches by a convolution, but relies on their number.
    if not isinstance(convolution, nn.Conv2d) or name.startswith("patch_embed"):
        raise ValueError(
            f"backbone {backbone!r} does not begin with a 2-D convolution that the 2.5-D stem "
            "could replace; choose for example a ConvNeXt, ResNet, RegNet or EfficientNet"
        )
    encoder.set_submodule(name, nn.Identity())
    return convolution.out_channels
