"""Encoders as plain modules: patches in, features and projections out.

Every encoder takes ``(B, C, Z, Y, X)`` and returns ``(features, projections)``: the loss is
computed on projections, everything after training uses features. Their widths are the attributes
``feature_dim`` and ``projection_dim``. Autoencoders and U-Nets return stacks and have a method
``embed``; `FeatureEncoder` makes encoders of them. Read `contrastive` first.
"""

from dynaclr.models.contrastive import ContrastiveEncoder, StemDepthToChannels
from dynaclr.models.fcmae import FullyConvolutionalMAE, MaskedReconstruction
from dynaclr.models.features import FeatureEncoder
from dynaclr.models.intensity import IntensityFeatures
from dynaclr.models.per_channel import PerChannel
from dynaclr.models.pixels import PixelComponents
from dynaclr.models.resnet3d import ResNet3dEncoder
from dynaclr.models.small import SmallEncoder
from dynaclr.models.texture import TextureFeatures
from dynaclr.models.unets import Unet2d, Unet25d
from dynaclr.models.unext2 import UNeXt2
from dynaclr.models.vae import BetaVae25D, BetaVaeMonai, Variation

__all__ = [
    "BetaVae25D",
    "BetaVaeMonai",
    "ContrastiveEncoder",
    "FeatureEncoder",
    "FullyConvolutionalMAE",
    "IntensityFeatures",
    "MaskedReconstruction",
    "PerChannel",
    "PixelComponents",
    "ResNet3dEncoder",
    "SmallEncoder",
    "StemDepthToChannels",
    "TextureFeatures",
    "UNeXt2",
    "Unet2d",
    "Unet25d",
    "Variation",
]
