"""A plain re-creation of the authors' training step, from its description, to measure against.

Masks drawn in Python loops, two forward passes, structural similarity by a dense window built anew
at each call, float32, the memory format and allocator that a process starts with (arXiv 2411.13198
and what is known of its code). Written for this comparison only.

Shapes: B batch, C channels, S the spatial axes, (H, W) or (D, H, W).
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

from isdmae.networks.dual_mae import DualMaskedAutoencoder, embed
from isdmae.preprocess import to_channels
from isdmae_train.losses import gaussian_window, info_nce


def authors_loss(network: DualMaskedAutoencoder, image: Tensor, window: int = 15) -> Tensor:
    """Return the loss of HU images (B, 1, \\*S)."""
    is_hu = torch.ones(len(image), dtype=torch.bool, device=image.device)
    target = to_channels(image, is_hu, network.preprocess)
    embeddings, loss = [], torch.zeros((), device=image.device)
    for mask in (loop_patches(image), loop_bins(image)):
        features = network.encoder(target.masked_fill(mask, 0.0))
        view = network.head(network.decoder(features))
        loss = loss + 1 - dense_ssim(view, target, window).mean()
        embeddings.append(embed(features[-1], network.projections[0]))
    scale = network.scale()
    if scale is None:
        raise ValueError("The network needs a contrast.")
    return loss + info_nce(embeddings[0], embeddings[1], scale)


def loop_patches(image: Tensor, patch: int = 16, ratio: float = 0.5) -> Tensor:
    """Hide patches or cubes one after the other."""
    mask = torch.zeros(image.shape, dtype=torch.bool, device=image.device)
    for sample in mask[:, 0]:
        for corner in itertools.product(*(range(0, length, patch) for length in sample.shape)):
            if torch.rand(()) < ratio:
                sample[tuple(slice(start, start + patch) for start in corner)] = True
    return mask


def loop_bins(image: Tensor, bins: int = 8, ratio: float = 0.5) -> Tensor:
    """Hide bins of intensity one after the other."""
    edges = torch.linspace(-1000, 400, bins + 1)
    mask = torch.zeros(image.shape, dtype=torch.bool, device=image.device)
    for sample in range(len(image)):
        for number in torch.randint(0, bins, (int(ratio * bins),)).tolist():
            low, high = edges[number], edges[number + 1]
            mask[sample] |= (image[sample] >= low) & (image[sample] < high)
    return mask


def dense_ssim(x: Tensor, y: Tensor, window: int = 15, sigma: float = 1.5) -> Tensor:
    """Structural similarity at every voxel, by a dense Gaussian window in 2D or 3D."""
    weights = gaussian_window(window, sigma)
    dims = x.ndim - 2
    kernel = weights
    for _ in range(dims - 1):
        kernel = kernel[..., None] * weights
    kernel = kernel.expand(x.shape[1], 1, *kernel.shape).contiguous().to(x.device)
    convolve = F.conv2d if dims == 2 else F.conv3d

    def blur(values: Tensor) -> Tensor:
        return convolve(values, kernel, groups=values.shape[1])

    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    both = blur(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mean_x * mean_y + c1) * (2 * both + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    )
