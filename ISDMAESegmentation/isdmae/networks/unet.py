"""The U-Net that pre-training and segmentation share: its shape, its presets and its decoder.

Every encoder gives one feature map a level, level l with S / 2**l voxels an axis, so one decoder
serves them all. `isdmae.networks.factory` joins the two.

Shapes: B batch, C channels, S spatial axes ((H, W) or (D, H, W)).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from .blocks import UpBlock

EncoderName = Literal["residual", "plain", "bottleneck", "mit", "mednext"]

SIZES: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    # name: (channels of each level, residual blocks of each level)
    "S": ((16, 32, 64, 128, 192), (0, 1, 1, 2, 2)),
    "B": ((24, 48, 96, 192, 256), (1, 2, 2, 3, 3)),
    "L": ((32, 64, 128, 256, 320, 320), (1, 2, 3, 4, 6, 6)),
}

# The first two levels of these encoders are a light stem (see `isdmae.networks.blocks`): their
# own first feature map has a quarter of the resolution (the Mix Transformer) or half of it.
_RESNET: dict[str, Any] = {
    "widths": (32, 64, 256, 512, 1024, 2048),
    "decoder": (32, 64, 128, 256, 512),
}
_MIT: dict[str, Any] = {"widths": (32, 64, 64, 128, 320, 512), "decoder": (32, 64, 64, 128, 256)}
_MEDNEXT: dict[str, Any] = {"widths": (32, 64, 128, 256, 512)}
PRESETS: dict[str, dict[str, dict[str, Any]]] = {
    # Two convolutions a level, whatever the size, as in the U-Net of 2015.
    "plain": {
        size: {"widths": widths, "blocks": (1,) * len(widths)}
        for size, (widths, _) in SIZES.items()
    },
    # ResNet-26, -50 and -101 (He et al. 2016, table 1; 26 has two blocks a stage).
    "bottleneck": {
        "S": {**_RESNET, "blocks": (0, 0, 2, 2, 2, 2)},
        "B": {**_RESNET, "blocks": (0, 0, 3, 4, 6, 3)},
        "L": {**_RESNET, "blocks": (0, 0, 3, 4, 23, 3)},
    },
    # MiT-B0, -B1 and -B2 (Xie et al. 2021, arXiv 2105.15203, table 6).
    "mit": {
        "S": {
            "widths": (16, 32, 32, 64, 160, 256),
            "blocks": (0, 0, 2, 2, 2, 2),
            "decoder": (16, 32, 32, 64, 128),
        },
        "B": {**_MIT, "blocks": (0, 0, 2, 2, 2, 2)},
        "L": {**_MIT, "blocks": (0, 0, 3, 4, 6, 3)},
    },
    # The encoder halves of MedNeXt-S, -B and -L (Roy et al. 2023, arXiv 2303.09975, table 1).
    "mednext": {
        "S": {**_MEDNEXT, "blocks": (2, 2, 2, 2, 2), "expansion": (2, 2, 2, 2, 2)},
        "B": {**_MEDNEXT, "blocks": (2, 2, 2, 2, 2), "expansion": (2, 3, 4, 4, 4)},
        "L": {**_MEDNEXT, "blocks": (3, 4, 8, 8, 8), "expansion": (3, 4, 8, 8, 8)},
    },
}


@dataclass(frozen=True, kw_only=True)
class UNetConfig:
    """Shape of the network; stored in a model's ``model.json``."""

    spatial_dims: int = 2
    """2 or 3."""
    in_channels: int = 4
    """Input channels."""
    widths: tuple[int, ...] = SIZES["S"][0]
    """Channels of each level of the encoder, from full resolution down."""
    blocks: tuple[int, ...] = SIZES["S"][1]
    """Blocks of each level. The light stem of `bottleneck` and `mit` has none at levels 0 and 1."""
    norm: str = "batch"
    """``"batch"`` (folds into the convolutions for prediction) or ``"instance"``."""
    encoder: EncoderName = "residual"
    """Kind of blocks: see the module of each encoder."""
    decoder: tuple[int, ...] = ()
    """Channels of the decoder at every level but the deepest; empty: those of the encoder."""
    expansion: tuple[int, ...] = ()
    """`mednext`: inner over outer channels of the blocks of each level."""
    kernel: int = 3
    """`mednext`: edge of the depthwise kernels, odd."""
    response_norm: bool = False
    """`mednext`: global response normalisation (Woo et al. 2023) inside the blocks."""

    def __post_init__(self) -> None:
        if self.spatial_dims not in (2, 3):
            raise ValueError(f"Networks are 2D or 3D, not {self.spatial_dims}D.")
        if self.norm not in ("batch", "instance"):
            raise ValueError(f"Unknown normalisation '{self.norm}': 'batch' or 'instance'.")
        if not 2 <= len(self.widths) <= 8 or len(self.widths) != len(self.blocks):
            raise ValueError("widths and blocks need the same length, 2 to 8 levels.")
        if not 1 <= self.in_channels <= 64:
            raise ValueError("Channel counts of the input must lie in 1..64.")
        if not all(1 <= width <= 2048 for width in (*self.widths, *self.decoder)):
            raise ValueError("Channel counts of the levels must lie in 1..2048.")
        if self.decoder and len(self.decoder) != len(self.widths) - 1:
            raise ValueError("decoder needs one entry fewer than widths, one a level, or none.")
        self._check_encoder()

    def _check_encoder(self) -> None:
        """Refuse what the chosen encoder cannot build."""
        light = self.encoder in ("bottleneck", "mit")
        if not all(0 <= count <= 32 for count in self.blocks) or not all(self.blocks[1 + light :]):
            raise ValueError("Every level below the first (or the stem) needs 1 to 32 blocks.")
        if light and (len(self.widths) != 6 or any(self.blocks[:2])):
            raise ValueError(f"'{self.encoder}' has 6 levels, the first two without blocks.")
        if self.encoder == "bottleneck" and any(width % 4 for width in self.widths[2:]):
            raise ValueError("The widths of bottleneck levels are multiples of 4.")
        if self.encoder == "mit" and any(
            width % heads for width, heads in zip(self.widths[2:], (1, 2, 5, 8), strict=True)
        ):
            raise ValueError("The widths of 'mit' divide by its 1, 2, 5 and 8 attention heads.")
        if self.encoder == "mednext" and not (
            len(self.expansion) == len(self.widths) and all(1 <= e <= 16 for e in self.expansion)
        ):
            raise ValueError("'mednext' needs an expansion of 1 to 16 for each level.")
        if self.kernel % 2 == 0 or not 1 <= self.kernel <= 15:
            raise ValueError(f"A depthwise kernel has an odd edge of 1 to 15, not {self.kernel}.")

    @classmethod
    def of_size(
        cls, size: str, *, spatial_dims: int, in_channels: int, encoder: EncoderName = "residual"
    ) -> UNetConfig:
        """Return the preset ``size`` ("S", "B" or "L") of an encoder.

        Examples
        --------
        >>> resnet50 = UNetConfig.of_size("B", spatial_dims=3, in_channels=5, encoder="bottleneck")
        >>> resnet50.blocks, resnet50.stride
        ((0, 0, 3, 4, 6, 3), 32)
        """
        if size not in SIZES:
            raise ValueError(f"Unknown size '{size}': one of {', '.join(SIZES)}.")
        if encoder == "residual":
            preset: dict[str, Any] = dict(zip(("widths", "blocks"), SIZES[size], strict=True))
        else:
            preset = PRESETS[encoder][size]
        return cls(
            spatial_dims=spatial_dims,
            in_channels=in_channels,
            norm="batch" if spatial_dims == 2 else "instance",
            encoder=encoder,
            **preset,
        )

    @property
    def stride(self) -> int:
        """Input sizes must be multiples of this."""
        return int(2 ** (len(self.widths) - 1))

    @property
    def decoder_widths(self) -> tuple[int, ...]:
        """Channels of the decoder at every level but the deepest, from full resolution down."""
        return self.decoder or self.widths[:-1]


class UNetDecoder(nn.Module):
    """From the encoder's feature maps to (B, decoder_widths[0], \\*S) at full resolution."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        below = config.widths[-1]
        levels = zip(config.widths[-2::-1], config.decoder_widths[::-1], strict=True)
        for skip, width in levels:
            self.steps.append(UpBlock(config.spatial_dims, below, skip, width, norm=config.norm))
            below = width

    def forward(self, features: list[Tensor]) -> Tensor:
        x = features[-1]
        for step, skip in zip(self.steps, features[-2::-1], strict=True):
            x = step(x, skip)
        return x
