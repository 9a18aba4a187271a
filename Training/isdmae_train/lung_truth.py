"""Lung truth by a classical method: no network, so that a network can learn from it.

After Hu, Hoffman, Reinhardt (IEEE TMI 20:490, 2001): threshold the air inside the body, take the
airways out by region growing, part left from right, then close vessels and dense lesions in.
Measures are in millimetres and HU; arrays are (k, j, i) in LPS order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from isdmae.airway import (
    AirwayConfig,
    Mask,
    Spacing,
    components,
    dilate,
    distance_mm,
    find_airway,
    smooth,
)
from isdmae.errors import InputError
from isdmae.itk import LEAST_SMOOTHED
from isdmae.labels import LEFT_LUNG, RIGHT_LUNG
from isdmae.volume import Volume, to_lps_order

REPEATED_MM = 75.0
"""The outer slices of a stack of fewer than four are repeated so far to either side: balls find
tissue there to close, and a section of 10 cm² is as large as the smallest lung."""


@dataclass(frozen=True, kw_only=True)
class LungTruthConfig:
    """Thresholds and radii of the method."""

    air_hu: float = -400.0
    """Half way between inflated lung and soft tissue: the lung's border."""
    airway: AirwayConfig = AirwayConfig(thresholds_hu=(-970.0, -950.0, -930.0, -910.0, -890.0))
    """How the airways are found that are taken out."""
    airway_wall_mm: float = 2.5
    smallest_lung_ml: float = 150.0
    vessel_mm: float = 5.0
    """Closing radius for vessels and hilar notches, everywhere."""
    pleura_mm: float = 14.0
    """Closing radius for lesions at the chest wall; not used towards the mediastinum. A lesion at
    the wall that is wider than twice the radius stays out."""
    mediastinum_mm: float = 45.0
    """Closer than this to the other lung is mediastinum."""
    hole_mm2: float = 200.0
    """Cross-section of the widest vessel that is filled in where a slice's lung goes all round it.
    Larger islands, such as the dome of the diaphragm, are no lung."""
    densest_hu: float = 200.0
    """Denser voxels are bone and are never closed in."""


def lung_truth(ct: Volume, config: LungTruthConfig | None = None) -> Volume:
    """Segment both lungs of a CT.

    Parameters
    ----------
    ct : Volume
        Whole chest in HU, or one to three axial slices of it; both lungs inflated at least in part.
    config : LungTruthConfig, optional
        Thresholds and radii.

    Returns
    -------
    Volume
        uint8 on the grid of ``ct``: 1 = left lung, 2 = right lung; vessels, nodules and dense
        lesions inside the lungs belong to them, trachea and main bronchi do not.

    Raises
    ------
    InputError
        ``no-lungs`` where two lungs cannot be found.
    """
    config = config or LungTruthConfig()
    turned, order = to_lps_order(ct)
    rim = _rim(turned)
    hu = smooth(np.pad(turned.array, rim, "edge"), turned.spacing_mm)
    air = inner_air(hu < config.air_hu)
    airway = find_airway(hu, air, turned.spacing_mm, config.airway)
    reach = dilate(airway, config.airway_wall_mm, turned.spacing_mm)
    left, right = part_lungs(air & ~reach, turned, config)
    labels = close_lungs(left, right, hu, airway, turned.spacing_mm, config)
    inside = tuple(
        slice(before, before + length)
        for (before, _), length in zip(rim, turned.shape, strict=True)
    )
    return ct.with_array(np.ascontiguousarray(order.undo(labels[inside])))


def _rim(ct: Volume) -> list[tuple[int, int]]:
    """Return how often the first and the last voxel of each axis (k, j, i) are repeated."""
    lengths = zip(ct.shape, reversed(ct.spacing_mm), strict=True)
    return [
        (int(np.ceil(REPEATED_MM / size)) + 1 if length < LEAST_SMOOTHED else 0,) * 2
        for length, size in lengths
    ]


def inner_air(air: Mask) -> Mask:
    """Drop the air that reaches the side faces of the volume: the room, not the body."""
    numbers, _ = components(air)
    faces = (numbers[:, 0], numbers[:, -1], numbers[:, :, 0], numbers[:, :, -1])
    outside = np.unique(np.concatenate([face.ravel() for face in faces]))
    result: Mask = air & ~np.isin(numbers, outside)
    return result


def close(mask: Mask, radius_mm: float, spacing: Spacing) -> Mask:
    """Close ``mask``, bool (K, J, I), with a ball; only its box and a rim are computed.

    ``spacing`` is that of x, y and z in mm, as everywhere here.
    """
    box = _box(mask, [int(np.ceil(radius_mm / size)) + 2 for size in reversed(spacing)])
    rim = [(int(np.ceil(radius_mm / size)) + 2,) * 2 for size in reversed(spacing)]
    inside = tuple(slice(before, -after) for before, after in rim)
    padded = np.pad(mask[box], rim)
    grown = distance_mm(padded, spacing) <= radius_mm
    result = mask.copy()
    result[box] |= (distance_mm(~grown, spacing) > radius_mm)[inside]
    return result


def _box(mask: Mask, margin: list[int]) -> tuple[slice, ...]:
    box = []
    for axis, extra in enumerate(margin):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(mask.any(axis=others))
        box.append(slice(max(0, int(used[0]) - extra), int(used[-1]) + 1 + extra))
    return tuple(box)


def part_lungs(air: Mask, ct: Volume, config: LungTruthConfig) -> tuple[Mask, Mask]:
    """Return (left, right): two large components, cut apart where they touch."""
    spacing = ct.spacing_mm
    smallest = config.smallest_lung_ml / ct.voxel_ml
    depth = -distance_mm(air, spacing)
    for radius in (0.0, 1.0, 2.0, 3.0, 4.5, 6.0, 8.0, 10.0):
        # The outermost voxels of a mask have the depth 0: they are cut off for a radius only.
        numbers, sizes = components(air & (depth > radius) if radius else air)
        if len(sizes) > 2 and sizes[2] > smallest and sizes[2] > 0.2 * sizes[1]:
            break
    else:
        raise InputError("no-lungs", "Two lungs cannot be told apart.", "Give a labelmap.")
    markers = np.where(numbers <= 2, numbers, 0).astype(np.uint8)
    parts = markers if radius == 0 else _flood(markers, air, depth)
    masks = [parts == 1, parts == 2]
    masks.sort(key=lambda mask: float(np.nonzero(mask.any(axis=(0, 1)))[0].mean()))
    return masks[1], masks[0]


def _flood(
    markers: npt.NDArray[np.uint8], air: Mask, depth: npt.NDArray[np.float32]
) -> npt.NDArray[np.uint8]:
    """Give every voxel of ``air`` that hangs on a marker to it, cut along the thinnest places."""
    height = sitk.GetImageFromArray(np.where(air, -depth, 1000).astype(np.float32))
    flooded = sitk.MorphologicalWatershedFromMarkers(
        height, sitk.GetImageFromArray(markers), markWatershedLine=False
    )
    parts = sitk.GetArrayFromImage(flooded)
    numbers, _ = components(air)
    hanging = np.isin(numbers, np.unique(numbers[markers > 0]))
    return np.where(hanging, parts, 0).astype(np.uint8)


def close_lungs(
    left: Mask,
    right: Mask,
    hu: npt.NDArray[np.float32],
    airway: Mask,
    spacing: Spacing,
    config: LungTruthConfig,
) -> npt.NDArray[np.uint8]:
    """Close vessels and lesions into each lung and return the labels."""
    labels = np.zeros(left.shape, dtype=np.uint8)
    central = dilate(_large_airway(airway, spacing), config.airway_wall_mm, spacing)
    for mask, other, label in ((left, right, LEFT_LUNG), (right, left, RIGHT_LUNG)):
        closed = close(mask, config.vessel_mm, spacing)
        at_wall = close(mask, config.pleura_mm, spacing)
        at_wall &= distance_mm(other, spacing) > config.mediastinum_mm
        closed |= _lesions_at_wall(at_wall & ~closed, spacing)
        closed &= (hu < config.densest_hu) & ~central
        closed = fill_holes(closed | mask, config.hole_mm2 / (spacing[0] * spacing[1]))
        labels[closed & (labels == 0)] = label.value
    return labels


def _lesions_at_wall(added: Mask, spacing: Spacing) -> Mask:
    """Keep only the thick lumps of what the large closing added; the thin rest is chest wall."""
    if not added.any():
        return added
    core = distance_mm(added, spacing) < -2.5
    numbers, _ = components(added)
    return np.isin(numbers, np.unique(numbers[core])) & added


def _large_airway(airway: Mask, spacing: Spacing) -> Mask:
    """Return trachea and main bronchi: the airway where it is at least about 7 mm wide."""
    if not airway.any():
        return airway
    core = distance_mm(airway, spacing) < -3.0
    return dilate(core, 4.0, spacing) & airway if core.any() else core


def fill_holes(mask: Mask, widest: float) -> Mask:
    """Fill holes of a bool mask (K, J, I) in 3D, and in each axial slice those of few pixels.

    ``widest``: the most pixels of such a hole in a slice; larger ones stay.
    """
    filled = sitk.GetArrayFromImage(
        sitk.BinaryFillhole(sitk.GetImageFromArray(mask.astype(np.uint8)))
    ).astype(bool)
    for k in np.flatnonzero(filled.any(axis=(1, 2))):
        image = sitk.GetImageFromArray(filled[k].astype(np.uint8))
        holes = sitk.GetArrayFromImage(sitk.BinaryFillhole(image)).astype(bool) & ~filled[k]
        numbers, sizes = components(holes[None])
        filled[k] |= holes & (sizes <= widest)[numbers[0]]
    result: Mask = filled
    return result
