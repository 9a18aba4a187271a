"""Losses of pre-training (those of segmentation are in `isdmae_train.segmentation_losses`).

Shapes: B batch, C channels, S spatial axes, E embedding. Masks: True = hidden from the encoder.
Every loss is computed in float32, whatever the network computed in: half precision changes SSIM
eleven-fold.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from . import distributed

IN_CACHE = 800_000
"""Values of an image, or a few images, of which SSIM computes all maps at a time on a CPU."""


def gaussian_window(size: int, sigma: float) -> Tensor:
    """Return ``size`` Gaussian weights that sum to 1, float32."""
    if size < 1 or size % 2 == 0:
        raise ValueError(f"An SSIM window has an odd size, not {size}.")
    distance = torch.arange(size, dtype=torch.float32) - size // 2
    weights = torch.exp(-(distance**2) / (2 * sigma**2))
    return weights / weights.sum()


def ssim_map(
    x: Tensor, y: Tensor, *, data_range: float = 1.0, window: int = 11, sigma: float = 1.5
) -> Tensor:
    """Structural similarity at every voxel, in 2D or 3D (Wang et al. 2004, eq. 13).

    The Gaussian window is separable, so one pass an axis replaces the dense window: the same
    values at a fraction of the work, and in 3D it is Gaussian along the depth, too.

    Parameters
    ----------
    x, y : Tensor
        (B, C, \\*S), any float dtype; each axis at least ``window`` voxels.
    data_range : float
        Largest possible difference of two values.
    window, sigma : int, float
        Size and standard deviation of the Gaussian in voxels.

    Returns
    -------
    Tensor
        float32 (B, C, \\*(S - window + 1)): positions where the whole window fits.
    """
    if min(x.shape[2:]) < window:
        raise ValueError(f"SSIM needs at least {window} voxels an axis, got {tuple(x.shape[2:])}.")
    weights = gaussian_window(window, sigma).to(x.device)
    # On a CPU a few images at a time, whose maps stay in the cache.
    count = max(1, IN_CACHE // x[0].numel()) if x.device.type == "cpu" else len(x)
    with torch.autocast(x.device.type, enabled=False):
        parts = [
            _ssim(one.float(), other.float(), weights, data_range)
            for one, other in zip(x.split(count), y.split(count), strict=True)
        ]
    return torch.cat(parts)


def _ssim(x: Tensor, y: Tensor, weights: Tensor, data_range: float) -> Tensor:
    """Compute `ssim_map` of float32 images."""
    mean_x, mean_squares, mean_xy = _blur(torch.cat([x, x * x + y * y, x * y], 1), weights).chunk(
        3, 1
    )
    mean_y = _blur(y, weights)  # by itself, as nothing descends along it
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    product, squares = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    similar = (2 * product + c1) * (2 * (mean_xy - product) + c2)
    return similar / ((squares + c1) * (mean_squares - squares + c2))


def _blur(x: Tensor, weights: Tensor) -> Tensor:
    """Convolve every channel of (B, C, \\*S) with ``weights`` along each axis, without padding.

    One product with a band matrix an axis; of images on a CPU a convolution, channels last, which
    is four times as fast there.
    """
    if x.device.type == "cpu" and x.ndim == 4:
        channels = x.shape[1]
        x = x.contiguous(memory_format=torch.channels_last)
        for kernel in (weights.view(1, 1, 1, -1), weights.view(1, 1, -1, 1)):
            x = F.conv2d(x, kernel.expand(channels, -1, -1, -1), groups=channels)
        return x.contiguous()
    x = x @ _band_matrix(x.shape[-1], weights).T
    for axis in range(2, x.ndim - 1):
        band = _band_matrix(x.shape[axis], weights)
        x = (band @ x.flatten(axis + 1)).unflatten(axis + 1, x.shape[axis + 1 :])
    return x


def _band_matrix(length: int, weights: Tensor) -> Tensor:
    """Return (length - len(weights) + 1, length) with ``weights`` shifted by one in each row."""
    rows = length - len(weights) + 1
    matrix = weights.new_zeros(rows, length)
    columns = torch.arange(rows, device=weights.device)
    for offset, weight in enumerate(weights):
        matrix[columns, columns + offset] = weight
    return matrix


def voxel_weights(hidden: Tensor, like: Tensor, visible_weight: float) -> Tensor:
    """Return float32 weights of the shape of ``like``: 1 where hidden, else ``visible_weight``.

    Visible voxels could be copied through the skip connections, so by default they teach nothing.
    """
    weights = hidden.float() + visible_weight * (~hidden).float()
    return weights.expand_as(like)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted mean as a scalar, 0 where nothing has weight.

    Of several processes each returns its share of the mean over the whole batch, times their
    number: the mean over the processes is the mean over the batch.
    """
    weight = distributed.total(weights.sum()).clamp(min=1e-6)
    return (values * weights).sum() * (distributed.size() / weight)


def hidden_ssim_loss(
    reconstruction: Tensor,
    target: Tensor,
    hidden: Tensor,
    *,
    visible_weight: float = 0.0,
    window: int = 11,
) -> Tensor:
    """1 - SSIM, averaged over hidden voxels.

    ``hidden`` is bool (B, 1, \\*S), see `voxel_weights` for ``visible_weight``; a scalar.
    """
    similarity = ssim_map(reconstruction, target, window=window)
    rim = window // 2
    inner = [slice(None), slice(None)] + [slice(rim, length - rim) for length in hidden.shape[2:]]
    weights = voxel_weights(hidden[tuple(inner)], similarity, visible_weight)
    return weighted_mean(1 - similarity, weights)


def hidden_l1_loss(
    reconstruction: Tensor, target: Tensor, hidden: Tensor, *, visible_weight: float = 0.0
) -> Tensor:
    """Mean absolute error over hidden voxels; a scalar."""
    error = (reconstruction.float() - target).abs()
    return weighted_mean(error, voxel_weights(hidden, target, visible_weight))


def hidden_l2_loss(
    reconstruction: Tensor, target: Tensor, hidden: Tensor, *, visible_weight: float = 0.0
) -> Tensor:
    """Mean squared error over hidden voxels; a scalar."""
    error = (reconstruction.float() - target) ** 2
    return weighted_mean(error, voxel_weights(hidden, target, visible_weight))


def info_nce(first: Tensor, second: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE between two embeddings of the same images (CLIP's form).

    ``first`` and ``second`` are (B, E) of unit length, ``scale`` the inverse temperature (after
    exp). Returns a scalar >= 0.
    """
    logits = scale * first.float() @ second.float().T
    truth = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


def cosine_loss(first: Tensor, second: Tensor) -> Tensor:
    """1 - cosine between two embeddings of the same images (TCS-MAE, arXiv 2407.08961).

    ``first`` and ``second`` are (B, E) of unit length; a scalar in 0..2. Nothing in it keeps the
    embeddings of different images apart.
    """
    return 1 - (first.float() * second.float()).sum(dim=1).mean()
