"""Encoders as plain modules: patches in, features and projections out.

Every encoder takes ``(B, C, Z, Y, X)`` and returns ``(features, projections)``: the loss is
computed on projections, everything after training uses features. Their widths are the attributes
``feature_dim`` and ``projection_dim``. Read `contrastive` first.
"""

from dynaclr.models.contrastive import ContrastiveEncoder, StemDepthToChannels
from dynaclr.models.intensity import IntensityFeatures
from dynaclr.models.per_channel import PerChannel
from dynaclr.models.pixels import PixelComponents
from dynaclr.models.resnet3d import ResNet3dEncoder
from dynaclr.models.small import SmallEncoder

__all__ = [
    "ContrastiveEncoder",
    "IntensityFeatures",
    "PerChannel",
    "PixelComponents",
    "ResNet3dEncoder",
    "SmallEncoder",
    "StemDepthToChannels",
]
