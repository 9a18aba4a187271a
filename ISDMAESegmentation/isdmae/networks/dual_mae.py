"""The method: one autoencoder, two masked copies of each image.

Source: arXiv 2411.13198, figure 1 and section 3. A copy with hidden patches and a copy with
hidden intensities go through one shared encoder and decoder, which reconstruct the image from
each; the embeddings of the two copies are drawn together.

Shapes: B batch, C channels, S spatial axes, E embedding. Masks: True = hidden from the encoder.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..preprocess import PreprocessConfig, to_channels
from .blocks import CONV
from .unet import ResidualEncoder, UNetConfig, UNetDecoder


@dataclass(frozen=True)
class DualReconstruction:
    """What one forward pass gives; every tensor of both branches has the same shape.

    ``target`` and the reconstructions are (B, C, \\*S), the embeddings (B, E) of unit length,
    ``scale`` the learnt inverse temperature of the contrast.
    """

    target: Tensor
    from_spatial: Tensor
    from_intensity: Tensor
    embedding_spatial: Tensor
    embedding_intensity: Tensor
    scale: Tensor


class DualMaskedAutoencoder(nn.Module):
    """Reconstruct an image from a spatially masked and from an intensity-masked copy.

    Parameters
    ----------
    config : UNetConfig
        Shape of the shared encoder and decoder.
    preprocess : PreprocessConfig
        Channels; they are computed **after** masking, so that neither a window nor an edge can
        show what is hidden.
    embedding : int
        Length E of the embedding of the deepest level.
    """

    def __init__(
        self, config: UNetConfig, preprocess: PreprocessConfig, *, embedding: int = 128
    ) -> None:
        super().__init__()
        self.preprocess = preprocess
        self.encoder = ResidualEncoder(config)
        self.decoder = UNetDecoder(config)
        self.head = CONV[config.spatial_dims](config.widths[0], config.in_channels, 1)
        self.projection = nn.Linear(config.widths[-1], embedding)
        token_shape = (1, config.in_channels, *[1] * config.spatial_dims)
        self.mask_token = nn.Parameter(torch.full(token_shape, 0.5))
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(
        self, image: Tensor, is_hu: Tensor, spatial_hidden: Tensor, intensity_hidden: Tensor
    ) -> DualReconstruction:
        """Mask, encode, decode both copies in one pass.

        ``image`` is float32 (B, 1, \\*S) as `isdmae.preprocess.to_channels` takes it, ``is_hu``
        bool (B,), the masks bool (B, 1, \\*S).
        """
        copies = torch.cat(
            [
                self.masked_channels(image, is_hu, spatial_hidden),
                self.masked_channels(image, is_hu, intensity_hidden),
            ]
        )
        features = self.encoder(copies)
        from_spatial, from_intensity = self.head(self.decoder(features)).float().chunk(2)
        first, second = self.embed(features[-1]).chunk(2)
        return DualReconstruction(
            target=to_channels(image, is_hu, self.preprocess),
            from_spatial=from_spatial,
            from_intensity=from_intensity,
            embedding_spatial=first,
            embedding_intensity=second,
            scale=self.log_scale.exp().clamp(max=100.0),
        )

    def masked_channels(self, image: Tensor, is_hu: Tensor, hidden: Tensor) -> Tensor:
        """Compute the channels of an image whose hidden voxels are gone.

        Hidden voxels first take the mean of the visible ones, so that the edges beside them tell
        nothing, then the learnt token in every channel, so that they cannot be taken for air.
        """
        visible = (~hidden).float()
        dims = list(range(1, image.ndim))
        mean = (image * visible).sum(dims, keepdim=True) / visible.sum(dims, keepdim=True).clamp(1)
        channels = to_channels(torch.where(hidden, mean, image), is_hu, self.preprocess)
        return torch.where(hidden, self.mask_token, channels)

    def embed(self, deepest: Tensor) -> Tensor:
        """Max-pool (B, widths[-1], \\*S) and project to unit vectors (B, E)."""
        pooled = deepest.float().flatten(2).amax(dim=2)
        return F.normalize(self.projection(pooled), dim=1)
