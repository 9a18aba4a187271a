"""The segmentation network: any encoder, U-Net decoder, one 1 x 1 head."""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import CONV
from .factory import build_unet
from .unet import UNetConfig


class Segmenter(nn.Module):
    """Logits (B, classes, \\*S) from channels (B, C, \\*S); class 0 is background.

    ``encoder`` and ``decoder`` carry the same weight names as in
    `isdmae.networks.dual_mae.DualMaskedAutoencoder`, so pre-trained weights load as they are.
    """

    def __init__(self, config: UNetConfig, classes: int) -> None:
        super().__init__()
        self.encoder, self.decoder = build_unet(config)
        self.head = CONV[config.spatial_dims](config.decoder_widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.decoder(self.encoder(x)))
        return logits
