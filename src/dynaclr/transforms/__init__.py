"""Batched transforms on ``(B, C, Z, Y, X)`` tensors, on the device where these are.

Random transforms are modules with ``forward(x_BCZYX, generator=None)``: every sample of a batch
gets parameters of its own, all randomness comes from the generator, and in evaluation mode they do
nothing, except that those that crop keep the centre. Read `base` first.
"""

from dynaclr.transforms.affine import RandomAffine
from dynaclr.transforms.base import Compose, RandomTransform
from dynaclr.transforms.crop import CentreCrop, RandomCrop, RandomFlip, RandomZShift
from dynaclr.transforms.dropout import ChannelDropout, RandomMask
from dynaclr.transforms.intensity import (
    IntensityTransform,
    RandomGamma,
    RandomGaussianNoise,
    RandomGaussianSmooth,
    RandomIntensityScale,
    RandomIntensityShift,
)
from dynaclr.transforms.normalize import Normalize

__all__ = [
    "CentreCrop",
    "ChannelDropout",
    "Compose",
    "IntensityTransform",
    "Normalize",
    "RandomAffine",
    "RandomCrop",
    "RandomFlip",
    "RandomGamma",
    "RandomGaussianNoise",
    "RandomGaussianSmooth",
    "RandomIntensityScale",
    "RandomIntensityShift",
    "RandomMask",
    "RandomTransform",
    "RandomZShift",
]
