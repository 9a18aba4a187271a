"""A chest whose two lungs differ in density, so that each voxel's value tells its label.

Sampled on any grid from the phantom's analytic anatomy. A flip, a shift, a wrong spacing or a wrong
rescale puts a label where the anatomy has none.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.spatial.transform import Rotation

from isdmae import phantom_anatomy as anatomy
from isdmae.labels import LEFT_LUNG, RIGHT_LUNG
from isdmae.volume import Array, Volume

PATIENT = anatomy.Patient(size=1.0, fat=14.0, heart=1.0, diaphragm=0.0, lean=0.0)
OUTSIDE, FAT, MUSCLE, BONE, METAL = -1000, -100, 45, 400, 3000
LUNG_HU = {LEFT_LUNG.value: -850, RIGHT_LUNG.value: -750}
NARROW_HU = 40
EXTENT_MM = (380.0, 290.0, 270.0)
CENTRE_MM = np.array([0.0, 8.0, 20.0])
AXIS_ORDERS = [
    np.eye(3)[:, list(order)] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def frame(
    shape: tuple[int, int, int] = (26, 30, 34),
    *,
    axes: Array | None = None,
    turned_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    extent_mm: tuple[float, float, float] = EXTENT_MM,
    centre_mm: Array = CENTRE_MM,
) -> Volume:
    """Return an empty grid over the chest.

    Parameters
    ----------
    shape : tuple of int
        Voxels (k, j, i).
    axes : numpy.ndarray, optional
        One of ``AXIS_ORDERS``; by default LPS.
    turned_deg : tuple of float
        Turn about x, y and z.
    extent_mm, centre_mm
        What it covers along x, y, z, and where its middle lies, in LPS.
    """
    axes = np.eye(3) if axes is None else axes
    direction = Rotation.from_euler("xyz", turned_deg, degrees=True).as_matrix() @ axes
    size = np.array(shape[::-1])
    spacing = np.abs(axes.T) @ extent_mm / size
    return Volume(
        array=np.zeros(shape, np.uint8),
        spacing_mm=tuple(spacing),
        origin_mm=tuple(centre_mm - direction @ (spacing * (size - 1) / 2)),
        direction=direction,
    )


def _grid(affine: Array, shape: tuple[int, ...]) -> anatomy.Grid:
    """Patient coordinates of each voxel; ``affine`` goes from (i, j, k, 1) to LPS mm."""
    k, j, i = np.indices(shape, dtype=np.float64)
    x, y, z = (
        (row[0] * i + row[1] * j + row[2] * k + row[3]).astype(np.float32) for row in affine[:3]
    )
    return anatomy.Grid(x, y, z, np.linalg.inv(affine))


def labels_at(affine: Array, shape: tuple[int, ...]) -> Array:
    """Return the true labels on a grid: uint8 (k, j, i)."""
    left, right = anatomy.lungs(_grid(affine, shape), PATIENT)
    labels = np.zeros(shape, np.uint8)
    labels[left], labels[right] = LEFT_LUNG.value, RIGHT_LUNG.value
    return labels


def hu_on(grid: Volume, *, missing: int = 0, metal: bool = False) -> Array:
    """Return the chest on a grid: int16 HU (k, j, i).

    ``missing`` is the label of a lung that is not there, ``metal`` a rod in the spine with streaks.
    """
    place = _grid(grid.affine, grid.shape)
    outer, inner = anatomy.body(place, PATIENT)
    vertebrae, _, _ = anatomy.spine(place)
    hu = np.full(grid.shape, OUTSIDE, np.int16)
    hu[outer], hu[inner], hu[inner & vertebrae] = FAT, MUSCLE, BONE
    if metal:
        rod = np.hypot(place.x, place.y - 85)
        hu[inner & (np.abs(place.y - 85) < 4)] = 900
        hu[rod < 9] = METAL
    labels = labels_at(grid.affine, grid.shape)
    for label, value in LUNG_HU.items():
        hu[labels == label] = MUSCLE if label == missing else value
    return hu


def labels_by_value(hu: Array) -> Array:
    """Return the label that each voxel's value stands for; uint8."""
    labels = np.zeros(hu.shape, np.uint8)
    for label, value in LUNG_HU.items():
        labels[np.abs(hu.astype(np.float64) - value) < NARROW_HU] = label
    return labels
