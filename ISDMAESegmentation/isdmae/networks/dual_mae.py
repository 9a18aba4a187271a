"""The method: one autoencoder, two masked copies of each image.

Source: arXiv 2411.13198, figure 1 and section 3. A copy with hidden patches and a copy with
hidden intensities go through one shared encoder and decoder, which reconstruct the image from
each; the embeddings of the two copies are drawn together. TCS-MAE (arXiv 2407.08961) pairs the
copy with hidden intensities with the original instead, and embeds three levels.

Shapes: B batch, C channels, S spatial axes, E embedding. Masks: True = hidden from the encoder.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..preprocess import PreprocessConfig, to_channels
from .blocks import CONV
from .factory import build_unet
from .unet import UNetConfig

Fill = Literal["token", "noise", "zero"]


@dataclass(frozen=True, kw_only=True)
class DualMAEConfig:
    """What the autoencoder has beside its U-Net."""

    fill: Fill = "token"
    """What hidden voxels show: a learnt token in every channel, noise in the image's own unit, or
    zero, which is also the colour of air (as published; for comparison only)."""
    levels: int = 1
    """Deepest levels with a projection head for the contrast; 0: no contrast."""
    embedding: int = 128
    """Length of each embedding."""
    temperature: float | None = 0.07
    """Where the temperature of InfoNCE starts; None: the contrast has none (cosine)."""
    learn_temperature: bool = True
    """Whether it is a parameter, and so in the optimiser."""

    def __post_init__(self) -> None:
        if self.levels < 0 or self.embedding < 1:
            raise ValueError("levels is 0 or more, embedding 1 or more.")
        if self.temperature is not None and not 0.01 <= self.temperature <= 10.0:
            raise ValueError(f"A temperature lies in 0.01..10, not {self.temperature}.")


@dataclass(frozen=True)
class DualReconstruction:
    """What one forward pass of V views gives.

    ``target`` and each reconstruction are (B, C, \\*S). ``embeddings`` holds, for each projected
    level, deepest first, the V embeddings (B, E) of unit length. ``scale`` is the inverse
    temperature of the contrast, None where it has none.
    """

    target: Tensor
    reconstructions: tuple[Tensor, ...]
    embeddings: tuple[tuple[Tensor, ...], ...]
    scale: Tensor | None


class DualMaskedAutoencoder(nn.Module):
    """Reconstruct an image from its views: a spatially and an intensity-masked copy, or others.

    Parameters
    ----------
    config : UNetConfig
        Shape of the shared encoder and decoder.
    preprocess : PreprocessConfig
        Channels; they are computed **after** masking, so that neither a window nor an edge can
        show what is hidden.
    method : DualMAEConfig
        Fill, projection heads and temperature.
    """

    def __init__(
        self,
        config: UNetConfig,
        preprocess: PreprocessConfig,
        method: DualMAEConfig = DualMAEConfig(),
    ) -> None:
        super().__init__()
        if method.levels > len(config.widths):
            raise ValueError(f"A network of {len(config.widths)} levels has no {method.levels}.")
        self.preprocess, self.method = preprocess, method
        self.encoder, self.decoder = build_unet(config)
        self.head = CONV[config.spatial_dims](config.decoder_widths[0], config.in_channels, 1)
        deepest_first = config.widths[::-1][: method.levels]
        self.projections = nn.ModuleList(
            nn.Linear(width, method.embedding) for width in deepest_first
        )
        if method.fill == "token":
            token_shape = (1, config.in_channels, *[1] * config.spatial_dims)
            self.mask_token = nn.Parameter(torch.full(token_shape, 0.5))
        if method.levels and method.temperature is not None:
            start = torch.tensor(math.log(1 / method.temperature))
            if method.learn_temperature:
                self.log_scale = nn.Parameter(start)
            else:
                self.register_buffer("log_scale", start)

    def forward(
        self,
        image: Tensor,
        is_hu: Tensor,
        hidden: Sequence[Tensor],
        noise: Tensor | None = None,
    ) -> DualReconstruction:
        """Mask, encode and decode all views in one pass.

        Parameters
        ----------
        image : Tensor
            float32 (B, 1, \\*S) as `isdmae.preprocess.to_channels` takes it.
        is_hu : Tensor
            bool (B,).
        hidden : sequence of Tensor
            For each view a mask, bool (B, 1, \\*S); the original has nothing hidden.
        noise : Tensor, optional
            (B, 1, \\*S), the fill "noise" (see `isdmae.masking.noise_fill`).
        """
        views = [self.masked_channels(image, is_hu, mask, noise) for mask in hidden]
        features = self.encoder(torch.cat(views))
        decoded = self.head(self.decoder(features)).float()
        return DualReconstruction(
            target=to_channels(image, is_hu, self.preprocess),
            reconstructions=decoded.chunk(len(views)),
            embeddings=tuple(
                embed(level, head).chunk(len(views))
                for level, head in zip(features[::-1], self.projections, strict=False)
            ),
            scale=self.scale(),
        )

    def masked_channels(
        self, image: Tensor, is_hu: Tensor, hidden: Tensor, noise: Tensor | None = None
    ) -> Tensor:
        """Compute the channels (B, C, \\*S) of an image whose hidden voxels are gone.

        Hidden voxels first take the mean of the visible ones, so that the edges beside them tell
        nothing, then the fill in every channel. Noise takes the place of the image itself.
        """
        if self.method.fill == "noise":
            if noise is None:
                raise ValueError("The fill 'noise' needs noise.")
            return to_channels(torch.where(hidden, noise, image), is_hu, self.preprocess)
        visible = (~hidden).float().expand_as(image)
        dims = list(range(1, image.ndim))
        mean = (image * visible).sum(dims, keepdim=True) / visible.sum(dims, keepdim=True).clamp(1)
        channels = to_channels(torch.where(hidden, mean, image), is_hu, self.preprocess)
        if self.method.fill == "zero":
            return channels.masked_fill(hidden, 0.0)
        return torch.where(hidden, self.mask_token, channels)

    def scale(self) -> Tensor | None:
        """Return the inverse temperature, at most 100 as in CLIP; None without one."""
        if not self.method.levels or self.method.temperature is None:
            return None
        return self.log_scale.exp().clamp(max=100.0)


def embed(features: Tensor, projection: nn.Module) -> Tensor:
    """Max-pool (B, C, \\*S) and project to unit vectors (B, E), in float32."""
    pooled = features.float().flatten(2).amax(dim=2)
    return F.normalize(projection(pooled).float(), dim=1)
