"""The two masks of the dual masked autoencoder: hidden patches and hidden intensities.

Source: Ding, Wang, Lyu, "Intensity-Spatial Dual Masked Autoencoder", arXiv 2411.13198, section 3;
the intensity mask after Zheng et al., TCS-MAE, arXiv 2407.08961.

Mask convention, everywhere: **True = hidden from the encoder**. Counts are exact and drawn
without replacement, in 2D and 3D alike, without a loop over voxels, patches or bins.

Shapes: B batch, S the spatial axes ((H, W) or (D, H, W)), N patches or bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator]


def hidden_count(number: int, ratio: float) -> int:
    """Return how many of ``number`` are hidden: ``ratio`` rounded to the nearest whole (.5 up)."""
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"A mask ratio lies in 0..1, not {ratio}.")
    return math.floor(number * ratio + 0.5)


def choose_hidden(batch: int, number: int, ratio: float, generator: Generators) -> Tensor:
    """Draw for each sample which of ``number`` things are hidden, without replacement.

    Parameters
    ----------
    batch, number : int
        Samples, and patches or bins in each.
    ratio : float
        Share to hide, 0..1.
    generator : torch.Generator or one a sample
        With one generator a sample, its mask does not depend on its neighbours in the batch.

    Returns
    -------
    Tensor
        bool (B, N) on the CPU, exactly ``hidden_count(number, ratio)`` True in each row.
    """
    if isinstance(generator, torch.Generator):
        scores = torch.rand(batch, number, generator=generator)
    else:
        scores = torch.stack([torch.rand(number, generator=one) for one in generator])
    ranks = scores.argsort(dim=1).argsort(dim=1)
    return ranks < hidden_count(number, ratio)


def spatial_mask(
    batch: int,
    size: Sequence[int],
    *,
    patch_size: int,
    ratio: float,
    generator: Generators,
) -> Tensor:
    """Hide a share of the square patches (2D) or cubes (3D).

    Parameters
    ----------
    batch : int
        Samples.
    size : sequence of int
        Voxels along each spatial axis; the last patch of an axis may be cut by the border.
    patch_size : int
        Edge of a patch in voxels.
    ratio : float
        Share of the patches to hide.
    generator : torch.Generator or one a sample
        Source of chance.

    Returns
    -------
    Tensor
        bool (B, 1, \\*S), True = hidden.

    Examples
    --------
    >>> chance = torch.Generator().manual_seed(0)
    >>> mask = spatial_mask(2, (64, 64), patch_size=16, ratio=0.75, generator=chance)
    >>> mask.shape, mask.float().mean().item()
    (torch.Size([2, 1, 64, 64]), 0.75)
    """
    if patch_size < 1:
        raise ValueError(f"A patch has at least one voxel, not {patch_size}.")
    grid = [math.ceil(length / patch_size) for length in size]
    hidden = choose_hidden(batch, math.prod(grid), ratio, generator).reshape(batch, 1, *grid)
    for axis, length in enumerate(size, start=2):
        hidden = hidden.repeat_interleave(patch_size, dim=axis).narrow(axis, 0, length)
    return hidden


def equal_bins(low: float, high: float, number: int) -> Tensor:
    """Return ``number + 1`` equally spaced bin edges from ``low`` to ``high``, float32."""
    if number < 1 or not low < high:
        raise ValueError(f"Cannot cut {low}..{high} in {number} bins.")
    return torch.linspace(low, high, number + 1)


def intensity_mask(image: Tensor, *, edges: Tensor, ratio: float, generator: Generators) -> Tensor:
    """Hide all voxels of a share of the intensity bins.

    Parameters
    ----------
    image : Tensor
        (B, 1, \\*S) intensities **before** any window, in the unit of ``edges``: HU, or the grey
        value of a picture.
    edges : Tensor
        (N + 1,) ascending. Values under the first edge belong to the first bin, values over the
        last edge to the last bin.
    ratio : float
        Share of the bins to hide; exact and without replacement.
    generator : torch.Generator or one a sample
        Source of chance.

    Returns
    -------
    Tensor
        bool (B, 1, \\*S), True = hidden.
    """
    hidden = choose_hidden(image.shape[0], len(edges) - 1, ratio, generator).to(image.device)
    bins = torch.bucketize(image, edges[1:-1].to(image.device), right=True)
    return hidden.gather(1, bins.flatten(1)).reshape(image.shape)
