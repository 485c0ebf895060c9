"""Contrastive encoder on a 2-D backbone of timm, with or without a 2.5-D stem."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from dynaclr.models.backbones import create_backbone
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
    """A timm model, behind a 2.5-D stem or as it is, with a projection MLP.

    Convolutional networks (ConvNeXt, ResNet, RegNet, EfficientNet and others) have their first
    convolution replaced by the stem. Transformers, other models that are made for one size of
    image, and all with ``stem_kernel_size`` None stay whole: planes become channels of their first
    layer. Of published weights that layer then takes as many copies of
    its three channels as needed, scaled to the same sum; of a single channel the sum of all three.

    Parameter names are those of ``ContrastiveEncoder`` in the VisCy project (``stem.conv``,
    ``encoder.*``, ``projection.0/1/3/4``), so that published DynaCLR weights load with
    ``load_state_dict`` given the same arguments.

    Features come from the backbone alone: its pooled output before the classifier. The projection
    MLP uses batch normalization, so that in training mode, and only there, projections depend on
    the other rows of the batch.

    Parameters
    ----------
    backbone : str
        Name of a timm model.
    in_channels : int
        Channels of the patches.
    in_stack_depth : int
        Planes of the patches.
    stem_kernel_size : tuple of int or None
        Of the stem, in voxels along (Z, Y, X). For 2-D data use a kernel of depth 1. None keeps
        the backbone's own first layer.
    stem_stride : tuple of int
        Of the stem, in voxels along (Z, Y, X).
    embedding_dim : int
        Width of the hidden layer of the projection MLP. The width of the features is the
        backbone's own: see ``feature_dim``.
    projection_dim : int
        Width of the projections.
    drop_path_rate : float
        Probability with which a residual branch is left out in training.
    pretrained : bool or Path
        Start the backbone, all but a convolution that the stem replaces, from timm's published
        weights, or from a file of weights of the backbone alone (see `create_backbone`).
    image_size : tuple of int or None
        Height and width in pixels that a whole backbone is built for; patches are scaled to it.
        By default a plain vision transformer adapts to any size, with its position embeddings
        resampled; the others that are made for one size (Swin, for example) need the number.

    Attributes
    ----------
    feature_dim, projection_dim : int
        Widths of the two outputs.
    in_channels, in_stack_depth : int
        C and Z of the patches.

    Raises
    ------
    ValueError
        If timm has no such model or weights, if the backbone needs ``image_size`` or has no use
        for it, or if stem and depth do not fit.
    """

    def __init__(
        self,
        backbone: str = "convnext_tiny",
        in_channels: int = 2,
        in_stack_depth: int = 15,
        stem_kernel_size: tuple[int, int, int] | None = (5, 4, 4),
        stem_stride: tuple[int, int, int] = (5, 4, 4),
        embedding_dim: int = 768,
        projection_dim: int = 128,
        drop_path_rate: float = 0.0,
        pretrained: bool | Path = False,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        # Not all families know the option, so it is passed only when it says something.
        options: dict[str, Any] = {"drop_path_rate": drop_path_rate} if drop_path_rate else {}
        self.backbone = backbone
        self.in_channels = in_channels
        self.in_stack_depth = in_stack_depth
        self.image_size = image_size and (image_size[0], image_size[1])
        self.stem: nn.Module
        whole = _takes_one_size(backbone) or _makes_patches(backbone)
        if whole or stem_kernel_size is None:
            options["in_chans"] = in_channels * in_stack_depth
            self.encoder = _create_whole(backbone, pretrained, self.image_size, options)
            self.stem = nn.Flatten(1, 2)
        else:
            if image_size is not None:
                raise ValueError(f"{backbone!r} takes images of any size; leave out image_size")
            self.encoder = create_backbone(backbone, pretrained, **options)
            stem_channels = _remove_first_convolution(self.encoder, backbone)
            self.stem = StemDepthToChannels(
                in_channels, in_stack_depth, stem_channels, stem_kernel_size, stem_stride
            )
        self.feature_dim = int(getattr(self.encoder, "head_hidden_size", self.encoder.num_features))
        self.projection_dim = projection_dim
        self.projection = projection_mlp(self.feature_dim, embedding_dim, projection_dim)

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
        x_BCYX = self.stem(x_BCZYX)
        if self.image_size is not None and x_BCYX.shape[-2:] != self.image_size:
            x_BCYX = F.interpolate(x_BCYX, self.image_size, mode="bilinear", antialias=True)
        features = self.encoder(x_BCYX)
        return features, self.projection(features)


def projection_mlp(in_features: int, hidden: int, out_features: int) -> nn.Sequential:
    """Two linear layers with batch normalization: from features to projections for the loss."""
    return nn.Sequential(
        nn.Linear(in_features, hidden),
        nn.BatchNorm1d(hidden),
        nn.ReLU(inplace=True),
        nn.Linear(hidden, out_features),
        nn.BatchNorm1d(out_features),
    )


def _as_triple(numbers: Sequence[int]) -> tuple[int, int, int]:
    """Numbers along (Z, Y, X); a configuration gives them as a list."""
    z, y, x = numbers
    return z, y, x


def _takes_one_size(backbone: str) -> bool:
    """Whether a timm model is made for one size of image, as vision transformers are."""
    import timm

    config = timm.get_pretrained_cfg(backbone)
    return config is not None and config.fixed_input_size


def _makes_patches(backbone: str) -> bool:
    """Whether the convolution that a timm model begins with makes the tokens of a transformer."""
    import timm

    config = timm.get_pretrained_cfg(backbone)
    return config is not None and "patch_embed" in str(config.first_conv)


def _create_whole(
    backbone: str, pretrained: bool | Path, image_size: tuple[int, int] | None, options: Any
) -> Any:
    """A backbone with its own first layer, for images of one size or, without one, of any size."""
    if not _takes_one_size(backbone):
        return create_backbone(backbone, pretrained, **options)
    if image_size is not None:
        return create_backbone(backbone, pretrained, img_size=image_size, **options)
    try:
        any_size = {"dynamic_img_size": True, "dynamic_img_pad": True}
        return create_backbone(backbone, pretrained, **any_size, **options)
    except TypeError:
        raise ValueError(
            f"backbone {backbone!r} is made for images of one size. Give `image_size`: [height, "
            "width] in pixels, to which patches are scaled"
        ) from None


def _remove_first_convolution(encoder: Any, backbone: str) -> int:
    """Replace the convolution over pixels by an identity; return its output channels."""
    name = encoder.pretrained_cfg.get("first_conv")
    convolution = encoder.get_submodule(name) if isinstance(name, str) else None
    if not isinstance(convolution, nn.Conv2d):
        raise ValueError(
            f"backbone {backbone!r} does not begin with a 2-D convolution that the 2.5-D stem "
            "could replace. Set stem_kernel_size to null, so that its own first layer stays"
        )
    encoder.set_submodule(name, nn.Identity())
    return convolution.out_channels
