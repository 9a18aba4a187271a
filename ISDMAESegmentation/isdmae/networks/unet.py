"""A U-Net with a residual encoder: the body that pre-training and segmentation share.

Shapes: B batch, C channels, S spatial axes ((H, W) or (D, H, W)); level l has S / 2**l voxels.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from .blocks import ConvNorm, ResidualBlock, UpBlock

SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # name: (channels of each level, residual blocks of each level)
    "S": ((16, 32, 64, 128, 192), (0, 1, 1, 2, 2)),
    "B": ((24, 48, 96, 192, 256), (1, 2, 2, 3, 3)),
    "L": ((32, 64, 128, 256, 320, 320), (1, 2, 3, 4, 6, 6)),
}


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of the network; stored in a model's ``model.json``.

    Parameters
    ----------
    spatial_dims : int
        2 or 3.
    in_channels : int
        Input channels.
    widths, blocks : tuple of int
        Channels and residual blocks of each level, from full resolution down. Level 0 begins
        with one plain convolution; each further level begins with a block of stride 2.
    norm : str
        ``"batch"`` (folds into the convolutions for prediction) or ``"instance"``.
    """

    spatial_dims: int = 2
    in_channels: int = 4
    widths: tuple[int, ...] = SIZES["S"][0]
    blocks: tuple[int, ...] = SIZES["S"][1]
    norm: str = "batch"

    def __post_init__(self) -> None:
        if self.spatial_dims not in (2, 3):
            raise ValueError(f"Networks are 2D or 3D, not {self.spatial_dims}D.")
        if self.norm not in ("batch", "instance"):
            raise ValueError(f"Unknown normalisation '{self.norm}': 'batch' or 'instance'.")
        if not 2 <= len(self.widths) <= 8 or len(self.widths) != len(self.blocks):
            raise ValueError("widths and blocks need the same length, 2 to 8 levels.")
        if not 1 <= self.in_channels <= 64 or not all(1 <= width <= 2048 for width in self.widths):
            raise ValueError("Channel counts must lie in 1..64 (input) and 1..2048 (levels).")
        if not all(0 <= count <= 32 for count in self.blocks) or not all(self.blocks[1:]):
            raise ValueError("Every level below the first needs 1 to 32 residual blocks.")

    @classmethod
    def of_size(cls, size: str, *, spatial_dims: int, in_channels: int) -> UNetConfig:
        """Return the preset ``size`` ("S", "B" or "L")."""
        if size not in SIZES:
            raise ValueError(f"Unknown size '{size}': one of {', '.join(SIZES)}.")
        widths, blocks = SIZES[size]
        norm = "batch" if spatial_dims == 2 else "instance"
        return cls(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            widths=widths,
            blocks=blocks,
            norm=norm,
        )

    @property
    def stride(self) -> int:
        """Input sizes must be multiples of this."""
        return int(2 ** (len(self.widths) - 1))


class ResidualEncoder(nn.Module):
    """Feature maps of every level, finest first: a list of (B, widths[l], \\*S / 2**l)."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        dims, norm = config.spatial_dims, config.norm
        self.stem = ConvNorm(dims, config.in_channels, config.widths[0], norm=norm)
        self.activation = nn.LeakyReLU(0.01, inplace=True)
        self.levels = nn.ModuleList()
        width_before = config.widths[0]
        for level, (width, count) in enumerate(zip(config.widths, config.blocks, strict=True)):
            stages = []
            for block in range(count):
                stride = 2 if level > 0 and block == 0 else 1
                stages.append(ResidualBlock(dims, width_before, width, stride=stride, norm=norm))
                width_before = width
            self.levels.append(nn.Sequential(*stages))

    def forward(self, x: Tensor) -> list[Tensor]:
        features = []
        x = self.activation(self.stem(x))
        for level in self.levels:
            x = level(x)
            features.append(x)
        return features


class UNetDecoder(nn.Module):
    """From the encoder's feature maps to (B, widths[0], \\*S) at full resolution."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.steps = nn.ModuleList(
            UpBlock(config.spatial_dims, below, here, norm=config.norm)
            for below, here in zip(config.widths[:0:-1], config.widths[-2::-1], strict=True)
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        x = features[-1]
        for step, skip in zip(self.steps, features[-2::-1], strict=True):
            x = step(x, skip)
        return x
