"""UNeXt2: a U-Net of ConvNeXt blocks from stacks to stacks."""

from __future__ import annotations

from typing import Any, ClassVar

from torch import Tensor, nn

from dynaclr.models.backbones import create_backbone
from dynaclr.models.checks import check_divisible, check_patches
from dynaclr.models.contrastive import StemDepthToChannels
from dynaclr.models.decoders import PixelToVoxelHead, UNeXt2Decoder


class UNeXt2(nn.Module):
    """A ConvNeXt of timm behind a 2.5-D stem, with a decoder: one marker predicted from another.

    The network of Liu, Hirata-Miyasaki et al. 2025 (*Robust virtual staining of landmark organelles
    with Cytoland*). Parameter names are those of ``UNeXt2`` in the VisCy project (``stem.conv``,
    ``encoder_stages.*``, ``decoder.*``, ``head.*``), so that weights trained there load with
    ``load_state_dict`` given the same arguments; the decoder upsamples by pixel shuffle alone.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the patches, and of what is predicted.
    in_stack_depth : int
        Planes of the patches, a multiple of the stem's depth.
    out_stack_depth : int, optional
        Planes of what is predicted; default: as many.
    backbone : str
        Name of a ConvNeXt of timm.
    pretrained : bool
        Start the backbone, all but its first convolution, from timm's published weights.
    stem_kernel_size : tuple of int
        Of the stem, in voxels along (Z, Y, X); also its stride. Y and X must be 4 for what is
        predicted to have the size of the patches.
    decoder_conv_blocks, decoder_upsample_pre_conv
        As ``conv_blocks`` and ``pre_conv`` of `UNeXt2Decoder`.
    head_pool, head_expansion_ratio
        As in `PixelToVoxelHead`.
    drop_path_rate : float
        Probability with which a residual branch of the backbone is left out in training.

    Attributes
    ----------
    in_channels, in_stack_depth : int
        C and Z of the patches.
    feature_dim : int
        Width of what `embed` returns: channels of the smallest feature map.

    Raises
    ------
    ValueError
        If the backbone is no ConvNeXt, or if stem and depth do not fit.
    """

    decoding: ClassVar = ("decoder.", "head.")

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        in_stack_depth: int = 5,
        out_stack_depth: int | None = None,
        backbone: str = "convnextv2_tiny",
        pretrained: bool = False,
        stem_kernel_size: tuple[int, int, int] = (5, 4, 4),
        decoder_conv_blocks: int = 2,
        decoder_upsample_pre_conv: bool = False,
        head_pool: bool = False,
        head_expansion_ratio: int = 4,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        if not backbone.startswith("convnext"):
            raise ValueError(f"backbone {backbone!r} is no ConvNeXt; choose one, convnextv2_tiny")
        if in_stack_depth % stem_kernel_size[0]:
            raise ValueError(
                f"in_stack_depth={in_stack_depth} is no multiple of the stem's depth "
                f"{stem_kernel_size[0]}; change one of them"
            )
        out_stack_depth = out_stack_depth or in_stack_depth
        stages: Any = create_backbone(
            backbone, pretrained, features_only=True, drop_path_rate=drop_path_rate
        )
        widths = stages.feature_info.channels()
        stages.stem_0 = nn.Identity()
        self.in_channels = in_channels
        self.in_stack_depth = in_stack_depth
        self.feature_dim = widths[-1]
        self.stride = stem_kernel_size[-1] * 2 ** (len(widths) - 1)
        self.encoder_stages = stages
        self.stem = StemDepthToChannels(
            in_channels, in_stack_depth, widths[0], stem_kernel_size, stem_kernel_size
        )
        head_channels = (out_stack_depth + 2) * out_channels * 4 * head_expansion_ratio
        self.decoder = UNeXt2Decoder(
            [*widths[:0:-1], head_channels], decoder_conv_blocks, decoder_upsample_pre_conv
        )
        self.head = PixelToVoxelHead(
            head_channels, out_channels, out_stack_depth, head_expansion_ratio, head_pool
        )

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        """Predict stacks (B, out_channels, out_stack_depth, Y, X) from patches (B, C, Z, Y, X).

        Raises
        ------
        TypeError, ValueError
            If the patches are not what the network was built for.
        """
        stacks: Tensor = self.head(self.decoder(self._maps(x_BCZYX)[::-1]))
        return stacks

    def embed(self, x_BCZYX: Tensor) -> Tensor:
        """Features (B, feature_dim) of patches: the mean over the smallest feature map."""
        return self._maps(x_BCZYX)[-1].mean(dim=(2, 3))

    def _maps(self, x_BCZYX: Tensor) -> list[Tensor]:
        """Feature maps, large to small."""
        check_patches(x_BCZYX, self.in_channels, self.in_stack_depth)
        check_divisible(x_BCZYX, self.stride)
        maps: list[Tensor] = self.encoder_stages(self.stem(x_BCZYX))
        return maps
