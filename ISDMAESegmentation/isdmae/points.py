"""One structure round a given point: cut crops out of a CT, and put their labels back.

A nodule is small and the chest is large; a reader who points at it has done the search. The
network sees axial crops of the scan's own pixels with the point in the middle, each scaled to its
own range, as the crops of LIDC nodules are that it learnt from.

Shapes: K slices, N crop edge in pixels; arrays (k, j, i) in LPS order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .errors import InputError
from .volume import Array, Volume

Point = tuple[float, float, float]
REACH_MM = 25.0
"""Crops are cut this far above and below the point: over the largest nodule's radius (15 mm)."""
NEAR_MM = 6.0
"""A structure that stays farther than this from the point is another one."""
AIR_HU = -1024.0


@dataclass(frozen=True, kw_only=True)
class Crops:
    """The crops of one point and where they lie.

    ``pictures`` is uint8 (K, N, N), ``first`` the volume's index (k, j, i) of its first voxel
    (negative where the crop reaches over the border), ``centre`` the point's index.
    """

    pictures: Array
    first: tuple[int, int, int]
    centre: tuple[int, int, int]


def index_of(point_mm: Point, volume: Volume) -> tuple[int, int, int]:
    """Return the voxel (k, j, i) of ``volume`` that holds an LPS point.

    Raises
    ------
    InputError
        ``point-outside`` where none does.
    """
    to_index = np.linalg.inv(volume.affine)
    ijk = np.rint(to_index[:3, :3] @ np.asarray(point_mm) + to_index[:3, 3]).astype(int)
    k, j, i = (int(value) for value in ijk[::-1])
    if not all(0 <= n < size for n, size in zip((k, j, i), volume.shape, strict=True)):
        raise InputError(
            "point-outside",
            f"The point {tuple(round(c, 1) for c in point_mm)} (LPS, mm) lies outside the scan.",
            "Place it in a nodule of this scan.",
        )
    return k, j, i


def cut_crops(volume: Volume, point_mm: Point, edge: int) -> Crops:
    """Cut the crops round a point out of an LPS-ordered CT.

    Parameters
    ----------
    volume : Volume
        CT in HU, in LPS order.
    point_mm : tuple of float
        LPS position in mm.
    edge : int
        Crop edge N in pixels.

    Raises
    ------
    InputError
        ``point-outside``.
    """
    centre = index_of(point_mm, volume)
    reach = max(1, round(REACH_MM / volume.spacing_mm[2]))
    first_k, last_k = max(0, centre[0] - reach), min(volume.shape[0], centre[0] + reach + 1)
    first = (first_k, centre[1] - edge // 2, centre[2] - edge // 2)
    size = (last_k - first_k, edge, edge)
    crops = np.full(size, AIR_HU, np.float32)
    inside, outside = _overlap(first, size, volume.shape)
    crops[inside] = volume.array[outside]
    low = crops.min(axis=(1, 2), keepdims=True)
    span = np.maximum(crops.max(axis=(1, 2), keepdims=True) - low, 1.0)
    pictures = np.rint((crops - low) * (255 / span)).astype(np.uint8)
    return Crops(pictures=pictures, first=first, centre=centre)


def _overlap(
    first: tuple[int, ...], size: tuple[int, ...], whole: tuple[int, ...]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Return the common part of a box and an array, as slices of the box and of the array."""
    inside, outside = [], []
    for start, length, limit in zip(first, size, whole, strict=True):
        low, high = max(0, start), min(limit, start + length)
        inside.append(slice(low - start, high - start))
        outside.append(slice(low, high))
    return tuple(inside), tuple(outside)


def paste_nearest(labels: Array, crops: Crops, found: Array, spacing_mm: Point) -> bool:
    """Write the structure at the point into ``labels``, in place; False where there is none.

    Parameters
    ----------
    labels : numpy.ndarray
        uint8 (k, j, i), the whole scan.
    crops : Crops
        Where the crops lie.
    found : numpy.ndarray
        uint8 (K, N, N), the network's labels of the crops.
    spacing_mm : tuple of float
        Voxel size (i, j, k) of the scan.
    """
    part = connected_at(found > 0, _local(crops), spacing_mm)
    if part is None:
        return False
    inside, outside = _overlap(crops.first, found.shape, labels.shape)
    target = labels[outside]
    target[part[inside]] = found[inside][part[inside]]
    return True


def _local(crops: Crops) -> tuple[int, int, int]:
    k, j, i = (c - f for c, f in zip(crops.centre, crops.first, strict=True))
    return k, j, i


def connected_at(mask: Array, centre: tuple[int, int, int], spacing_mm: Point) -> Array | None:
    """Return the connected part of ``mask`` that holds ``centre`` or lies nearest to it.

    None where nothing comes within `NEAR_MM`.
    """
    voxels = np.argwhere(mask)
    if not len(voxels):
        return None
    away = (voxels - centre) * np.asarray(spacing_mm[::-1])
    distance = np.sqrt((away**2).sum(axis=1))
    nearest = int(distance.argmin())
    if distance[nearest] > NEAR_MM:
        return None
    image = sitk.GetImageFromArray(np.ascontiguousarray(mask).astype(np.uint8))
    parts = sitk.GetArrayViewFromImage(sitk.ConnectedComponent(image, True))
    result: Array = parts == parts[tuple(voxels[nearest])]
    return result
