"""The bottleneck ResNet encoder (He et al. 2016, arXiv 1512.03385, table 1), in 2D or 3D.

With (3, 4, 6, 3) blocks it is ResNet-50; the stride sits on the middle convolution, as in every
pre-trained version since torchvision's. ResNet has no feature map at full resolution, so a light
stem gives level 0; level 1 is the 7 x 7 convolution, levels 2 to 5 are the four stages.

Shapes: B batch, C channels, S spatial axes; level l has S / 2**l voxels an axis.
"""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import MAX_POOL, ConvNorm
from .unet import UNetConfig

EXPANSION = 4


class Bottleneck(nn.Module):
    """1 x 1 down to a quarter of the channels, 3 x 3, 1 x 1 back up, and a shortcut."""

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, *, stride: int, norm: str
    ) -> None:
        super().__init__()
        inner = out_channels // EXPANSION
        self.reduce = ConvNorm(spatial_dims, in_channels, inner, kernel=1, norm=norm)
        self.middle = ConvNorm(spatial_dims, inner, inner, stride=stride, norm=norm)
        self.expand = ConvNorm(spatial_dims, inner, out_channels, kernel=1, norm=norm)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(
                spatial_dims, in_channels, out_channels, kernel=1, stride=stride, norm=norm
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.middle(self.reduce(x, then="relu"), then="relu")
        result: Tensor = self.expand(y, plus=self.shortcut(x), then="relu")
        return result


class BottleneckEncoder(nn.Module):
    """Feature maps of every level, finest first: a list of (B, widths[l], \\*S / 2**l)."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        dims, norm, widths = config.spatial_dims, config.norm, config.widths
        self.detail = ConvNorm(dims, config.in_channels, widths[0], norm=norm)
        self.stem = ConvNorm(dims, config.in_channels, widths[1], kernel=7, stride=2, norm=norm)
        self.pool = MAX_POOL[dims](3, stride=2, padding=1)
        self.stages = nn.ModuleList()
        width_before = widths[1]
        for stage, (width, count) in enumerate(zip(widths[2:], config.blocks[2:], strict=True)):
            blocks = []
            for block in range(count):
                # The pooling has already halved what the first stage sees.
                stride = 2 if stage > 0 and block == 0 else 1
                blocks.append(Bottleneck(dims, width_before, width, stride=stride, norm=norm))
                width_before = width
            self.stages.append(nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [self.detail(x, then="relu"), self.stem(x, then="relu")]
        deeper = self.pool(features[-1])
        for stage in self.stages:
            deeper = stage(deeper)
            features.append(deeper)
        return features
