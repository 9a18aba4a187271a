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
        slices, rows, columns = self.box(volume)
        j = np.arange(rows.start, rows.stop)[:, None]
        i = np.arange(columns.start, columns.stop)
        axes = np.asarray(self.axes)
        first = axes @ (np.asarray(volume.origin_mm) - np.asarray(self.centre_mm))
        steps = axes @ (volume.direction * np.asarray(volume.spacing_mm))
        # Slice by slice: eight bytes a voxel of distance would be more than the scan itself.
        for k in range(slices.start, slices.stop):
            within = np.ones((len(j), len(i)), dtype=bool)
            for start, (along_i, along_j, along_k), mm in zip(
                first, steps, self.size_mm, strict=True
            ):
                distance = start + along_k * k + along_j * j + along_i * i
                within &= np.abs(distance) <= mm / 2
            inside[k, rows, columns] = within
        return inside
