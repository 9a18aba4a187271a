"""The residual encoder, nnU-Net's ResEnc in small (Isensee et al. 2024, arXiv 2404.09556), and the
encoder of a plain U-Net to compare it with.

Shapes: B batch, C channels, S spatial axes; level l has S / 2**l voxels an axis.
"""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import ConvNorm, PlainBlock, ResidualBlock
from .unet import UNetConfig


class ResidualEncoder(nn.Module):
    """Feature maps of every level, finest first: a list of (B, widths[l], \\*S / 2**l).

    Level 0 begins with one plain convolution, each further level with a block of stride 2.
    """

    block: type[PlainBlock] = ResidualBlock

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        dims, norm = config.spatial_dims, config.norm
        self.stem = ConvNorm(dims, config.in_channels, config.widths[0], norm=norm)
        self.levels = nn.ModuleList()
        width_before = config.widths[0]
        for level, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            stages = []
            for block in range(count):
                stride = 2 if level > 0 and block == 0 else 1
                stages.append(self.block(dims, width_before, width, stride=stride, norm=norm))
                width_before = width
            self.levels.append(nn.Sequential(*stages))

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        x = self.stem(x, then="leaky_relu")
        for level in self.levels:
            x = level(x)
            features.append(x)
        return features


class PlainEncoder(ResidualEncoder):
    """The encoder of the U-Net (Ronneberger et al. 2015, arXiv 1505.04597): no shortcuts.

    As in nnU-Net's plain network each level halves by a convolution of stride 2.
    """

    block = PlainBlock
