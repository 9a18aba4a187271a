"""A box in the patient: the part of a scan that the user wants segmented."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import InputError
from .volume import Array, Volume

Vector = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True)
class Region:
    """An oriented box in LPS millimetres, as a markups ROI of 3D Slicer describes it.

    Parameters
    ----------
    centre_mm : tuple of float
        Its centre.
    size_mm : tuple of float
        Its edge lengths along its own axes, each > 0.
    axes : tuple of tuple of float
        Unit vectors of its axes, orthogonal within 1e-3.

    Raises
    ------
    ValueError
        Where a length is not positive or the axes are not orthonormal.

    Examples
    --------
    >>> scan = Volume(array=np.zeros((4, 10, 10)), spacing_mm=(2, 2, 5))
    >>> region = Region(centre_mm=(9, 9, 10), size_mm=(6, 6, 10))
    >>> region.box(scan), int(region.mask(scan).sum())
    ((slice(1, 4, None), slice(3, 7, None), slice(3, 7, None)), 48)
    """

    centre_mm: Vector
    size_mm: Vector
    axes: tuple[Vector, Vector, Vector] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

    def __post_init__(self) -> None:
        if not all(0 < length < np.inf for length in self.size_mm):
            raise ValueError(f"A region needs three positive lengths, not {self.size_mm}")
        axes = np.asarray(self.axes)
        if not np.allclose(axes @ axes.T, np.eye(3), atol=1e-3):
            raise ValueError("The axes of the region are not orthonormal")

    def box(self, volume: Volume) -> tuple[slice, slice, slice]:
        """Return the smallest (k, j, i) box of ``volume`` that holds the region's part of it.

        Raises
        ------
        InputError
            ``region-outside`` where the region does not meet the volume.
        """
        signs = np.stack(np.meshgrid(*[(-0.5, 0.5)] * 3), axis=-1).reshape(-1, 3)
        corners = np.asarray(self.centre_mm) + (signs * self.size_mm) @ np.asarray(self.axes)
        to_index = np.linalg.inv(volume.affine)
        index = corners @ to_index[:3, :3].T + to_index[:3, 3]
        low = np.floor(index.min(axis=0)).astype(int)[::-1].clip(0)
        high = np.minimum(np.ceil(index.max(axis=0)).astype(int)[::-1] + 1, volume.shape)
        if np.any(low >= high):
            raise InputError(
                "region-outside",
                "The region of interest lies outside the scan.",
                "Move it onto the scan, or segment the whole scan.",
            )
        k, j, i = (slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        return k, j, i

    def holds(self, point_mm: Vector) -> bool:
        """Tell whether an LPS point lies in the region."""
        away = np.asarray(self.axes) @ (np.asarray(point_mm) - np.asarray(self.centre_mm))
        return bool(np.all(np.abs(away) <= np.asarray(self.size_mm) / 2))

    def mask(self, volume: Volume) -> Array:
        """Return which voxel centres of ``volume`` lie in the region: bool (k, j, i)."""
        inside = np.zeros(volume.shape, dtype=bool)
        box = self.box(volume)
        k, j, i = (np.arange(part.start, part.stop, dtype=np.float64) for part in box)
        step = volume.direction * np.asarray(volume.spacing_mm)
        from_centre = np.asarray(volume.origin_mm) - np.asarray(self.centre_mm)
        within = np.ones((len(k), len(j), len(i)), dtype=bool)
        for axis, length in zip(np.asarray(self.axes), self.size_mm, strict=True):
            along = axis @ step
            distance = (
                axis @ from_centre
                + along[2] * k[:, None, None]
                + along[1] * j[None, :, None]
                + along[0] * i[None, None, :]
            )
            within &= np.abs(distance) <= length / 2
        inside[box] = within
        return inside
