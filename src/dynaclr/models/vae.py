"""Variational autoencoders of stacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from dynaclr.models.checks import check_patches
from dynaclr.models.decoders import PixelToVoxelHead
from dynaclr.models.vae_stages import UpsampleMode, VaeDecoder, VaeEncoder, monai_blocks


class Variation(NamedTuple):
    """What a variational autoencoder makes of patches.

    Attributes
    ----------
    reconstruction : Tensor
        Shape (B, C, Z, Y, X).
    mean, log_variance : Tensor
        Of the latent's normal distribution, shape (B, D).
    latent : Tensor
        Drawn from it, shape (B, D).
    """

    reconstruction: Tensor
    mean: Tensor
    log_variance: Tensor
    latent: Tensor


class BetaVae25D(nn.Module):
    """A variational autoencoder on a backbone of timm behind a 2.5-D stem.

    Kingma and Welling 2014 (*Auto-encoding variational Bayes*), to be trained with the weighted
    divergence of Higgins et al. 2017 (*beta-VAE*). Parameter names are those of ``BetaVae25D`` in
    the VisCy project (``encoder.stem``, ``encoder.encoder``, ``encoder.fc_mu``, ``decoder.*``), so
    that weights trained there load with ``load_state_dict`` given the same arguments. It needs
    MONAI.

    Parameters
    ----------
    backbone : str
        Name of a ConvNeXt or ResNet of timm.
    in_channels : int
        Channels of the patches.
    in_stack_depth, out_stack_depth : int
        Planes of the patches, and of the reconstruction.
    latent_dim : int
        Width of the latent, at least the number of pixels of the smallest feature map.
    input_spatial_size : tuple of int
        Height and width of the patches in pixels, equal.
    stem_kernel_size, stem_stride : tuple of int
        Of the stem, in voxels along (Z, Y, X).
    drop_path_rate : float
        Probability with which a residual branch of the backbone is left out in training.
    decoder_stages : int
        Stages of the decoder, which each double the size. 4 belong to a ResNet, 3 to a ConvNeXt,
        with a stem of stride 4.
    head_expansion_ratio, head_pool
        As in `PixelToVoxelHead`.
    upsample_mode : {"pixelshuffle", "deconv"}
        How a stage upsamples.
    conv_blocks : int
        Convolutions of each stage, of ``pixelshuffle`` alone.
    norm_name : {"batch", "instance"}
        Normalization in the decoder.

    Attributes
    ----------
    in_channels, in_stack_depth : int
        C and Z of the patches.
    feature_dim : int
        Width of the latent, and of what `embed` returns.

    Raises
    ------
    ValueError
        If the backbone is of another family, or if the reconstruction would have another size than
        the patches.
    """

    decoding: ClassVar = ("decoder.", "encoder.fc_logvar.")

    def __init__(
        self,
        backbone: str = "resnet50",
        in_channels: int = 2,
        in_stack_depth: int = 16,
        out_stack_depth: int = 16,
        latent_dim: int = 1024,
        input_spatial_size: tuple[int, int] = (256, 256),
        stem_kernel_size: tuple[int, int, int] = (2, 4, 4),
        stem_stride: tuple[int, int, int] = (2, 4, 4),
        drop_path_rate: float = 0.0,
        decoder_stages: int = 4,
        head_expansion_ratio: int = 2,
        head_pool: bool = False,
        upsample_mode: UpsampleMode = "pixelshuffle",
        conv_blocks: int = 2,
        norm_name: Literal["batch", "instance"] = "batch",
    ) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.in_stack_depth = in_stack_depth
        self.feature_dim = latent_dim
        self.input_spatial_size = (input_spatial_size[0], input_spatial_size[1])
        self.encoder = VaeEncoder(
            backbone,
            in_channels,
            in_stack_depth,
            latent_dim,
            self.input_spatial_size,
            stem_kernel_size,
            stem_stride,
            drop_path_rate,
        )
        side = self.encoder.side
        made = side * 2 ** (decoder_stages + 2)
        if self.input_spatial_size != (made, made):
            raise ValueError(
                f"patches of {' x '.join(map(str, self.input_spatial_size))} pixels would be "
                f"reconstructed as {made} x {made}; change input_spatial_size, which must be "
                "square, decoder_stages or stem_stride"
            )
        widths = [self.encoder.width // 2**i for i in range(decoder_stages)]
        widths.append((out_stack_depth + 2) * in_channels * 4 * head_expansion_ratio)
        self.decoder = VaeDecoder(widths, latent_dim, side, upsample_mode, conv_blocks, norm_name)
        self.decoder.head = PixelToVoxelHead(
            widths[-1], in_channels, out_stack_depth, head_expansion_ratio, head_pool
        )

    def forward(self, x_BCZYX: Tensor) -> Variation:
        """Reconstruct patches from a latent that is drawn anew each time.

        Parameters
        ----------
        x_BCZYX : Tensor
            Normalized patches, floating point, shape (B, C, Z, Y, X).

        Returns
        -------
        Variation

        Raises
        ------
        TypeError, ValueError
            If the patches are not what the network was built for.
        """
        mean, log_variance = self._encode(x_BCZYX)
        latent = _draw(mean, log_variance)
        return Variation(self.decoder(latent), mean, log_variance, latent)

    def embed(self, x_BCZYX: Tensor) -> Tensor:
        """Features (B, feature_dim) of patches: the mean of the latent."""
        return self._encode(x_BCZYX)[0]

    def _encode(self, x_BCZYX: Tensor) -> tuple[Tensor, Tensor]:
        check_patches(x_BCZYX, self.in_channels, self.in_stack_depth)
        _check_size(x_BCZYX, self.input_spatial_size)
        encoded: tuple[Tensor, Tensor] = self.encoder(x_BCZYX)
        return encoded


class BetaVaeMonai(nn.Module):
    """The variational autoencoder of MONAI, in 2-D or in 3-D.

    Parameter names are those of ``BetaVaeMonai`` in the VisCy project (``model.*``), so that
    weights trained there load with ``load_state_dict`` given the same arguments. It needs MONAI.

    Parameters
    ----------
    spatial_dims : {2, 3}
        2 for patches of a single plane.
    in_shape : sequence of int
        Shape of a patch, (C, Z, Y, X), or (C, Y, X) in 2-D.
    out_channels : int
        Channels of the reconstruction.
    latent_size : int
        Width of the latent.
    channels, strides : sequence of int
        Of the convolutions, one after the other.
    kernel_size, up_kernel_size : int or sequence of int
        Of the convolutions down, and up.
    num_res_units : int
        Convolutions of a residual unit; 0 for plain convolutions.
    use_sigmoid : bool
        Bound the reconstruction to 0 to 1, which normalized patches are not.
    norm : {"batch", "instance"}
        Normalization.

    Attributes
    ----------
    in_channels, in_stack_depth : int
        C and Z of the patches.
    feature_dim : int
        Width of the latent, and of what `embed` returns.

    Raises
    ------
    ValueError
        If ``in_shape`` has another number of axes than ``spatial_dims`` says.
    """

    decoding: ClassVar = ("model.decode", "model.logvar.")

    def __init__(
        self,
        spatial_dims: int,
        in_shape: Sequence[int],
        out_channels: int,
        latent_size: int,
        channels: Sequence[int],
        strides: Sequence[int],
        kernel_size: Sequence[int] | int = 3,
        up_kernel_size: Sequence[int] | int = 3,
        num_res_units: int = 0,
        use_sigmoid: bool = False,
        norm: Literal["batch", "instance"] = "instance",
    ) -> None:
        super().__init__()
        if spatial_dims not in (2, 3) or len(in_shape) != spatial_dims + 1:
            raise ValueError(
                f"in_shape {list(in_shape)} with spatial_dims={spatial_dims}: give (C, Z, Y, X) "
                "with 3, or (C, Y, X) with 2"
            )
        monai_blocks()
        from monai.networks.nets import VarAutoEncoder

        self.spatial_dims = spatial_dims
        self.in_channels = in_shape[0]
        self.in_stack_depth = in_shape[1] if spatial_dims == 3 else 1
        self.size = (in_shape[-2], in_shape[-1])
        self.feature_dim = latent_size
        self.model: Any = VarAutoEncoder(
            spatial_dims=spatial_dims,
            in_shape=in_shape,
            out_channels=out_channels,
            latent_size=latent_size,
            channels=channels,
            strides=strides,
            kernel_size=kernel_size,
            up_kernel_size=up_kernel_size,
            num_res_units=num_res_units,
            use_sigmoid=use_sigmoid,
            norm=norm,
        )

    def forward(self, x_BCZYX: Tensor) -> Variation:
        """Reconstruct patches (B, C, Z, Y, X) from a latent that is drawn anew each time.

        Raises
        ------
        TypeError, ValueError
            If the patches are not what the network was built for.
        """
        reconstruction, *latent = self.model(self._checked(x_BCZYX))
        if self.spatial_dims == 2:
            reconstruction = reconstruction.unsqueeze(2)
        return Variation(reconstruction, *latent)

    def embed(self, x_BCZYX: Tensor) -> Tensor:
        """Features (B, feature_dim) of patches: the mean of the latent."""
        mean: Tensor = self.model.encode_forward(self._checked(x_BCZYX))[0]
        return mean

    def _checked(self, x_BCZYX: Tensor) -> Tensor:
        check_patches(x_BCZYX, self.in_channels, self.in_stack_depth)
        _check_size(x_BCZYX, self.size)
        return x_BCZYX.squeeze(2) if self.spatial_dims == 2 else x_BCZYX


def _check_size(x_BCZYX: Tensor, size: tuple[int, int]) -> None:
    height, width = x_BCZYX.shape[-2:]
    if (height, width) != size:
        raise ValueError(
            f"patches are {height} x {width} pixels, but the network was built for {size[0]} x "
            f"{size[1]}; make them equal"
        )


def _draw(mean: Tensor, log_variance: Tensor) -> Tensor:
    return mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
