"""Checks that all encoders share."""

from __future__ import annotations

from torch import Tensor


def check_patches(x_BCZYX: Tensor, in_channels: int, in_stack_depth: int) -> None:
    """Check that patches are what an encoder was built for.

    Parameters
    ----------
    x_BCZYX : Tensor
        Shape (B, C, Z, Y, X).
    in_channels, in_stack_depth : int
        Expected C and Z.

    Raises
    ------
    TypeError
        If the patches are not floating point.
    ValueError
        If the number of axes, channels or planes differs.
    """
    if x_BCZYX.ndim != 5:
        raise ValueError(f"patches must have axes (B, C, Z, Y, X), got {tuple(x_BCZYX.shape)}")
    if not x_BCZYX.is_floating_point():
        raise TypeError(f"patches must be floating point, got {x_BCZYX.dtype}; normalize first")
    for axis, name, expected in (
        (1, "in_channels", in_channels),
        (2, "in_stack_depth", in_stack_depth),
    ):
        if x_BCZYX.shape[axis] != expected:
            raise ValueError(
                f"the encoder was built for {name}={expected}, but patches of shape "
                f"{tuple(x_BCZYX.shape)} have {x_BCZYX.shape[axis]} on axis {axis}"
            )


def check_divisible(x_BCZYX: Tensor, stride: int) -> None:
    """Check that a network can halve and double patches without rest.

    Parameters
    ----------
    x_BCZYX : Tensor
        Shape (B, C, Z, Y, X).
    stride : int
        Of the smallest feature map, in pixels.

    Raises
    ------
    ValueError
        If Y or X is no multiple of it.
    """
    height, width = x_BCZYX.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(
            f"patches are {height} x {width} pixels, but the network needs multiples of {stride}; "
            "change data.patches.size"
        )
