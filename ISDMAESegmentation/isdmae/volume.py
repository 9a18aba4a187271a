"""One image type for the whole project.

Arrays are indexed (k, j, i). Spacing, origin and direction follow ITK: ordered (i, j, k), and in
LPS world coordinates (x to the patient's left, y to posterior, z to superior), in millimetres.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

LPS_NAMES = (("R", "L"), ("A", "P"), ("I", "S"))


def _identity() -> Array:
    return np.eye(3)


@dataclass(frozen=True, kw_only=True, eq=False)
class Volume:
    """A scalar image with its place in the patient.

    Parameters
    ----------
    array : numpy.ndarray
        Voxels, shape (k, j, i), any real dtype; made read-only.
    spacing_mm : tuple of float
        Voxel size along (i, j, k) in mm, each > 0.
    origin_mm : tuple of float
        LPS position in mm of the centre of voxel (0, 0, 0).
    direction : numpy.ndarray
        3 x 3, column ``a`` is the LPS unit vector along which index ``a`` of (i, j, k) grows.
    is_hu : bool
        False for pictures (PNG, TIFF), whose grey values are not Hounsfield units.

    Raises
    ------
    ValueError
        Where the array is not 3D or empty, a spacing is not positive, or the direction is not an
        orthonormal matrix within 1e-3.

    Examples
    --------
    >>> import numpy as np
    >>> ct = Volume(array=np.zeros((4, 3, 2)), spacing_mm=(0.7, 0.7, 2.5))
    >>> ct.size_mm
    (1.4, 2.0999999999999996, 10.0)
    >>> ct.orientation
    'LPS'
    """

    array: Array
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    origin_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: Array = field(default_factory=_identity)
    is_hu: bool = True

    def __post_init__(self) -> None:
        array = np.asarray(self.array).view()
        array.flags.writeable = False
        direction = np.array(self.direction, dtype=np.float64).reshape(3, 3)
        direction.flags.writeable = False
        object.__setattr__(self, "array", array)
        object.__setattr__(self, "direction", direction)
        object.__setattr__(self, "spacing_mm", tuple(float(value) for value in self.spacing_mm))
        object.__setattr__(self, "origin_mm", tuple(float(value) for value in self.origin_mm))
        if array.ndim != 3 or array.size == 0:
            raise ValueError(f"A volume needs a non-empty 3D array, not shape {array.shape}.")
        if len(self.spacing_mm) != 3 or not all(0 < value < np.inf for value in self.spacing_mm):
            raise ValueError(f"Spacing {self.spacing_mm} must be three positive millimetres.")
        if len(self.origin_mm) != 3 or not np.all(np.isfinite(self.origin_mm)):
            raise ValueError(f"Origin {self.origin_mm} must be three finite millimetres.")
        if not np.allclose(direction.T @ direction, np.eye(3), atol=1e-3):
            raise ValueError("The direction matrix is not orthonormal.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (k, j, i)."""
        k, j, i = self.array.shape
        return k, j, i

    @property
    def size_mm(self) -> tuple[float, float, float]:
        """Extent along (i, j, k) in mm, voxel edges included."""
        k, j, i = self.shape
        return i * self.spacing_mm[0], j * self.spacing_mm[1], k * self.spacing_mm[2]

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(np.prod(self.spacing_mm)) / 1000.0

    @property
    def affine(self) -> Array:
        """4 x 4 matrix from (i, j, k, 1) to LPS millimetres."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction * np.asarray(self.spacing_mm)
        matrix[:3, 3] = self.origin_mm
        return matrix

    @property
    def orientation(self) -> str:
        """Three letters: the LPS or RAI direction nearest to each index axis (``"LPS"``)."""
        rows = _nearest_axes(self.direction)
        return "".join(
            LPS_NAMES[row][int(self.direction[row, column] > 0)] for column, row in enumerate(rows)
        )

    @property
    def obliquity_deg(self) -> float:
        """Largest angle in degrees between an index axis and its nearest world axis."""
        nearest = np.abs(self.direction).max(axis=0).clip(max=1.0)
        return float(np.degrees(np.arccos(nearest)).max())

    def with_array(self, array: Array, *, is_hu: bool | None = None) -> Volume:
        """Return other voxels on the same grid; ValueError where the shape differs."""
        if array.shape != self.shape:
            raise ValueError(f"Shape {array.shape} does not fit the grid {self.shape}.")
        return replace(self, array=array, is_hu=self.is_hu if is_hu is None else is_hu)

    def crop(self, box: tuple[slice, slice, slice]) -> Volume:
        """Return the part of a box (k, j, i), with its place in the patient."""
        first = np.array([part.start for part in reversed(box)])
        origin = np.asarray(self.origin_mm) + self.affine[:3, :3] @ first
        return replace(self, array=self.array[box], origin_mm=tuple(origin))

    def same_grid(self, other: Volume, *, tolerance: float = 1e-6) -> bool:
        """Tell whether both lie on one grid: shape equal, geometry within ``tolerance``."""
        return self.shape == other.shape and bool(
            np.allclose(self.spacing_mm, other.spacing_mm, rtol=0, atol=tolerance)
            and np.allclose(self.origin_mm, other.origin_mm, rtol=0, atol=tolerance)
            and np.allclose(self.direction, other.direction, rtol=0, atol=tolerance)
        )


@dataclass(frozen=True, kw_only=True)
class AxisOrder:
    """How an index grid was turned to LPS order without touching a voxel value.

    ``source[a]`` names the old axis of (i, j, k) that became new axis ``a``; ``flipped[a]`` says
    whether it was reversed.
    """

    source: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def apply(self, array: Array) -> Array:
        """Turn a (k, j, i) array of the original grid to LPS order; returns a view."""
        return array.transpose(self._axes())[self._slices()]

    def undo(self, array: Array) -> Array:
        """Turn a (k, j, i) array in LPS order back to the original grid; returns a view."""
        return array[self._slices()].transpose(np.argsort(self._axes()).tolist())

    def _axes(self) -> list[int]:
        """Return the old axis of (k, j, i) that each new one was."""
        return [2 - axis for axis in reversed(self.source)]

    def _slices(self) -> tuple[slice, ...]:
        return tuple(slice(None, None, -1 if flip else 1) for flip in reversed(self.flipped))


def to_lps_order(volume: Volume) -> tuple[Volume, AxisOrder]:
    """Permute and flip the axes so that i, j, k run nearest to left, posterior, superior.

    No voxel is interpolated; an oblique volume stays oblique (turned about one axis at most 45
    degrees off, about several at most 61).

    Returns
    -------
    Volume
        The same image, same world positions, axes in LPS order.
    AxisOrder
        The exact way back.
    """
    rows = _nearest_axes(volume.direction)
    source = tuple(rows.index(axis) for axis in range(3))
    flipped = tuple(bool(volume.direction[axis, source[axis]] < 0) for axis in range(3))
    order = AxisOrder(source=source, flipped=flipped)  # type: ignore[arg-type]

    signs = np.where(flipped, -1.0, 1.0)
    corner = np.zeros(3)
    for axis in range(3):
        if flipped[axis]:
            corner[source[axis]] = volume.shape[2 - source[axis]] - 1
    origin = volume.affine[:3, :3] @ corner + np.asarray(volume.origin_mm)
    turned = Volume(
        array=order.apply(volume.array),
        spacing_mm=tuple(volume.spacing_mm[axis] for axis in source),  # type: ignore[arg-type]
        origin_mm=tuple(origin),
        direction=volume.direction[:, list(source)] * signs,
        is_hu=volume.is_hu,
    )
    return turned, order


def _nearest_axes(direction: Array) -> list[int]:
    """Return for each index axis the world axis assigned to it, each world axis once.

    Of the six assignments the one with the largest sum of |cosine| wins, so that two index axes
    near 45 degrees never claim the same world axis.
    """
    permutations = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    cosines = np.abs(direction)
    best = max(
        permutations, key=lambda p: sum(cosines[row, column] for column, row in enumerate(p))
    )
    return list(best)
