"""Contrast-limited adaptive histogram equalisation of 8-bit slices, as OpenCV computes it.

Public 2D sets of chest CT were made with it, so a CT in HU must go the same way before a network
that learnt from them can read it. OpenCV itself is too large to bring into 3D Slicer.

Shapes: B slices, H W pixels, T tiles along an axis.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
GREYS = 256


def equalise_slices(slices: Bytes, *, clip_limit: float = 7.0, tiles: int = 8) -> Bytes:
    """Equalise every slice by itself.

    Source: Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994;
    the details (padding, clipping, rounding) are those of OpenCV's CLAHE, to the last grey level
    but one.

    Parameters
    ----------
    slices : numpy.ndarray
        uint8 (B, H, W).
    clip_limit : float
        Highest count of a grey level in a tile, as a multiple of the mean count.
    tiles : int
        Tiles along each axis.

    Returns
    -------
    numpy.ndarray
        uint8 (B, H, W).

    Examples
    --------
    >>> ramp = np.arange(64 * 64, dtype=np.uint16).reshape(1, 64, 64) // 64
    >>> equal = equalise_slices(ramp.astype(np.uint8))
    >>> equal.shape, int(equal.max()) > int(ramp.max())
    ((1, 64, 64), True)
    """
    return np.stack([_equalise(image, clip_limit, tiles) for image in slices])


def _equalise(image: Bytes, clip_limit: float, tiles: int) -> Bytes:
    padded = _pad(image, tiles)
    height, width = (length // tiles for length in padded.shape)
    tables = _tables(padded, tiles, clip_limit)
    top, bottom, share_y = _neighbours(image.shape[0], height, tiles)
    left, right, share_x = _neighbours(image.shape[1], width, tiles)
    share_y, share_x = share_y[:, None], share_x[None, :]
    rows = [row[:, None] for row in (top, bottom)]
    upper, lower = (
        tables[row, left[None, :], image] * (1 - share_x)
        + tables[row, right[None, :], image] * share_x
        for row in rows
    )
    mixed = upper * (1 - share_y) + lower * share_y
    result: Bytes = np.rint(mixed).astype(np.uint8)
    return result


def _pad(image: Bytes, tiles: int) -> Bytes:
    """Mirror at the bottom and the right until the tiles fit."""
    if image.shape[0] % tiles == 0 and image.shape[1] % tiles == 0:
        return image
    rows, columns = (tiles - length % tiles for length in image.shape)
    frame = ((0, rows), (0, columns))
    if min(image.shape) <= tiles:
        return np.pad(image, frame, mode="symmetric")
    return np.pad(image, frame, mode="reflect")


def _tables(padded: Bytes, tiles: int, clip_limit: float) -> npt.NDArray[np.float32]:
    """Return the new grey level for each tile and old grey level: float32 (T, T, 256)."""
    height, width = (length // tiles for length in padded.shape)
    blocks = padded.reshape(tiles, height, tiles, width).swapaxes(1, 2).reshape(tiles**2, -1)
    offsets = np.arange(tiles**2, dtype=np.int64)[:, None] * GREYS
    counts = np.bincount((blocks + offsets).ravel(), minlength=tiles**2 * GREYS)
    counts = counts.reshape(tiles**2, GREYS)
    limit = max(int(clip_limit * blocks.shape[1] / GREYS), 1)
    excess = np.maximum(counts - limit, 0).sum(axis=1)
    counts = np.minimum(counts, limit) + (excess // GREYS)[:, None]
    for tile, rest in enumerate(excess % GREYS):
        if rest:
            counts[tile, : rest * max(GREYS // rest, 1) : max(GREYS // rest, 1)] += 1
    scale = np.float32((GREYS - 1) / blocks.shape[1])
    levels = np.rint(counts.cumsum(axis=1).astype(np.float32) * scale).clip(0, GREYS - 1)
    tables: npt.NDArray[np.float32] = levels.astype(np.float32).reshape(tiles, tiles, GREYS)
    return tables


def _neighbours(
    length: int, tile: int, tiles: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    """Return for each pixel the tiles before and behind it, and the share of the latter."""
    place = np.arange(length, dtype=np.float32) / np.float32(tile) - np.float32(0.5)
    before = np.floor(place).astype(np.int64)
    share = (place - before).astype(np.float32)
    return before.clip(0, tiles - 1), (before + 1).clip(0, tiles - 1), share
