"""Training slices for 2D networks: alone, between neighbours, or cut along other planes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from isdmae.grids import neighbour_indices
from isdmae.preprocess import AIR_HU, PreprocessConfig
from isdmae.views import AXES, THICKEST_STEP, View
from isdmae.volume import Array

from .augment import augment_picture, augment_slice
from .augment_volume import change_values, draw_pose, warp_labels, warp_slices
from .config.data import DataConfig
from .data import Scans
from .failures import naming

Random = np.random.Generator


class SliceDataset(Dataset[dict[str, object]]):
    """Endless augmented slices: item ``index`` depends on the seed and the index alone.

    So a run that resumes at step n sees what it would have seen, whatever the workers did. Slices
    with neighbours, and those of other planes than the axial one, go through
    `isdmae_train.augment_volume`, which paints no lesions. Whatever goes wrong with an item is an
    `IsdmaeError` that names the scan.
    """

    def __init__(
        self,
        config: DataConfig,
        preprocess: PreprocessConfig,
        *,
        seed: int,
        labels: tuple[str, ...] = (),
    ) -> None:
        """Open the scans; errors as in `isdmae_train.data.Scans`."""
        self.config, self.preprocess, self.seed = config, preprocess, seed
        self.scans = Scans(config, preprocess, labels)
        self._spans: dict[tuple[int, int], tuple[int, int] | None] = {}

    def __getitem__(self, index: int) -> dict[str, object]:
        random = np.random.default_rng([self.seed, index])
        scan = self.scans.draw(random)
        with naming(self.scans.entries[scan].id):
            return self._item(scan, random)

    def _item(self, scan: int, random: Random) -> dict[str, object]:
        plane = self._plane(scan, random)
        k = self._slice(scan, AXES[plane], random)
        if plane != "axial" or self.preprocess.neighbours:
            image, labels, is_hu = self._stack(scan, plane, k, random)
        else:
            image, labels, is_hu = self._alone(scan, k, random)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image)),
            "is_hu": is_hu,
            "label": torch.from_numpy(self.scans.roles[scan].classes[labels].astype(np.int64)),
            "case": f"{self.scans.entries[scan].id}[{k}]",
        }

    def _alone(
        self, scan: int, k: int, random: Random
    ) -> tuple[Array, npt.NDArray[np.uint8], bool]:
        """Return one axial slice (1, H, W), its labels (H, W), and whether it is in HU."""
        entry, volume, truth = self.scans.opened(scan)
        roles, size, change = self.scans.roles[scan], self.config.size, self.config.augment
        labels = np.zeros(volume.shape[1:], np.uint8) if truth is None else np.array(truth[k])
        if entry.is_hu:
            thickness = int(random.integers(1, change.slab + 1))
            start = max(0, k - thickness // 2)
            slab = volume[start : start + thickness].astype(np.float32).mean(axis=0)
            image, labels, is_hu = augment_slice(slab, labels, size, change, random, roles)
            return image[None], labels, is_hu
        picture = volume[k].astype(np.float32) / np.float32(255)
        middle = self.preprocess.middle
        image, labels = augment_picture(picture, labels, size, change, random, roles, middle=middle)
        return image[None], labels, False

    def _stack(
        self, scan: int, plane: View, k: int, random: Random
    ) -> tuple[Array, npt.NDArray[np.uint8], bool]:
        """Return a slice of any plane between its neighbours (N, H, W), otherwise as `_alone`."""
        entry, volume, truth = self.scans.opened(scan)
        size, change = self.config.size, self.config.augment
        axis, count = AXES[plane], volume.shape[AXES[plane]]
        spacing = self._slice_distance(scan) if axis == 0 else self.preprocess.in_plane_spacing_mm
        around = neighbour_indices(k, count, self.preprocess, spacing if entry.is_hu else None)
        slices = np.moveaxis(np.asarray(np.take(volume, around, axis=axis)), axis, 0)
        fit = 1.0 if entry.is_hu else size / (self.preprocess.middle or max(slices.shape[1:]))
        pose = draw_pose(change, random, picture=not entry.is_hu, fit=fit)
        if axis:  # rows run along the body, from slice to slice of the scan
            rows = self._slice_distance(scan) / self.preprocess.in_plane_spacing_mm
            pose = replace(pose, plane=pose.plane @ np.diag([1.0, rows]))
        if plane == "sagittal":  # its mirror image changes front and back, not left and right
            pose = replace(pose, mirrored=False)
        middle = (np.array(slices.shape[1:]) - 1) / 2
        move = np.linalg.solve(pose.plane, random.uniform(-1, 1, 2) * change.shift * size)
        centre, frame = (middle[0] - move[1], middle[1] - move[0]), (size, size)
        image = warp_slices(slices, pose, centre, frame, AIR_HU if entry.is_hu else 0.0)
        labels = np.zeros((1, size, size), np.uint8)
        if truth is not None:
            one = np.take(truth, [k], axis=axis)
            labels = warp_labels(
                np.moveaxis(one, axis, 0), pose, centre, frame, self.scans.roles[scan]
            )
        if not entry.is_hu:
            image /= np.float32(255)
        image, labels, is_hu = change_values(image, labels, change, random, is_hu=entry.is_hu)
        return image, labels[0], is_hu

    def _plane(self, scan: int, random: Random) -> View:
        """Draw a plane; thick slices and pictures have the axial one only."""
        planes = self.config.planes
        thick = self._slice_distance(scan) > THICKEST_STEP * self.preprocess.in_plane_spacing_mm
        if planes == ("axial",) or not self.scans.entries[scan].is_hu or thick:
            return "axial"
        return planes[int(random.integers(len(planes)))]

    def _slice_distance(self, scan: int) -> float:
        return self.scans.entries[scan].spacing_mm[2]

    def _slice(self, scan: int, axis: int, random: Random) -> int:
        """Draw a slice: one with a label, any, or one about the lower end of the labels."""
        start, stop = self._span(scan, axis, random)
        usable = self.scans.usable[scan] if axis == 0 else None
        if usable is None:
            return int(random.integers(start, stop))
        within = usable[(usable >= start) & (usable < stop)]
        return int(random.choice(within if len(within) else usable))

    def _span(self, scan: int, axis: int, random: Random) -> tuple[int, int]:
        count, span = self.scans.images[scan].shape[axis], self._labelled_span(scan, axis)
        place = random.random()
        if span is None or place < self.config.any_slice:
            return 0, count
        if axis == 0 and place < self.config.any_slice + self.config.low_slice:
            return _lower_end(span, count)
        return span

    def _labelled_span(self, scan: int, axis: int) -> tuple[int, int] | None:
        """Return first and one past last slice with a usable label, None without any."""
        if (scan, axis) not in self._spans:
            truth, usable = self.scans.truths[scan], self.scans.usable[scan]
            used = np.zeros(0, np.int64)
            if truth is not None:
                others = tuple(other for other in range(3) if other != axis)
                found = np.asarray(truth).any(axis=others)
                if usable is not None and axis == 0:
                    found[np.setdiff1d(np.arange(len(found)), usable)] = False
                used = np.flatnonzero(found)
            span = (int(used[0]), int(used[-1]) + 1) if len(used) else None
            self._spans[scan, axis] = span
        return self._spans[scan, axis]


def _lower_end(span: tuple[int, int], count: int) -> tuple[int, int]:
    """Return the lowest 30 % of ``span`` (k grows to superior) and half as much below it."""
    length = span[1] - span[0]
    return max(0, span[0] - round(0.15 * length)), min(count, span[0] + max(1, round(0.3 * length)))
