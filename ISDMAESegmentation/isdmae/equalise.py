"""Contrast-limited adaptive histogram equalisation of 8-bit slices, as OpenCV computes it.

Public 2D sets of chest CT were made with it, so a CT in HU must go the same way before a network
that learnt from them can read it. OpenCV itself is too large to bring into 3D Slicer, and knows
neither batches nor the GPU of a training.

Shapes: B slices, H W pixels, T tiles along an axis.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

GREYS = 256


def equalise_slices(slices: Tensor, *, clip_limit: float | Tensor = 7.0, tiles: int = 8) -> Tensor:
    """Equalise every slice by itself, on the device where the slices are.

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994;
    the details (padding, clipping, rounding) are those of OpenCV's CLAHE, to the last grey level
    but one.

    Parameters
    ----------
    slices : Tensor
        uint8 (B, H, W).
    clip_limit : float or Tensor
        Highest count of a grey level in a tile, as a multiple of the mean count; one for all, or
        (B,).
    tiles : int
        Tiles along each axis.

    Returns
    -------
    Tensor
        uint8 (B, H, W).

    Examples
    --------
    >>> ramp = (torch.arange(64 * 64) // 64).to(torch.uint8).view(1, 64, 64)
    >>> equal = equalise_slices(ramp)
    >>> tuple(equal.shape), int(equal.max()) > int(ramp.max())
    ((1, 64, 64), True)
    """
    tables, height, width = _tables(_pad(slices, tiles), tiles, clip_limit)
    top, bottom, share_y = _neighbours(slices.shape[1], height, tiles, slices.device)
    left, right, share_x = _neighbours(slices.shape[2], width, tiles, slices.device)
    share_y, share_x = share_y[:, None], share_x[None, :]
    starts = torch.arange(len(slices), dtype=torch.int32, device=slices.device) * tiles**2 * GREYS
    greys = slices.int() + starts[:, None, None]

    def look_up(row: Tensor, column: Tensor) -> Tensor:
        places = greys + ((row[:, None] * tiles + column) * GREYS).int()
        return tables.index_select(0, places.flatten()).view(slices.shape)

    upper = look_up(top, left) * (1 - share_x) + look_up(top, right) * share_x
    lower = look_up(bottom, left) * (1 - share_x) + look_up(bottom, right) * share_x
    return (upper * (1 - share_y) + lower * share_y).round().to(torch.uint8)


def _pad(slices: Tensor, tiles: int) -> Tensor:
    """Mirror at the bottom and the right until the tiles fit."""
    height, width = slices.shape[1:]
    if height % tiles == 0 and width % tiles == 0:
        return slices
    rows, columns = tiles - height % tiles, tiles - width % tiles
    if min(height, width) <= tiles:  # too small to mirror without the edge itself
        slices = torch.cat([slices, slices.flip(1)[:, :rows]], dim=1)
        return torch.cat([slices, slices.flip(2)[:, :, :columns]], dim=2)
    return F.pad(slices[:, None].float(), (0, columns, 0, rows), mode="reflect")[:, 0].byte()


def _tables(padded: Tensor, tiles: int, clip_limit: float | Tensor) -> tuple[Tensor, int, int]:
    """Return the new grey level for each slice, tile and old grey level, and a tile's size.

    The levels are float32 (B * T * T * 256,).
    """
    count, height, width = len(padded), padded.shape[1] // tiles, padded.shape[2] // tiles
    blocks = padded.view(count, tiles, height, tiles, width).transpose(2, 3)
    greys = blocks.reshape(count * tiles**2, height * width).long()
    counts = greys.new_zeros(len(greys), GREYS)
    counts.scatter_add_(1, greys, torch.ones_like(greys))
    # float64 on the CPU: a GPU by Apple has no such numbers.
    if isinstance(clip_limit, Tensor):
        clip_limit = clip_limit.cpu()
    limits = torch.as_tensor(clip_limit, dtype=torch.float64).expand(count)
    limit = (limits * (height * width / GREYS)).long().clamp(min=1).to(padded.device)
    limit = limit.repeat_interleave(tiles**2)[:, None]
    excess = (counts - limit).clamp(min=0).sum(dim=1, keepdim=True)
    counts = torch.minimum(counts, limit) + excess // GREYS
    # What is left goes to every n-th grey level, one each.
    rest = excess % GREYS
    step = (GREYS // rest.clamp(min=1)).clamp(min=1)
    level = torch.arange(GREYS, device=padded.device)
    counts = counts + ((level % step == 0) & (level < rest * step)).long()
    levels = (counts.cumsum(dim=1).float() * ((GREYS - 1) / (height * width))).round()
    return levels.clamp(0, GREYS - 1).flatten(), height, width


def _neighbours(
    length: int, tile: int, tiles: int, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """Return for each pixel the tiles before and behind it, and the share of the latter."""
    place = torch.arange(length, device=device) / tile - 0.5
    before = place.floor()
    first = before.long()
    return first.clamp(0, tiles - 1), (first + 1).clamp(0, tiles - 1), place - before
