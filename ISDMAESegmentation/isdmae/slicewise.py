"""Labels by a 2D network: every axial slice by itself, or between its neighbours.

Shapes: B batch of slices, N a slice and its neighbours, C classes, H W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .compute import LoadedNetwork, Watcher
from .grids import SliceGrid, neighbour_indices, slice_batch
from .preprocess import AIR_HU, hu_to_pictures
from .volume import Array, Volume


def label_slices(
    turned: Volume,
    span: slice,
    network: LoadedNetwork,
    watcher: Watcher,
    *,
    step: int = 1,
    inside: Array | None = None,
    scales: Sequence[float] | None = None,
) -> Array:
    """Label the axial slices ``span`` of a volume in LPS order: uint8 (K, H, W), 0 elsewhere.

    Parameters
    ----------
    turned, span, network, watcher
        See there.
    step : int
        A first pass labels every ``step``-th slice, and no slice is computed that lies between two
        of them that show nothing.
    inside : numpy.ndarray, optional
        uint8 (K, H, W): only slices that show it are computed.
    scales : sequence of float, optional
        How many times larger each of the K slices is to be seen; only those of one scale are
        computed together.
    """
    labels = np.zeros(turned.shape, dtype=np.uint8)
    slices = list(range(span.start, span.stop))
    if inside is not None:
        slices = [k for k in slices if inside[k].any()]
    if scales is not None:
        _label_scaled(turned, slices, scales, network, watcher, labels)
        return labels
    grid = SliceGrid.of(turned, network.info.preprocess, network.info.network.stride)
    if step == 1 or len(slices) < 2 * step:
        _label(turned, slices, grid, network, watcher, labels)
        return labels
    first = slices[step // 2 :: step]
    share = len(first) / len(slices)
    _label(turned, first, grid, network, watcher.part(0.0, share), labels)
    shown = [n for n in range(step // 2, len(slices), step) if labels[slices[n]].any()]
    near = {k for n in shown for k in slices[max(0, n - step + 1) : n + step]}
    rest = sorted(near.difference(first))
    _label(turned, rest, grid, network, watcher.part(share, 1 - share), labels)
    return labels


def _label_scaled(
    turned: Volume,
    slices: Sequence[int],
    scales: Sequence[float],
    network: LoadedNetwork,
    watcher: Watcher,
    labels: Array,
) -> None:
    """Write the labels of some slices, each seen at its own scale."""
    config, stride = network.info.preprocess, network.info.network.stride
    done = 0
    for scale in sorted({scales[k] for k in slices}):
        some = [k for k in slices if scales[k] == scale]
        part = watcher.part(done / len(slices), len(some) / len(slices))
        grid = SliceGrid.of(turned, config, stride, scale=scale)
        _label(turned, some, grid, network, part, labels)
        done += len(some)


def _label(
    turned: Volume,
    slices: Sequence[int],
    grid: SliceGrid,
    network: LoadedNetwork,
    watcher: Watcher,
    labels: Array,
) -> None:
    """Write the labels of some slices."""
    is_hu = turned.is_hu and not network.info.preprocess.ct_as_picture

    def label(start: int, end: int) -> None:
        some = slices[start:end]
        with watcher.watch("prepare slices"):
            images = slice_images(turned, grid, some, network)
        with watcher.watch("network"):
            scores = network.scores(images, is_hu=is_hu)
        with watcher.watch("back to the grid"):
            grid.write_labels(scores, [labels[k] for k in some])

    watcher.batches(network, len(slices), label)


def slice_images(
    turned: Volume, grid: SliceGrid, slices: Sequence[int], network: LoadedNetwork
) -> Tensor:
    """Return the images of ``slices`` as the network takes them: float32 (B, N, H, W).

    They lie on its grid and device, in HU or, where it sees CTs as pictures, in 0..1.
    """
    config = network.info.preprocess
    spacing = turned.spacing_mm[2] if turned.is_hu else None
    around = [neighbour_indices(k, len(turned.array), config, spacing) for k in slices]
    needed = sorted({k for one in around for k in one})
    images = slice_batch(turned, needed).to(network.device.device)
    images = grid.forward(images, AIR_HU if turned.is_hu else 0.0)
    if turned.is_hu and config.ct_as_picture:
        images = hu_to_pictures(images)
    if not config.neighbours:
        return images
    return images[torch.from_numpy(np.searchsorted(needed, around)), 0]
