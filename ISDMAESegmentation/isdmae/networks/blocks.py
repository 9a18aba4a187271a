"""The bricks of every network, in 2D or 3D from the same classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MAX_POOL: dict[int, type[nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
NORMS: dict[str, dict[int, type[nn.Module]]] = {
    "batch": {2: nn.BatchNorm2d, 3: nn.BatchNorm3d},
    "instance": {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d},
}


def make_norm(kind: str, spatial_dims: int, channels: int) -> nn.Module:
    """Return the normalisation layer; instance norms learn scale and shift as batch norms do."""
    layer = NORMS[kind][spatial_dims]
    return layer(channels, affine=True)


class ConvNorm(nn.Module):
    """Convolution without bias, then normalisation; one convolution after ``fuse``."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        norm: str = "batch",
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv = CONV[spatial_dims](
            in_channels,
            out_channels,
            kernel,
            stride=stride,
            padding=kernel // 2,
            groups=groups,
            bias=False,
        )
        self.norm = make_norm(norm, spatial_dims, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.norm(self.conv(x))
        return result

    def fuse(self) -> None:
        """Fold a batch norm's running statistics into the convolution (prediction only)."""
        if isinstance(self.norm, nn.modules.batchnorm._BatchNorm) and not self.training:
            self.conv = fuse_conv_bn_eval(self.conv, self.norm)  # type: ignore[type-var]
            self.norm = nn.Identity()


class ResidualBlock(nn.Module):
    """Two convolutions and a shortcut (He et al. 2016), as in nnU-Net's residual encoder."""

    def __init__(
        self, spatial_dims: int, in_channels: int, out_channels: int, *, stride: int, norm: str
    ) -> None:
        super().__init__()
        self.first = ConvNorm(spatial_dims, in_channels, out_channels, stride=stride, norm=norm)
        self.second = ConvNorm(spatial_dims, out_channels, out_channels, norm=norm)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = ConvNorm(
                spatial_dims, in_channels, out_channels, kernel=1, stride=stride, norm=norm
            )
        self.activation = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.activation(self.first(x)))
        result: Tensor = self.activation(y + self.shortcut(x))
        return result


class UpBlock(nn.Module):
    """Double the size by a transposed convolution, join the skip connection, convolve once."""

    def __init__(
        self,
        spatial_dims: int,
        in_channels: int,
        skip_channels: int,
        out_channels: int,
        *,
        norm: str,
    ) -> None:
        super().__init__()
        self.up = TRANSPOSED[spatial_dims](in_channels, out_channels, 2, stride=2)
        self.fusion = ConvNorm(spatial_dims, out_channels + skip_channels, out_channels, norm=norm)
        self.activation = nn.LeakyReLU(0.01, inplace=True)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        joined = torch.cat([self.up(x), skip], dim=1)
        result: Tensor = self.activation(self.fusion(joined))
        return result


def fuse_for_prediction(network: nn.Module) -> nn.Module:
    """Put ``network`` in evaluation mode and fold every batch norm; returns the same module."""
    network.eval()
    for module in network.modules():
        if isinstance(module, ConvNorm):
            module.fuse()
    return network
