"""Labels by a 3D network: overlapping cubes, weighted towards their centres.

Only the scores of the cubes that overlap along the body axis are in memory: as soon as no other
cube reaches a slice, its labels are written.

Shapes: K slices of a scan, D H W voxels of the network's grid, d h w of a cube, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import torch
from torch import Tensor

from .compute import LoadedNetwork, Watcher
from .grids import AT_ONCE, VolumeGrid
from .preprocess import hu_to_pictures
from .region import Region
from .volume import Array, Volume

SIGMA = 1 / 8
LEAST_WEIGHT = 1e-3


def label_cubes(
    turned: Volume,
    region: Region | None,
    network: LoadedNetwork,
    watcher: Watcher,
    *,
    overlap: float,
) -> Array:
    """Label a volume in LPS order, or what lies in and about ``region``: uint8 (K, H, W)."""
    labels = np.zeros(turned.shape, dtype=np.uint8)
    box = (slice(0, None),) * 3 if region is None else _with_margin(turned, region, network)
    part = Volume(array=turned.array[box], spacing_mm=turned.spacing_mm, is_hu=turned.is_hu)
    labels[box] = _label_part(part, network, watcher, overlap)
    return labels


def _with_margin(
    turned: Volume, region: Region, network: LoadedNetwork
) -> tuple[slice, slice, slice]:
    """Return the box (k, j, i) of a region and half a cube about it, which the network looks at."""
    config = network.info.preprocess
    grid = VolumeGrid.of(turned, config, network.info.network.stride)
    k, j, i = (
        slice(max(0, part.start - margin), min(length, part.stop + margin))
        for part, length, margin in zip(
            region.box(turned),
            turned.shape,
            (
                -(-size * source // (2 * target))
                for size, source, target in zip(
                    config.roi_size, grid.source, grid.target, strict=True
                )
            ),
            strict=True,
        )
    )
    return k, j, i


def _label_part(part: Volume, network: LoadedNetwork, watcher: Watcher, overlap: float) -> Array:
    config = network.info.preprocess
    with watcher.watch("prepare slices"):
        grid = VolumeGrid.of(part, config, network.info.network.stride, least=config.roi_size)
        image = grid.forward(part)
        if part.is_hu and config.ct_as_picture:
            image = pictures_of(image)
    rows = score_rows(
        image, network, watcher, is_hu=part.is_hu and not config.ct_as_picture, overlap=overlap
    )
    labels = np.zeros(part.shape, dtype=np.uint8)
    kept, first, k = torch.empty(0), 0, 0
    for scores in rows:
        kept = torch.cat([kept, scores], dim=1) if kept.numel() else scores
        ready = first + kept.shape[1]
        with watcher.watch("back to the grid"):
            while (stop := _complete(grid, k, ready)) > k:
                grid.write_labels(kept, first, k, labels[k:stop])
                k = stop
        if k < len(labels):
            start = min(grid.needed(k, k + 1)[0], ready)
            kept, first = kept[:, start - first :].clone(), start
    return labels


def _complete(grid: VolumeGrid, k: int, ready: int) -> int:
    """Return up to which slice of the scan, from ``k`` on, ``ready`` slices of scores suffice."""
    stop = k
    while stop < min(grid.source[0], k + AT_ONCE) and grid.needed(k, stop + 1)[1] <= ready:
        stop += 1
    return stop


def pictures_of(image: Tensor) -> Tensor:
    """Turn every slice of a CT (D, H, W) in HU into a picture, a few at once."""
    parts = [
        hu_to_pictures(image[None, start : start + AT_ONCE])[0]
        for start in range(0, len(image), AT_ONCE)
    ]
    return torch.cat(parts)


def score_rows(
    image: Tensor, network: LoadedNetwork, watcher: Watcher, *, is_hu: bool, overlap: float
) -> Iterator[Tensor]:
    """Score all of an image, slab by slab along D.

    Parameters
    ----------
    image : Tensor
        float32 (D, H, W), at least one cube large.
    network, watcher
        Who computes, who watches.
    is_hu : bool
        Whether the image is in HU.
    overlap : float
        Share of a cube that the next one covers, too; see `window_starts`.

    Yields
    ------
    Tensor
        float32 (C, n, H, W): the scores of the next n slices, each the mean over the cubes that
        hold the voxel, weighted by `gaussian_weights`. All slabs together have D slices.
    """
    size = network.info.preprocess.roi_size
    deep, high, wide = (
        window_starts(length, edge, overlap) for length, edge in zip(image.shape, size, strict=True)
    )
    network.log_plan(len(deep) * len(high) * len(wide), size)
    slab = _Slab(image, network, watcher, is_hu=is_hu)
    for row, z in enumerate(deep):
        places = [(z, y, x) for y, x in product(high, wide)]
        slab.add(places, done=(row / len(deep), (row + 1) / len(deep)))
        yield slab.release((deep[row + 1] if row + 1 < len(deep) else z + size[0]) - z)


class _Slab:
    """Sums of weighted scores (C, d, H, W), as deep as one cube."""

    def __init__(
        self, image: Tensor, network: LoadedNetwork, watcher: Watcher, *, is_hu: bool
    ) -> None:
        self._image, self._network, self._watcher, self._is_hu = image, network, watcher, is_hu
        self._size = network.info.preprocess.roi_size
        self._weights = gaussian_weights(self._size)
        shape = (self._size[0], *image.shape[1:])
        self._total, self._weight = torch.zeros((network.classes, *shape)), torch.zeros(shape)

    def add(self, places: list[tuple[int, int, int]], done: tuple[float, float]) -> None:
        """Add the cubes that begin at ``places``, all at the same depth."""
        d, h, w = self._size

        def work(start: int, end: int) -> None:
            some = places[start:end]
            cubes = [self._image[z : z + d, y : y + h, x : x + w] for z, y, x in some]
            with self._watcher.watch("network"):
                scores = self._network.scores(torch.stack(cubes)[:, None], is_hu=self._is_hu).cpu()
            for (_, y, x), score in zip(some, scores, strict=True):
                self._total[:, :, y : y + h, x : x + w] += self._weights * score
                self._weight[:, y : y + h, x : x + w] += self._weights

        self._watcher.batches(self._network, len(places), work, done=done)

    def release(self, count: int) -> Tensor:
        """Return the means of the first ``count`` slices, and go on by as many."""
        ready = self._total[:, :count] / self._weight[:count]
        for sums, axis in ((self._total, 1), (self._weight, 0)):
            rest = sums.narrow(axis, count, sums.shape[axis] - count).clone()
            sums.zero_()
            sums.narrow(axis, 0, rest.shape[axis]).copy_(rest)
        return ready


def window_starts(length: int, size: int, overlap: float) -> list[int]:
    """Return where windows begin that cover ``length`` evenly and overlap by a share at least.

    Examples
    --------
    >>> window_starts(100, 40, 0.5), window_starts(40, 40, 0.5)
    ([0, 20, 40, 60], [0])
    """
    step = max(1, round(size * (1 - overlap)))
    count = max(0, -(-(length - size) // step))
    return [round(n * (length - size) / count) for n in range(count + 1)] if count else [0]


def gaussian_weights(size: tuple[int, ...]) -> Tensor:
    """Return float32 weights of that size, 1 at the centre and never 0.

    A Gaussian whose deviation is an eighth of each edge (Isensee et al. 2021,
    doi:10.1038/s41592-020-01008-z, supplement).
    """
    weights = torch.ones(())
    for edge in size:
        distance = torch.arange(edge) - (edge - 1) / 2
        weights = weights[..., None] * torch.exp(-(distance**2) / (2 * (SIGMA * edge) ** 2))
    return weights.clamp(min=LEAST_WEIGHT)
