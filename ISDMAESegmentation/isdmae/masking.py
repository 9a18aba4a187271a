"""The two masks of the dual masked autoencoder: hidden patches and hidden intensities.

Source: Ding, Wang, Lyu, "Intensity-Spatial Dual Masked Autoencoder", arXiv 2411.13198, section 3;
the intensity mask after Zheng et al., TCS-MAE, arXiv 2407.08961.

Mask convention, everywhere: **True = hidden from the encoder**. Counts are exact and drawn
without replacement, in 2D and 3D alike, without a loop over samples, voxels or patches. (The
authors' code draws otherwise; `Draw` offers its two ways for comparison.)

Shapes: B batch, S the spatial axes ((H, W) or (D, H, W)), N patches or bins.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

Generators = torch.Generator | Sequence[torch.Generator]
Draw = Literal["exact", "independent", "replacement"]
"""How things are chosen: exactly the share, each by itself with that probability, or as many
draws with replacement (so that some fall on the same thing)."""

TISSUE_EDGES_HU = (-1024.0, -950.0, -700.0, -500.0, -190.0, -30.0, 20.0, 150.0, 3071.0)
"""Borders between the tissues of a chest CT; eight bins:

air and emphysema, under -950 (Gevenois et al. 1996, AJRCCM 154:187); well-aerated lung, to -700
(Colombi et al. 2020, Radiology 296:E86); thin ground glass, to -500, where normal aeration ends
(Gattinoni et al. 2001, AJRCCM 164:1701); poorly aerated lung and dense ground glass, to -190;
fat, -190 to -30, and soft tissue, to 150 (Aubrey et al. 2014, Acta Physiol 210:489), cut at 20,
the upper bound of simple fluid (Silverman et al. 2019, Radiology 292:475); contrast and bone.
"""


def hidden_count(number: int, ratio: float) -> int:
    """Return how many of ``number`` are hidden: ``ratio`` rounded to the nearest whole (.5 up)."""
    if not 0.0 <= ratio <= 1.0:
        raise ValueError(f"A mask ratio lies in 0..1, not {ratio}.")
    return math.floor(number * ratio + 0.5)


def choose_hidden(
    batch: int, number: int, ratio: float, generator: Generators, draw: Draw = "exact"
) -> Tensor:
    """Draw for each sample which of ``number`` things are hidden.

    Parameters
    ----------
    batch, number : int
        Samples, and patches or bins in each.
    ratio : float
        Share to hide, 0..1.
    generator : torch.Generator or one a sample
        With one generator a sample, its mask does not depend on its neighbours in the batch.
    draw : Draw
        "exact" unless the published code is to be imitated.

    Returns
    -------
    Tensor
        bool (B, N) on the CPU; "exact": ``hidden_count(number, ratio)`` True in each row.
    """
    count = hidden_count(number, ratio)
    scores = _uniform(batch, number, generator)
    if draw == "independent":
        return scores < ratio
    if draw == "exact":
        drawn = scores.argsort(dim=1)[:, :count]
    else:
        # The largest float32 under 1 times ``number`` still rounds to less than ``number``.
        drawn = (scores[:, :count] * number).long()
    return torch.zeros(batch, number, dtype=torch.bool).scatter_(1, drawn, True)


def _uniform(batch: int, number: int, generator: Generators) -> Tensor:
    """Return uniform numbers (B, N) in [0, 1)."""
    if isinstance(generator, torch.Generator):
        return torch.rand(batch, number, generator=generator)
    return torch.stack([torch.rand(number, generator=one) for one in generator])


def spatial_mask(
    batch: int,
    size: Sequence[int],
    *,
    patch_size: int,
    ratio: float,
    generator: Generators,
    draw: Draw = "exact",
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
    draw : Draw
        How the patches are chosen.

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
    hidden = choose_hidden(batch, math.prod(grid), ratio, generator, draw)
    hidden = hidden.reshape(batch, 1, *grid)
    for axis, length in reversed(list(enumerate(size, start=2))):  # whole rows last, at once
        repeated = hidden.unsqueeze(axis + 1).expand(
            *[-1] * (axis + 1), patch_size, *[-1] * (hidden.ndim - axis - 1)
        )
        hidden = repeated.flatten(axis, axis + 1).narrow(axis, 0, length)
    return hidden


def equal_bins(low: float, high: float, number: int) -> Tensor:
    """Return ``number + 1`` equally spaced bin edges from ``low`` to ``high``, float32."""
    if number < 1 or not low < high:
        raise ValueError(f"Cannot cut {low}..{high} in {number} bins.")
    return torch.linspace(low, high, number + 1)


def tissue_bins() -> Tensor:
    """Return `TISSUE_EDGES_HU` as float32 (9,)."""
    return torch.tensor(TISSUE_EDGES_HU)


def intensity_mask(
    image: Tensor, *, edges: Tensor, ratio: float, generator: Generators, draw: Draw = "exact"
) -> Tensor:
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
        Share of the bins to hide.
    generator : torch.Generator or one a sample
        Source of chance.
    draw : Draw
        How the bins are chosen.

    Returns
    -------
    Tensor
        bool (B, 1, \\*S), True = hidden.
    """
    hidden = choose_hidden(len(image), len(edges) - 1, ratio, generator, draw)
    # Upwards through the bins, a voxel turns from hidden to seen and back at some edges: a few
    # comparisons of the whole batch, a fifth of the time of finding each voxel's bin.
    turns = hidden[:, 1:] != hidden[:, :-1]
    passed = torch.where(turns, edges[1:-1].to(turns.device), torch.inf).sort(dim=1).values
    passed = passed[:, : int(turns.sum(dim=1).max())].to(image.device)
    each = (-1, *[1] * (image.ndim - 1))
    mask = hidden[:, 0].to(image.device).view(each).expand(image.shape).clone()
    beyond = torch.empty_like(mask)
    for edge in passed.unbind(dim=1):
        mask ^= torch.ge(image, edge.view(each), out=beyond)
    return mask


def noise_fill(
    batch: int, size: Sequence[int], *, span: tuple[float, float], generator: Generators
) -> Tensor:
    """Draw what hidden voxels show in place of a token: uniform noise.

    Parameters
    ----------
    batch, size : int, sequence of int
        Samples, voxels along each spatial axis.
    span : tuple of float
        Lowest and highest value, in the unit of the image (HU, or grey value).
    generator : torch.Generator or one a sample
        Source of chance.

    Returns
    -------
    Tensor
        float32 (B, 1, \\*S) on the CPU.
    """
    low, high = span
    noise = _uniform(batch, math.prod(size), generator).reshape(batch, 1, *size)
    return low + (high - low) * noise
