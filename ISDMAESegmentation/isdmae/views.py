"""Several views by one 2D network: axial, coronal and sagittal slices, their results averaged.

The slices of all views are cut from one isotropic grid of the network's pixel size.

Shapes: K slices of a scan, D H W voxels of the isotropic grid, C classes, B batch of slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from .checks import Notice
from .compute import LoadedNetwork, Watcher
from .grids import AT_ONCE, VolumeGrid, neighbour_indices
from .preprocess import PreprocessConfig
from .volume import Array, Volume

View = Literal["axial", "coronal", "sagittal"]
AXES: dict[View, int] = {"axial": 0, "coronal": 1, "sagittal": 2}
THICKEST_STEP = 2.5
"""Slices may lie this many of the network's pixels apart and still give another view."""


def usable_views(
    turned: Volume, config: PreprocessConfig, wished: Sequence[View]
) -> tuple[tuple[View, ...], list[Notice]]:
    """Return those of the wished views that a volume in LPS order allows, and what is left out."""
    reason = ""
    if not turned.is_hu or config.ct_as_picture:
        reason = "Pictures show axial slices only"
    elif turned.spacing_mm[2] > THICKEST_STEP * config.in_plane_spacing_mm:
        reason = f"The slices are {turned.spacing_mm[2]:.1f} mm apart"
    others = [view for view in wished if view != "axial"]
    if not others or not reason:
        return tuple(wished), []
    notice = Notice(
        "views-left-out",
        f"{reason}, so the {' and the '.join(others)} view were left out.",
        "Use a scan with thinner slices for all views.",
    )
    return ("axial",), [notice]


def label_views(
    turned: Volume, views: Sequence[View], network: LoadedNetwork, watcher: Watcher
) -> Array:
    """Label a CT in LPS order by the mean of its views' probabilities: uint8 (K, H, W)."""
    config = network.info.preprocess
    isotropic = replace(config, slice_spacing_mm=config.in_plane_spacing_mm)
    with watcher.watch("prepare slices"):
        grid = VolumeGrid.of(turned, isotropic, network.info.network.stride)
        image = grid.forward(turned)
    count = sum(grid.target[AXES[view]] for view in views)
    network.log_plan(count, grid.padded[1:])
    total = torch.zeros((network.classes, *grid.padded), dtype=torch.float16)
    for number, view in enumerate(views):
        add_view(image, grid, view, total, network, watcher, number / len(views), len(views))
    labels = np.zeros(turned.shape, dtype=np.uint8)
    with watcher.watch("back to the grid"):
        for start in range(0, len(labels), AT_ONCE):
            stop = min(start + AT_ONCE, len(labels))
            first, last = grid.needed(start, stop)
            scores = total[:, first:last].float()
            grid.write_labels(scores, first, start, labels[start:stop])
    return labels


def add_view(
    image: Tensor,
    grid: VolumeGrid,
    view: View,
    total: Tensor,
    network: LoadedNetwork,
    watcher: Watcher,
    done: float,
    views: int,
) -> None:
    """Add the probabilities of every slice of one view, divided by the number of views.

    ``image`` is (D, H, W) as ``grid`` pads it, ``total`` float16 (C, D, H, W). Rows of coronal and
    sagittal slices run upwards in the patient, columns to the left and to the back. A sagittal
    slice has no mirror image in the same patient, so it is not mirrored.
    """
    axis = AXES[view]
    slices, sums = image.movedim(axis, 0), total.movedim(1 + axis, 1)
    config, count = network.info.preprocess, grid.target[axis]
    spacing = config.in_plane_spacing_mm

    def work(start: int, end: int) -> None:
        around = [neighbour_indices(n, count, config, spacing) for n in range(start, end)]
        with watcher.watch("network"):
            found = network.probabilities(
                slices[torch.tensor(around)], is_hu=True, mirrored=view != "sagittal"
            )
        sums[:, start:end] += (found / views).movedim(1, 0).cpu().half()

    watcher.batches(network, count, work, done=(done, done + 1 / views))
