"""Labels by a 2D network: every axial slice by itself, or between its neighbours.

Shapes: B batch of slices, N a slice and its neighbours, C classes, H W pixels.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .compute import LoadedNetwork, Watcher
from .grids import SliceGrid, labels_of, neighbour_indices, slice_batch
from .preprocess import AIR_HU, hu_to_pictures
from .volume import Array, Volume


def label_slices(turned: Volume, span: slice, network: LoadedNetwork, watcher: Watcher) -> Array:
    """Label the axial slices ``span`` of a volume in LPS order: uint8 (K, H, W), 0 elsewhere."""
    config = network.info.preprocess
    grid = SliceGrid.of(turned, config, network.info.network.stride)
    is_hu = turned.is_hu and not config.ct_as_picture
    labels = np.zeros(turned.shape, dtype=np.uint8)

    def label(start: int, end: int) -> None:
        with watcher.watch("prepare slices"):
            images = slice_images(
                turned, grid, range(span.start + start, span.start + end), network
            )
        with watcher.watch("network"):
            scores = network.scores(images, is_hu=is_hu)
        with watcher.watch("back to the grid"):
            labels[span.start + start : span.start + end] = labels_of(grid.back(scores))

    watcher.batches(network, span.stop - span.start, label)
    return labels


def slice_images(turned: Volume, grid: SliceGrid, slices: range, network: LoadedNetwork) -> Tensor:
    """Return the images of ``slices`` as the network takes them: float32 (B, N, H, W).

    They lie on its grid and device, in HU or, where it sees CTs as pictures, in 0..1.
    """
    config = network.info.preprocess
    spacing = turned.spacing_mm[2] if turned.is_hu else None
    around = [neighbour_indices(k, len(turned.array), config, spacing) for k in slices]
    first, last = min(map(min, around)), max(map(max, around))
    images = slice_batch(turned, first, last + 1).to(network.device.device)
    images = grid.forward(images, AIR_HU if turned.is_hu else 0.0)
    if turned.is_hu and config.ct_as_picture:
        images = hu_to_pictures(images)
    return images[torch.tensor(around) - first, 0] if config.neighbours else images
