"""Trachea and main bronchi in a CT by a classical method: region growing, no network.

After Hu, Hoffman, Reinhardt (IEEE TMI 20:490, 2001): the air of the trachea is dark and round, and
grows into its branches with rising thresholds until it breaks through a wall into the lung.
Measures are in millimetres and HU; arrays are (k, j, i) in LPS order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from .itk import LEAST_SMOOTHED
from .parts import bounding_box
from .volume import Array, Volume

Mask = npt.NDArray[np.bool_]
Float = npt.NDArray[np.float32]
Spacing = tuple[float, float, float]
Index = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class AirwayConfig:
    """Thresholds and sizes of the method."""

    thresholds_hu: tuple[float, ...] = (-970.0, -950.0, -930.0, -910.0, -890.0, -850.0)
    """Tried lowest first; the last one before a leak is used."""
    most_ml: float = 90.0
    """Airways larger than this have leaked into the lung."""
    least_ml: float = 3.0
    """Less than this is no trachea: a bubble in the oesophagus, a piece of a bronchus."""
    section_mm2: tuple[float, float] = (60.0, 700.0)
    """Cross-section of a trachea."""
    off_centre_mm: float = 50.0
    """A trachea is nearer than this to the middle of the chest, from left to right."""
    seed_hu: float = -700.0
    """Air in which a trachea is looked for."""
    rim_hu: float = -500.0
    """Half way between air and soft tissue: the border of the lumen."""
    rim_pixels: float = 1.5
    """How far from what has grown the border is looked for."""
    wide_mm: float = 2.0
    """A ball of more than this radius fits into a main bronchus, rim included, where the labels of
    the lungs have swallowed it; thinner ones stay with the lung."""
    island_ml: float = 1.0
    """Smaller pieces, bronchi in gaps of a lung's label, are left out."""
    above_lungs_mm: float = 40.0
    """How far above the lungs a trachea is followed: about to its upper end."""

    def __post_init__(self) -> None:
        if not self.thresholds_hu or list(self.thresholds_hu) != sorted(self.thresholds_hu):
            raise ValueError("thresholds_hu must rise")
        if not 0 <= self.least_ml < self.most_ml:
            raise ValueError("least_ml must lie below most_ml")


def label_trachea(ct: Volume, lungs: Array, config: AirwayConfig | None = None) -> Mask | None:
    """Find the air of trachea and main bronchi.

    That is the air outside the lungs that hangs on the trachea, and where the labels of the lungs
    have swallowed a piece of it, what of that is wide (`AirwayConfig.wide_mm`).

    Parameters
    ----------
    ct : Volume
        In HU, axes in LPS order.
    lungs : numpy.ndarray
        Labels of both lungs (k, j, i), 0 = background.
    config : AirwayConfig, optional
        Thresholds and sizes.

    Returns
    -------
    numpy.ndarray or None
        bool (k, j, i); None where no trachea is found, its air runs into the lungs at once, or
        the lungs fill fewer than four slices, rows or columns.

    Examples
    --------
    >>> from isdmae.phantom import PhantomConfig, make_phantom
    >>> chest = make_phantom(PhantomConfig(shape=(48, 96, 112), spacing_mm=(3.2, 3.2, 6.4)))
    >>> trachea = label_trachea(chest.ct, chest.lungs.array)
    >>> 20 < float(trachea.sum()) * chest.ct.voxel_ml < 60
    True
    """
    config = config or AirwayConfig()
    chest = bounding_box(lungs)
    if chest is None:
        return None
    above = int(np.ceil(config.above_lungs_mm / ct.spacing_mm[2]))
    box = (slice(chest[0].start, chest[0].stop + above), *chest[1:])
    part = ct.array[box]
    if min(part.shape) < LEAST_SMOOTHED:
        return None
    hu = smooth(part, ct.spacing_mm)
    tree = _trachea_tree(hu, ct.spacing_mm, config)
    if tree is None:
        return None
    lumen = _large_lumen(tree, hu, lungs[box] > 0, ct.spacing_mm, config)
    if lumen.sum() * ct.voxel_ml < config.least_ml:
        return None
    found = np.zeros(ct.shape, dtype=bool)
    found[box] = lumen
    return found


def find_airway(hu: Float, air: Mask, spacing: Spacing, config: AirwayConfig) -> Mask:
    """Grow trachea and bronchi from the top with the highest threshold that does not leak.

    Parameters
    ----------
    hu : numpy.ndarray
        float32 (k, j, i).
    air : numpy.ndarray
        bool (k, j, i): where to look, without the room's air.
    spacing : tuple of float
        (i, j, k) in mm.
    config : AirwayConfig
        Thresholds and sizes.

    Returns
    -------
    numpy.ndarray
        bool (k, j, i), empty where there is no trachea.
    """
    seed = next(_seeds(air, spacing, config), None)
    if seed is None:
        return np.zeros(air.shape, dtype=bool)
    masked = np.where(air, hu, 0).astype(np.float32)
    return _grow(sitk.GetImageFromArray(masked), seed, spacing, config)[0]


def _trachea_tree(hu: Float, spacing: Spacing, config: AirwayConfig) -> Mask | None:
    """Grow from the top down until something is as large as a trachea; None where it leaks."""
    least = config.least_ml * 1000 / float(np.prod(spacing))
    image = sitk.GetImageFromArray(hu)
    seen = np.zeros(hu.shape, dtype=bool)
    for seed in _seeds(hu < config.seed_hu, spacing, config):
        if seen[seed[::-1]]:
            continue
        tree, leaked = _grow(image, seed, spacing, config)
        if tree.sum() >= least:
            return tree
        if leaked:
            return None
        seen |= tree  # a bubble, such as in the oesophagus
    return None


def _seeds(air: Mask, spacing: Spacing, config: AirwayConfig) -> Iterator[Index]:
    """Yield (i, j, k) of round air in the upper half, top slice first, most central first."""
    area = spacing[0] * spacing[1]
    for k in range(len(air) - 1, len(air) // 2, -1):
        numbers, sizes = components(air[k][None])
        candidates = []
        for number in range(1, len(sizes)):
            if not config.section_mm2[0] <= sizes[number] * area <= config.section_mm2[1]:
                continue
            rows, columns = np.nonzero(numbers[0] == number)
            round_ = sizes[number] / (np.ptp(rows) + 1) / (np.ptp(columns) + 1) > 0.55
            off_centre_mm = abs(columns.mean() - air.shape[2] / 2) * spacing[0]
            central = off_centre_mm < config.off_centre_mm
            if round_ and central and not _at_border(rows, columns, air):
                middle = int(np.argmin((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2))
                candidates.append((off_centre_mm, int(columns[middle]), int(rows[middle])))
        for _, i, j in sorted(candidates):
            yield i, j, k


def _at_border(rows: Array, columns: Array, air: Mask) -> bool:
    _, height, width = air.shape
    return bool(
        rows.min() == 0
        or columns.min() == 0
        or rows.max() == height - 1
        or columns.max() == width - 1
    )


def _grow(
    image: sitk.Image, seed: Index, spacing: Spacing, config: AirwayConfig
) -> tuple[Mask, bool]:
    """Return the largest tree before a leak, and whether a threshold leaked."""
    voxel_ml = float(np.prod(spacing)) / 1000
    best: Mask = np.zeros(image.GetSize()[::-1], dtype=bool)
    for threshold in config.thresholds_hu:
        grown = sitk.ConnectedThreshold(image, [seed], lower=-5000, upper=threshold)
        tree = sitk.GetArrayFromImage(grown).astype(bool)
        if tree.sum() * voxel_ml > config.most_ml:
            return best, True
        best = tree
    return best, False


def _large_lumen(
    tree: Mask, hu: Float, lungs: Mask, spacing: Spacing, config: AirwayConfig
) -> Mask:
    """Return the tree grown to the border of the lumen, without its thin branches in the lungs."""
    result = np.zeros(tree.shape, dtype=bool)
    spread = bounding_box(tree)
    if spread is None:
        return result
    margin = 1 + int(np.ceil(config.rim_pixels))
    box = tuple(slice(max(0, part.start - margin), part.stop + margin) for part in spread)
    near = dilate(tree[box], config.rim_pixels * max(spacing[:2]), spacing)
    lumen = near & (hu[box] < config.rim_hu)
    core = distance_mm(lumen, spacing) < -config.wide_mm
    lumen &= ~lungs[box] | dilate(core, config.wide_mm + 1.0, spacing)
    numbers, sizes = components(lumen)
    large = sizes * float(np.prod(spacing)) / 1000 >= config.island_ml
    result[box] = lumen & large[numbers]
    return result


def smooth(array: Array, spacing: Spacing) -> Float:
    """Return values (k, j, i) smoothed by a Gaussian of 0.6 mm, float32."""
    image = _image(array.astype(np.float32), spacing)
    result: Float = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, 0.6))
    return result


def _image(array: Array, spacing: Spacing) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    return image


def components(mask: Mask) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Return component numbers by falling size (0 = background) and sizes, index = number."""
    image = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)))
    numbers = sitk.GetArrayFromImage(sitk.RelabelComponent(image)).astype(np.uint32)
    return numbers, np.bincount(numbers.ravel())


def distance_mm(mask: Mask, spacing: Spacing) -> Float:
    """Return the distance to the border of ``mask`` in mm, negative inside."""
    field = sitk.SignedMaurerDistanceMap(
        _image(mask.astype(np.uint8), spacing), squaredDistance=False, useImageSpacing=True
    )
    result: Float = sitk.GetArrayFromImage(field)
    return result


def dilate(mask: Mask, radius_mm: float, spacing: Spacing) -> Mask:
    """Grow ``mask`` by a ball."""
    if not mask.any():
        return mask
    result: Mask = distance_mm(mask, spacing) <= radius_mm
    return result
