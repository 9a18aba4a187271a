"""The one place that builds an encoder and its decoder from a `UNetConfig`."""

from __future__ import annotations

from torch import nn

from .bottleneck import BottleneckEncoder
from .mednext import MedNeXtEncoder
from .mix_transformer import MixTransformerEncoder
from .residual import PlainEncoder, ResidualEncoder
from .unet import EncoderName, UNetConfig, UNetDecoder

ENCODERS: dict[EncoderName, type[nn.Module]] = {
    "residual": ResidualEncoder,
    "plain": PlainEncoder,
    "bottleneck": BottleneckEncoder,
    "mit": MixTransformerEncoder,
    "mednext": MedNeXtEncoder,
}


def build_unet(config: UNetConfig) -> tuple[nn.Module, UNetDecoder]:
    """Return encoder and decoder.

    Parameters
    ----------
    config : UNetConfig
        Shape of both.

    Returns
    -------
    nn.Module
        From (B, in_channels, \\*S), S a multiple of ``config.stride``, to a list of feature maps
        (B, widths[l], \\*S / 2**l), finest first.
    UNetDecoder
        From that list to (B, decoder_widths[0], \\*S).
    """
    return ENCODERS[config.encoder](config), UNetDecoder(config)
