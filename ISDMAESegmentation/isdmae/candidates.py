"""Places in the lungs that may be nodules: round, bright spots of any size. Experimental.

A spot is a maximum of the negative Laplacian of the smoothed CT; how round it is, its Hessian says:
of a ball all three curvatures are equal, of a vessel one is near zero.

Source: Li Q, Sone S, Doi K, Selective enhancement filters for nodules, vessels, and airway walls in
two- and three-dimensional CT scans, Med Phys 30:2040 (2003).

Shapes: n spots; arrays (k, j, i) in LPS order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .itk import LEAST_SMOOTHED
from .parts import bounding_box
from .points import Point
from .volume import Array, Volume

RANGE_HU = (-1024.0, 200.0)
LONGEST_TO_SHORTEST = 2.0
LEAST_SHARE_IN_LUNGS = 0.85
BALL = np.array([m for m in np.ndindex(5, 5, 5) if sum((n - 2) ** 2 for n in m) <= 6]) - 2
LEAST_DIAMETER_MM = 4.0
"""Of a ball of the same volume; below that two or three voxels decide."""


@dataclass(frozen=True, kw_only=True)
class CandidateConfig:
    """How candidates are looked for.

    Parameters
    ----------
    grid_mm : float
        Voxels of the search.
    scales_mm : tuple of float
        Standard deviations of the smoothing; a ball of radius r is clearest at about r / sqrt(3).
    least : float
        Smallest response of the Laplacian, in HU.
    most : int
        How many are returned, those with the largest blobness.
    apart_mm : float
        Nearer ones (or within 1.7 scales of the better one) are one.
    """

    grid_mm: float = 1.25
    scales_mm: tuple[float, ...] = (1.5, 2.2, 3.3, 5.0, 7.5)
    least: float = 60.0
    most: int = 25
    apart_mm: float = 6.0

    def __post_init__(self) -> None:
        if min(self.grid_mm, self.least, self.apart_mm, *self.scales_mm) <= 0 or self.most < 1:
            raise ValueError("every number of a search for candidates is positive")


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A spot: LPS position, blobness in HU, and the scale at which it is clearest."""

    point_mm: Point
    blobness: float
    scale_mm: float


def find_candidates(
    ct: Volume, lungs: Array, config: CandidateConfig | None = None
) -> list[Candidate]:
    """Return the roundest spots in the lungs, the clearest first; of a thin slab none.

    Parameters
    ----------
    ct : Volume
        CT in HU, in LPS order.
    lungs : numpy.ndarray
        uint8 (k, j, i), the lungs' labels; a nodule that they leave out is not found.
    config : CandidateConfig, optional
        By default as measured in the model card of `nodule`.
    """
    config = config or CandidateConfig()
    box = bounding_box(lungs)
    if box is None:
        return []
    hu, inside = _on_grid(ct, lungs, box, config.grid_mm)
    if not inside.any() or min(hu.shape) < LEAST_SMOOTHED:
        return []
    # Outside the lungs their own density, so that the chest wall is no edge.
    hu = np.where(inside, hu, np.float32(np.median(hu[inside])))
    spots = [
        (float(blobness), scale, place)
        for scale in config.scales_mm
        for blobness, place in zip(*_spots(hu, inside, scale, config), strict=True)
    ]
    spots.sort(key=lambda spot: -spot[0])
    first = np.array([part.start for part in box])
    spacing = np.array(ct.spacing_mm[::-1])
    found = []
    for blobness, scale, place in _one_of_near(spots, config):
        k, j, i = (place + 0.5) * config.grid_mm / spacing - 0.5 + first
        x, y, z, _ = (float(value) for value in ct.affine @ (i, j, k, 1.0))
        found.append(Candidate(point_mm=(x, y, z), blobness=blobness, scale_mm=scale))
    return found


Spot = tuple[float, float, Array]
"""Blobness, scale, place (k, j, i) on the grid of the search."""


def _on_grid(
    ct: Volume, lungs: Array, box: tuple[slice, slice, slice], grid_mm: float
) -> tuple[Array, Array]:
    """Return HU and lungs (bool) of the box on voxels of ``grid_mm``."""
    hu = np.clip(ct.array[box], *RANGE_HU).astype(np.float32)
    inside = (lungs[box] > 0).astype(np.float32)
    size = [max(1, round(mm / grid_mm)) for mm in ct.crop(box).size_mm]
    origin = [(grid_mm - mm) / 2 for mm in ct.spacing_mm]

    def resample(array: Array, beyond: float) -> Array:
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(ct.spacing_mm)
        new = sitk.Resample(
            image, size, sitk.Transform(), sitk.sitkLinear, origin, (grid_mm,) * 3,
            image.GetDirection(), beyond,
        )  # fmt: skip
        result: Array = sitk.GetArrayFromImage(new)
        return result

    return resample(hu, RANGE_HU[0]), resample(inside, 0.0) > 0.5


def _spots(
    hu: Array, inside: Array, scale_mm: float, config: CandidateConfig
) -> tuple[Array, Array]:
    """Return blobness (n,) and place (n, 3) of the spots of one scale."""
    image = sitk.GetImageFromArray(hu)
    image.SetSpacing((config.grid_mm,) * 3)
    smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, scale_mm))
    unit = (scale_mm / config.grid_mm) ** 2
    laplacian = 6 * smooth
    for axis in range(3):
        laplacian -= np.roll(smooth, 1, axis) + np.roll(smooth, -1, axis)
    laplacian *= unit
    places = _peaks(laplacian, (laplacian > config.least) & inside)
    places = places[((places > 0) & (places < np.array(hu.shape) - 1)).all(axis=1)]
    curvatures = np.linalg.eigvalsh(_hessians(smooth, places)) * unit
    steepest, flattest = curvatures[:, 0], curvatures[:, 2]  # both negative in a bright spot
    bright = flattest < 0
    return flattest[bright] ** 2 / -steepest[bright], places[bright]


def _peaks(values: Array, allowed: Array) -> Array:
    """Return where ``allowed`` values are the highest within two voxels (of a ball): int (n, 3)."""
    peak = allowed.copy()
    for axis in range(3):
        low, high = np.moveaxis(values, axis, 0)[:-1], np.moveaxis(values, axis, 0)[1:]
        at = np.moveaxis(peak, axis, 0)
        at[:-1] &= low >= high
        at[1:] &= high >= low
    places = np.argwhere(peak)
    for move in BALL:
        others = places + move
        inside = ((others >= 0) & (others < values.shape)).all(axis=1)
        beaten = np.zeros(len(places), dtype=bool)
        beaten[inside] = values[tuple(others[inside].T)] > values[tuple(places[inside].T)]
        places = places[~beaten]
    return places


def _hessians(smooth: Array, places: Array) -> Array:
    """Return the second differences at places (n, 3): float (n, 3, 3)."""
    step = np.eye(3, dtype=int)

    def at(move: Array) -> Array:
        values: Array = smooth[tuple((places + move).T)]
        return values

    result = np.empty((len(places), 3, 3))
    for a in range(3):
        result[:, a, a] = at(step[a]) + at(-step[a]) - 2 * at(0 * step[a])
        for b in range(a):
            same = at(step[a] + step[b]) + at(-step[a] - step[b])
            other = at(step[a] - step[b]) + at(step[b] - step[a])
            result[:, a, b] = result[:, b, a] = (same - other) / 4
    return result


def _one_of_near(spots: list[Spot], config: CandidateConfig) -> list[Spot]:
    """Return the first `most` spots that lie apart from each better one."""
    kept: list[Spot] = []
    for spot in spots:
        away = [float(np.linalg.norm((spot[2] - other[2]) * config.grid_mm)) for other in kept]
        least = [max(config.apart_mm, 1.7 * scale) for _, scale, _ in kept]
        if all(mm > limit for mm, limit in zip(away, least, strict=True)):
            kept.append(spot)
        if len(kept) == config.most:
            break
    return kept


def looks_like_nodule(part: Array, lungs: Array, spacing_mm: Point) -> bool:
    """Tell whether what was found at a candidate has the shape and the place of a nodule.

    The model of points draws an outline round anything; these rules do the refusing: not elongated,
    in the lungs, not tiny, in two slices or more.

    Parameters
    ----------
    part : numpy.ndarray
        bool (k, j, i).
    lungs : numpy.ndarray
        uint8 (k, j, i), the lungs' labels.
    spacing_mm : tuple of float
        Voxel size (i, j, k).
    """
    voxels = np.argwhere(part)
    if len(voxels) < 2 or len(np.unique(voxels[:, 0])) < 2:
        return False
    cube_mm = len(voxels) * float(np.prod(spacing_mm))
    if 2 * (3 * cube_mm / (4 * np.pi)) ** (1 / 3) < LEAST_DIAMETER_MM:
        return False
    if (lungs[part] > 0).mean() < LEAST_SHARE_IN_LUNGS:
        return False
    spread = np.linalg.eigvalsh(np.cov((voxels * np.asarray(spacing_mm[::-1])).T))
    axes = np.sqrt(spread.clip(0) + min(spacing_mm) ** 2 / 12)  # of a voxel, too
    return bool(axes[2] / axes[0] <= LONGEST_TO_SHORTEST)
