"""U-Nets in 2-D and 2.5-D, from stacks to planes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dynaclr.models.checks import check_divisible, check_patches

Task = Literal["seg", "reg"]


class _Unet(nn.Module):
    """What both U-Nets have in common: ways down and up, joined at each size.

    Attributes
    ----------
    in_channels, in_stack_depth : int
        C and Z of the patches.
    feature_dim : int
        Width of what `embed` returns: channels of the smallest feature map.
    """

    decoding: ClassVar = ("up_conv_block_", "skip_conv_layer_", "terminal_block.")

    def __init__(
        self, in_channels: int, in_stack_depth: int, num_blocks: int, num_filters: Sequence[int]
    ) -> None:
        super().__init__()
        self.filters = list(num_filters) or [16 * 2**i for i in range(num_blocks + 1)]
        if len(self.filters) != num_blocks + 1:
            raise ValueError(
                f"num_filters has {len(self.filters)} numbers; num_blocks={num_blocks} needs "
                f"{num_blocks + 1}"
            )
        self.in_channels = in_channels
        self.in_stack_depth = in_stack_depth
        self.num_blocks = num_blocks
        self.feature_dim = self.filters[-1]
        self.bottom_transition_block: nn.Module
        self.terminal_block: nn.Module

    def add_blocks(self, down: dict[str, Any], up: dict[str, Any], last: dict[str, Any]) -> None:
        """Add the blocks of both ways and the last one, with options of `_ConvBlock`."""
        widths = [self.in_channels, *self.filters]
        for i in range(self.num_blocks):
            self.add_module(f"down_conv_block_{i}", _ConvBlock(widths[i], widths[i + 1], **down))
            n_in, n_out = widths[-1 - i] + widths[-2 - i], widths[-2 - i]
            self.add_module(f"up_conv_block_{i}", _ConvBlock(n_in, n_out, **up))
        self.terminal_block = _ConvBlock(widths[1], **last)

    def embed(self, x_BCZYX: Tensor) -> Tensor:
        """Features (B, feature_dim) of patches: the mean over the smallest feature map."""
        return self._down(x_BCZYX)[0].flatten(2).mean(2)

    def _down(self, x_BCZYX: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The smallest feature map, and those before it, large to small."""
        check_patches(x_BCZYX, self.in_channels, self.in_stack_depth)
        check_divisible(x_BCZYX, 2**self.num_blocks)
        x, skips = self._as_input(x_BCZYX), []
        for i in range(self.num_blocks):
            x = self.get_submodule(f"down_conv_block_{i}")(x)
            skips.append(x)
            x = F.avg_pool2d(x, 2) if x.ndim == 4 else F.avg_pool3d(x, (1, 2, 2))
        return self.bottom_transition_block(x), skips

    def _up(self, x: Tensor, skips: list[Tensor]) -> Tensor:
        scale, mode = ((2, 2), "bilinear") if x.ndim == 4 else ((1, 2, 2), "trilinear")
        for i, skip in enumerate(reversed(skips)):
            x = F.interpolate(x, scale_factor=scale, mode=mode)
            x = self.get_submodule(f"up_conv_block_{i}")(torch.cat([x, skip], 1))
        made: Tensor = self.terminal_block(x)
        return made

    def _as_input(self, x_BCZYX: Tensor) -> Tensor:
        return x_BCZYX


class Unet2d(_Unet):
    """A U-Net from single planes to single planes.

    Ronneberger et al. 2015 (*U-Net*), with residual blocks after Zhang et al. 2018 (*Road
    extraction by deep residual U-Net*). Parameter names are those of ``Unet2d`` in the VisCy
    project, so that weights trained there load with ``load_state_dict`` given the same arguments.
    There, ``task`` is ``seg`` by default, and ``dropout`` does nothing.

    Parameters
    ----------
    in_channels, out_channels : int
        Channels of the patches, and of what is predicted.
    kernel_size : tuple of int
        Of the convolutions, odd, in pixels along (Y, X).
    residual : bool
        Add its input to the output of a block.
    dropout : float
        Probability with which a channel is left out in training.
    num_blocks : int
        Blocks on each way; patches are multiples of 2^num_blocks pixels.
    num_block_layers : int
        Convolutions of a block.
    num_filters : sequence of int
        Channels at each size, num_blocks + 1 numbers; default: 16, 32, 64, ...
    task : {"reg", "seg"}
        Whether what is predicted may have any sign, or none that is negative.

    Attributes
    ----------
    in_channels, in_stack_depth : int
        C and Z of the patches; Z is 1.
    feature_dim : int
        Width of what `embed` returns: channels of the smallest feature map.

    Raises
    ------
    ValueError
        If ``num_filters`` has another length.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        kernel_size: tuple[int, int] = (3, 3),
        residual: bool = False,
        dropout: float = 0.0,
        num_blocks: int = 4,
        num_block_layers: int = 2,
        num_filters: Sequence[int] = (),
        task: Task = "reg",
    ) -> None:
        super().__init__(in_channels, 1, num_blocks, num_filters)
        common: dict[str, Any] = {"kernel": tuple(kernel_size), "dropout": dropout}
        block = common | {"residual": residual, "repeats": num_block_layers}
        last = common | {"out_channels": out_channels, "norm": False, "activation": task == "seg"}
        self.add_blocks(block, block, last)
        self.bottom_transition_block = _ConvBlock(self.filters[-2], self.filters[-1], **block)

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        """Predict planes (B, out_channels, 1, Y, X) from patches (B, C, 1, Y, X).

        Raises
        ------
        TypeError, ValueError
            If the patches are not what the network was built for.
        """
        return self._up(*self._down(x_BCZYX)).unsqueeze(2)

    def _as_input(self, x_BCZYX: Tensor) -> Tensor:
        return x_BCZYX.squeeze(2)


class Unet25d(_Unet):
    """A U-Net from stacks to fewer planes, compressed before the way up.

    Guo et al. 2020 (*Revealing architectural order with quantitative label-free imaging and deep
    learning*, eLife 9, e55502). Parameter names are those of ``Unet25d`` in the VisCy project, so
    that weights trained there load with ``load_state_dict`` given the same arguments. There,
    ``task`` is ``seg`` and ``dropout`` 0.2 by default.

    Parameters
    ----------
    in_channels, out_channels, residual, dropout, num_blocks, num_block_layers, num_filters, task
        As in `Unet2d`.
    in_stack_depth, out_stack_depth : int
        Planes of the patches, and of what is predicted.
    xy_kernel_size : tuple of int
        Of the convolutions, odd, in pixels along (Y, X).

    Attributes
    ----------
    in_channels, in_stack_depth : int
        C and Z of the patches.
    feature_dim : int
        Width of what `embed` returns: channels of the smallest feature map.

    Raises
    ------
    ValueError
        If ``num_filters`` has another length, or more planes go out than come in.
    """

    def __init__(
        self,
        in_channels: int = 1,
        out_channels: int = 1,
        in_stack_depth: int = 5,
        out_stack_depth: int = 1,
        xy_kernel_size: tuple[int, int] = (3, 3),
        residual: bool = False,
        dropout: float = 0.0,
        num_blocks: int = 4,
        num_block_layers: int = 2,
        num_filters: Sequence[int] = (),
        task: Task = "reg",
    ) -> None:
        super().__init__(in_channels, in_stack_depth, num_blocks, num_filters)
        if not 1 <= out_stack_depth <= in_stack_depth:
            raise ValueError(
                f"out_stack_depth is {out_stack_depth}; it must be from 1 to in_stack_depth="
                f"{in_stack_depth}"
            )
        compress = (1 + in_stack_depth - out_stack_depth, 1, 1)
        block: dict[str, Any] = {
            "dropout": dropout,
            "residual": residual,
            "repeats": num_block_layers,
        }
        last: dict[str, Any] = {"kernel": (1, 3, 3), "out_channels": out_channels}
        if task == "reg":
            last |= {"norm": False, "activation": False}
        else:
            last |= {"dropout": dropout}
        down, up = {"kernel": (3, *xy_kernel_size)}, {"kernel": (1, *xy_kernel_size)}
        self.add_blocks(block | down, block | up, last)
        self.bottom_transition_block = nn.Conv3d(self.filters[-2], self.filters[-1], compress)
        for i, width in enumerate(self.filters[:-1]):
            self.add_module(f"skip_conv_layer_{i}", nn.Conv3d(width, width, compress))

    def forward(self, x_BCZYX: Tensor) -> Tensor:
        """Predict (B, out_channels, out_stack_depth, Y, X) from patches (B, C, Z, Y, X).

        Raises
        ------
        TypeError, ValueError
            If the patches are not what the network was built for.
        """
        bottom, skips = self._down(x_BCZYX)
        compressed = [
            self.get_submodule(f"skip_conv_layer_{i}")(skip) for i, skip in enumerate(skips)
        ]
        return self._up(bottom, compressed)


class _ConvBlock(nn.Module):
    """Convolution, activation and normalization, several times; of planes or of stacks."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: tuple[int, ...],
        repeats: int = 1,
        residual: bool = False,
        dropout: float = 0.0,
        norm: bool = True,
        activation: bool = True,
    ) -> None:
        super().__init__()
        dims = len(kernel)
        convolution: Any = {2: nn.Conv2d, 3: nn.Conv3d}[dims]
        norms: Any = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}[dims]
        drop: Any = {2: nn.Dropout2d, 3: nn.Dropout3d}[dims]
        self.repeats = repeats
        self.residual = residual
        self.activation = nn.ReLU() if activation else nn.Identity()
        self.dropout = drop(dropout) if dropout else nn.Identity()
        padding = [size // 2 for size in kernel]
        for i in range(repeats):
            n_in = in_channels if i == 0 else out_channels
            layer = convolution(n_in, out_channels, kernel, padding=padding)
            self.add_module(f"Conv{dims}d_{i}", layer)
            self.add_module(f"batch_norm_{i}", norms(out_channels) if norm else nn.Identity())
        # Published weights hold it whether it is used or not.
        self.resid_conv = convolution(in_channels, out_channels, 1)
        self.resid_conv.requires_grad_(residual and in_channels > out_channels)

    def forward(self, x: Tensor) -> Tensor:
        shortcut, dims = x, x.ndim - 2
        for i in range(self.repeats):
            x = self.dropout(self.get_submodule(f"Conv{dims}d_{i}")(x))
            x = self.get_submodule(f"batch_norm_{i}")(self.activation(x))
        if not self.residual:
            return x
        wider = x.shape[1] - shortcut.shape[1]
        if wider < 0:
            shortcut = self.resid_conv(shortcut)
        # New channels of zeros come first.
        return x + F.pad(shortcut, (*(0, 0) * dims, max(wider, 0), 0))
