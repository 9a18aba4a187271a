"""One structure round a given point: cut crops out of a CT, and put their labels back.

A nodule is small and the chest is large; a reader who points at it has done the search. The
network sees axial crops of the scan's own pixels with the point in the middle, each scaled to its
own range, as the crops of LIDC nodules are that it learnt from. Pixels coarser than any of those
are resampled first: the network does not know how large a pixel is, and would take in the chest
wall for a nodule.

Shapes: K slices, N crop edge in pixels; arrays (k, j, i) in LPS order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .errors import InputError
from .volume import Array, Volume

Point = tuple[float, float, float]
Box = tuple[slice, ...]
REACH_MM = 25.0
"""Crops are cut this far above and below the point: over the largest nodule's radius (15 mm)."""
COARSE_MM = 1.0
FINE_MM = 0.7
"""Where a pixel of a scan is larger than the first, its crops have pixels of the second: those of
the LIDC measure 0.46 to 0.98 mm, most of them about 0.7."""
LARGEST_MM = 45.0
"""No nodule that the network learnt from is longer than what it sees of such a crop."""
NEAR_MM = 6.0
"""A structure that stays farther than this from the point is another one."""
NECK = 0.6
GROWTH = 1.1
"""Where a section falls to NECK of the largest and a later one is GROWTH times the smallest again,
another structure begins: a vessel, or the chest wall, on which a nodule hangs."""
AIR_HU = -1024.0


@dataclass(frozen=True, kw_only=True)
class Crops:
    """The crops of one point and where they lie.

    ``pictures`` is uint8 (K, N, N). The voxel ``middle`` (k, j, i) of it holds the point; its
    middle is that of the volume's voxel ``centre``.
    """

    pictures: Array
    centre: tuple[int, int, int]
    middle: tuple[int, int, int]
    spacing_mm: Point
    """Voxel size (i, j, k) of the pictures."""
    zoom: tuple[float, float] = (1.0, 1.0)
    """Their pixels to each of the volume's, along j and i."""


def index_of(point_mm: Point, volume: Volume) -> tuple[int, int, int]:
    """Return the voxel (k, j, i) of ``volume`` that holds an LPS point.

    Raises
    ------
    InputError
        ``point-outside`` where none does.
    """
    to_index = np.linalg.inv(volume.affine)
    ijk = to_index[:3, :3] @ np.asarray(point_mm) + to_index[:3, 3]
    inside = np.all((ijk > -0.5) & (ijk < np.asarray(volume.shape[::-1]) - 0.5))
    if not inside:  # also where the point is not finite
        raise InputError(
            "point-outside",
            f"The point {tuple(round(c, 1) for c in point_mm)} (LPS, mm) lies outside the scan.",
            "Place it in a nodule of this scan.",
        )
    i, j, k = (int(value) for value in np.rint(ijk))
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
    pixel = volume.spacing_mm[:2]
    fine = (FINE_MM, FINE_MM) if max(pixel) > COARSE_MM else pixel
    zoom = (pixel[1] / fine[1], pixel[0] / fine[0])
    before = [math.ceil(edge // 2 / factor) for factor in zoom]
    # Where pixels are resampled, the last one lies between two.
    width = [edge if factor == 1 else 2 * n + 1 for factor, n in zip(zoom, before, strict=True)]
    first = (first_k, centre[1] - before[0], centre[2] - before[1])
    crops = np.full((last_k - first_k, *width), AIR_HU, np.float32)
    inside, outside = _overlap(first, crops.shape, volume.shape)
    crops[inside] = np.maximum(volume.array[outside], AIR_HU)
    for axis, factor in enumerate(zoom, start=1):
        if factor != 1:
            crops = _finer(crops, axis, factor, edge)
    low = crops.min(axis=(1, 2), keepdims=True)
    span = np.maximum(crops.max(axis=(1, 2), keepdims=True) - low, 1.0)
    return Crops(
        pictures=np.rint((crops - low) * (255 / span)).astype(np.uint8),
        centre=centre,
        middle=(centre[0] - first_k, edge // 2, edge // 2),
        spacing_mm=(*fine, volume.spacing_mm[2]),
        zoom=zoom,
    )


def _finer(crops: Array, axis: int, factor: float, edge: int) -> Array:
    """Return ``edge`` pixels along an axis, ``factor`` to each, linearly; the middle stays."""
    places = crops.shape[axis] // 2 + (np.arange(edge) - edge // 2) / factor
    before = np.minimum(places.astype(int), crops.shape[axis] - 2)
    share = (places - before).reshape(-1, *[1] * (2 - axis)).astype(np.float32)
    low, high = crops.take(before, axis), crops.take(before + 1, axis)
    result: Array = low + share * (high - low)
    return result


def _overlap(
    first: tuple[int, ...], size: tuple[int, ...], whole: tuple[int, ...]
) -> tuple[Box, Box]:
    """Return the common part of a box and an array, as slices of the box and of the array."""
    inside, outside = [], []
    for start, length, limit in zip(first, size, whole, strict=True):
        low, high = max(0, start), min(limit, start + length)
        inside.append(slice(low - start, high - start))
        outside.append(slice(low, high))
    return tuple(inside), tuple(outside)


def structure_at(crops: Crops, found: Array) -> Array | None:
    """Return the structure at the point among what the network found in its crops.

    From the section nearest to the point it is followed up and down, slice by slice, as long as a
    section touches the one before and does not begin to grow again (see `NECK`).

    Parameters
    ----------
    crops : Crops
        Where the crops lie.
    found : numpy.ndarray
        uint8 (K, N, N), the network's labels of the crops.

    Returns
    -------
    numpy.ndarray or None
        bool (K, N, N); None where nothing comes within `NEAR_MM`.
    """
    mask = found > 0
    voxels = np.argwhere(mask)
    if not len(voxels):
        return None
    distance = np.linalg.norm((voxels - crops.middle) * np.asarray(crops.spacing_mm[::-1]), axis=1)
    nearest = int(distance.argmin())
    if distance[nearest] > NEAR_MM:
        return None
    k, j, i = voxels[nearest]
    seed = np.zeros(mask.shape[1:], dtype=bool)
    seed[j, i] = True
    part = np.zeros_like(mask)
    part[k] = _touching(mask[k], seed)
    _follow(mask, part, range(k + 1, len(mask)), part[k])
    _follow(mask, part, range(k - 1, -1, -1), part[k])
    return part


def _touching(section: Array, seed: Array) -> Array:
    """Return the parts of a section, bool (N, N), that hold a pixel of ``seed``."""
    image = sitk.GetImageFromArray(section.astype(np.uint8))
    numbers = sitk.GetArrayFromImage(sitk.ConnectedComponent(image, True))
    result: Array = np.isin(numbers, np.unique(numbers[seed & section]))
    return result & section


def _follow(mask: Array, part: Array, slices: range, section: Array) -> None:
    """Write the sections of a structure that go on from ``section`` into ``part``."""
    largest = smallest = int(section.sum())
    for k in slices:
        section = _touching(mask[k], section)
        area = int(section.sum())
        if area == 0 or (smallest < NECK * largest and area > GROWTH * smallest):
            return
        part[k] = section
        smallest = area if area > largest else min(smallest, area)
        largest = max(largest, area)


def is_cut_off(part: Array, crops: Crops, seen: int, slices: int) -> bool:
    """Tell whether a structure goes on beyond what the network saw, or is longer than any it knows.

    Parameters
    ----------
    part : numpy.ndarray
        bool (K, N, N), the structure.
    crops : Crops
        Where the crops lie.
    seen : int
        So many pixels in the middle of a crop the network saw.
    slices : int
        How many the scan has: where it ends itself, nothing more could be seen.
    """
    first = (part.shape[1] - seen) // 2
    rim = [first, first + seen - 1]
    top = crops.centre[0] - crops.middle[0]
    ends = (
        part[:, rim].any(),
        part[:, :, rim].any(),
        top > 0 and part[0].any(),
        top + len(part) < slices and part[-1].any(),
    )
    length = longest_diameter_mm(part.astype(np.uint8), crops.spacing_mm)
    return any(ends) or length.get(1, 0.0) > LARGEST_MM


def on_scan(part: Array, crops: Crops, shape: tuple[int, ...]) -> tuple[Box, Array]:
    """Return which box (k, j, i) of a scan of ``shape`` the crops cover, and a structure in it.

    The structure comes as bool (K, N, N) and goes as bool of the box; a voxel of the scan belongs
    to it where its middle does. Of one smaller than the scan's voxels none may be left.
    """
    places, box = [], []
    for axis, zoom in enumerate((1.0, *crops.zoom)):
        away = np.arange(shape[axis]) - crops.centre[axis]
        place = np.floor(crops.middle[axis] + away * zoom + 0.5).astype(int)
        inside = np.flatnonzero((place >= 0) & (place < part.shape[axis]))
        places.append(place[inside])
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(box), part[np.ix_(*places)]


def paste(labels: Array, box: Box, mine: Array, value: int) -> bool:
    """Write a structure, bool of the box, into the labels of the whole scan, in place.

    False, and nothing written, where most of it belongs to another structure already; of two that
    touch, the first keeps its voxels.
    """
    target = labels[box]
    free = mine & (target == 0)
    if 2 * free.sum() <= mine.sum():
        return False
    target[free] = value
    return True


def longest_diameter_mm(labels: Array, spacing_mm: Point) -> dict[int, float]:
    """Return the longest axial diameter of each label.

    It is measured between the middles of pixel edges, so that n pixels in a row are n pixels long.

    Parameters
    ----------
    labels : numpy.ndarray
        uint8 (k, j, i) in LPS order.
    spacing_mm : tuple of float
        Voxel size (i, j, k).

    Examples
    --------
    >>> labels = np.zeros((2, 9, 9), np.uint8)
    >>> labels[0, 4, 2:7] = 1
    >>> longest_diameter_mm(labels, (0.5, 0.5, 2.0))
    {1: 2.5}
    """
    longest: dict[int, float] = {}
    for plane in labels:
        for value in np.flatnonzero(np.bincount(plane.ravel())):
            if value:
                here = _plane_diameter_mm(plane == value, spacing_mm)
                longest[int(value)] = max(longest.get(int(value), 0.0), here)
    return longest


def _plane_diameter_mm(mask: Array, spacing_mm: Point) -> float:
    """Return the longest distance in a mask, bool (j, i), between ends of its rows and columns."""
    ends = []
    for axis in (0, 1):
        lines = np.flatnonzero(mask.any(axis=1 - axis))
        used = mask if axis == 0 else mask.T
        first = used[lines].argmax(axis=1) - 0.5
        last = used.shape[1] - used[lines][:, ::-1].argmax(axis=1) - 0.5
        for end in (first, last):
            pair = (lines, end) if axis == 0 else (end, lines)
            ends.append(np.stack(pair, axis=1))
    places = np.concatenate(ends) * (spacing_mm[1], spacing_mm[0])
    return float(np.linalg.norm(places[:, None] - places[None], axis=2).max())
