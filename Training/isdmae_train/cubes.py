"""Training cubes for 3D networks, and the choice of the data set of a run."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from isdmae.preprocess import AIR_HU, PreprocessConfig

from .augment_batch import loader_config
from .augment_volume import Pose, change_values, cut_image, cut_labels, draw_pose, nearest_slices
from .config.data import DataConfig
from .data import Scans
from .failures import naming
from .slices import SliceDataset

MOST_PLACES = 20_000
"""Labelled voxels of a scan that are remembered to draw cubes about."""
MOST_TRIES = 100
"""To place a cube so that it shows a slice whose labels may be used."""

Centre = tuple[float, float, float]


def dataset_for(
    data: DataConfig,
    preprocess: PreprocessConfig,
    *,
    spatial_dims: int,
    seed: int,
    labels: tuple[str, ...] = (),
) -> SliceDataset | CubeDataset:
    """Return the training items of a run: slices for a 2D network, cubes for a 3D one.

    Raises
    ------
    InputError
        ``no-training-data`` where no scan has the labels; ``cache-differs`` where the cache was
        made for another pixel size.
    """
    kind = SliceDataset if spatial_dims == 2 else CubeDataset
    return kind(loader_config(data), preprocess, seed=seed, labels=labels)


class CubeDataset(Dataset[dict[str, object]]):
    """Endless augmented cubes: item ``index`` depends on the seed and the index alone.

    CTs are brought to the voxel size of the preprocessing, stacks of pictures to its picture size;
    pictures keep their distance. Where only a share of the labels may be used, ``known`` tells
    which slices of a cube have one. Errors as in `SliceDataset`.
    """

    def __init__(
        self,
        config: DataConfig,
        preprocess: PreprocessConfig,
        *,
        seed: int,
        labels: tuple[str, ...] = (),
    ) -> None:
        """Open the scans; see `dataset_for`."""
        self.config, self.preprocess, self.seed = config, preprocess, seed
        self.scans = Scans(config, preprocess, labels)
        self._places: dict[int, npt.NDArray[np.int64]] = {}

    def __getitem__(self, index: int) -> dict[str, object]:
        random = np.random.default_rng([self.seed, index])
        scan = self.scans.draw(random)
        with naming(self.scans.entries[scan].id):
            return self._item(scan, random)

    def _item(self, scan: int, random: np.random.Generator) -> dict[str, object]:
        entry, volume, truth = self.scans.opened(scan)
        size, change = self.preprocess.roi_size, self.config.augment
        pose, centre, known = self._place(scan, random)
        fill = float(AIR_HU) if entry.is_hu else 0.0
        image = cut_image(volume, pose, centre, size, fill)
        roles = self.scans.roles[scan]
        found = (
            np.zeros(size, np.uint8)
            if truth is None
            else cut_labels(truth, pose, centre, size, roles)
        )
        if not entry.is_hu:
            image /= np.float32(255)
        image, found, is_hu = change_values(image, found, change, random, is_hu=entry.is_hu)
        return {
            "image": torch.from_numpy(np.ascontiguousarray(image, np.float32))[None],
            "is_hu": is_hu,
            "label": torch.from_numpy(roles.classes[found].astype(np.int64)),
            "known": torch.from_numpy(known),
            "case": f"{entry.id}[{', '.join(f'{place:.0f}' for place in centre)}]",
        }

    def _place(
        self, scan: int, random: np.random.Generator
    ) -> tuple[Pose, Centre, npt.NDArray[np.bool_]]:
        """Draw how and where a cube lies, anew while none of its slices may be learnt from.

        A cube whose slices lie further apart than the scan's can step over the few that may.
        """
        for _ in range(MOST_TRIES):
            pose = self._pose(scan, random)
            centre = self._centre(scan, pose, random)
            known = self._known(scan, pose, centre[0])
            if known.any():
                break
        return pose, centre, known

    def _pose(self, scan: int, random: np.random.Generator) -> Pose:
        entry, preprocess = self.scans.entries[scan], self.preprocess
        fit = fit_depth = 1.0
        if not entry.is_hu:
            fit = preprocess.picture_size / max(entry.shape[1:])
        elif preprocess.slice_spacing_mm is not None:
            fit_depth = entry.spacing_mm[2] / preprocess.slice_spacing_mm
        return draw_pose(
            self.config.augment, random, picture=not entry.is_hu, fit=fit, fit_depth=fit_depth
        )

    def _centre(self, scan: int, pose: Pose, random: np.random.Generator) -> Centre:
        """Draw a place: about a labelled voxel, or anywhere; the cube stays inside if it can."""
        shape, size = self.scans.entries[scan].shape, self.preprocess.roi_size
        scale = float(np.sqrt(abs(np.linalg.det(pose.plane))))
        half = np.array(size) / 2 / (abs(pose.depth), scale, scale)
        usable = self.scans.usable[scan]
        if random.random() < self.config.foreground and len(places := self._labelled(scan)):
            centre = random.choice(places) + random.uniform(-0.5, 0.5, size=3) * half
        else:
            centre = random.uniform(-0.5, np.array(shape) - 0.5)
            if usable is not None:
                centre[0] = random.choice(usable) + random.uniform(-0.5, 0.5) * half[0]
        low, high = half - 0.5, np.array(shape) - 0.5 - half
        middle = (np.array(shape) - 1) / 2
        k, y, x = np.where(low < high, np.clip(centre, low, np.maximum(low, high)), middle)
        return float(k), float(y), float(x)

    def _labelled(self, scan: int) -> npt.NDArray[np.int64]:
        """Return (n, 3) voxels that hold a class of the run, on slices that may be used."""
        if scan not in self._places:
            _, _, truth = self.scans.opened(scan)
            places = np.zeros((0, 3), np.int64)
            if truth is not None:
                usable = self.scans.usable[scan]
                slices = np.arange(len(truth)) if usable is None else usable
                found = self.scans.roles[scan].classes[truth[slices]] > 0
                places = np.argwhere(found)
                places[:, 0] = slices[places[:, 0]]
            if len(places) > MOST_PLACES:
                random = np.random.default_rng([self.seed, scan])
                places = random.choice(places, MOST_PLACES, replace=False)
            self._places[scan] = places
        return self._places[scan]

    def _known(self, scan: int, pose: Pose, k: float) -> npt.NDArray[np.bool_]:
        """Return bool (D,): which slices of a cube the run may learn from."""
        usable, depth = self.scans.usable[scan], self.preprocess.roi_size[0]
        if usable is None:
            return np.ones(depth, bool)
        return np.isin(nearest_slices(pose, k, depth), usable)
