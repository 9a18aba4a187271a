"""The MedNeXt encoder (Roy et al. 2023, arXiv 2303.09975): ConvNeXt blocks for medical volumes.

A block is a depthwise convolution with a norm, a 1 x 1 expansion, GELU, and a 1 x 1 compression.
Global response normalisation is an option (Woo et al. 2023, ConvNeXt V2, arXiv 2301.00808).

Shapes: B batch, C channels, S spatial axes; level l has S / 2**l voxels an axis.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import CONV, ConvNorm
from .unet import UNetConfig


class ResponseNorm(nn.Module):
    """x + gamma * x * N(x) + beta, N the L2 norm of a channel over the mean of all channels'."""

    def __init__(self, spatial_dims: int, channels: int) -> None:
        super().__init__()
        shape = (1, channels, *[1] * spatial_dims)
        self.gamma = nn.Parameter(torch.zeros(shape))
        self.beta = nn.Parameter(torch.zeros(shape))

    def forward(self, x: Tensor) -> Tensor:
        norm = x.float().flatten(2).norm(dim=2).reshape(*x.shape[:2], *[1] * (x.ndim - 2))
        response = (norm / (norm.mean(dim=1, keepdim=True) + 1e-6)).to(x.dtype)
        result: Tensor = x + self.gamma * (x * response) + self.beta
        return result


class MedNeXtBlock(nn.Module):
    """Depthwise k x k (x k), expand, compress; with stride 2 the shortcut is a convolution."""

    def __init__(
        self, config: UNetConfig, in_channels: int, out_channels: int, expansion: int, stride: int
    ) -> None:
        super().__init__()
        dims, inner = config.spatial_dims, in_channels * expansion
        self.depthwise = ConvNorm(
            dims,
            in_channels,
            in_channels,
            kernel=config.kernel,
            stride=stride,
            norm=config.norm,
            groups=in_channels,
        )
        self.expand = CONV[dims](in_channels, inner, 1)
        self.response: nn.Module = nn.Identity()
        if config.response_norm:
            self.response = ResponseNorm(dims, inner)
        self.compress = CONV[dims](inner, out_channels, 1)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1:
            self.shortcut = CONV[dims](in_channels, out_channels, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        y = self.response(F.gelu(self.expand(self.depthwise(x))))
        result: Tensor = self.shortcut(x) + self.compress(y)
        return result


class MedNeXtEncoder(nn.Module):
    """Feature maps of every level, finest first: a list of (B, widths[l], \\*S / 2**l).

    ``down[l]`` leads from level l to l + 1 with the expansion of the level it reaches.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths, expansion = config.widths, config.expansion
        self.stem = CONV[config.spatial_dims](config.in_channels, widths[0], 1)
        self.levels = nn.ModuleList()
        for width, factor, count in zip(widths, expansion, config.blocks, strict=True):
            blocks = [MedNeXtBlock(config, width, width, factor, 1) for _ in range(count)]
            self.levels.append(nn.Sequential(*blocks))
        self.down = nn.ModuleList(
            MedNeXtBlock(config, above, below, factor, 2)
            for above, below, factor in zip(widths[:-1], widths[1:], expansion[1:], strict=True)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.levels[0](self.stem(x))]
        for down, level in zip(self.down, self.levels[1:], strict=True):
            features.append(level(down(features[-1])))
        return features
