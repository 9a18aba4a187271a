"""DICOM slices to one volume: order, distances, geometry, pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .checks import Notice, narrow_dtype
from .dicom_header import SliceHeader, undecodable
from .errors import InputError, says_memory_is_short
from .itk import not_enough_memory
from .slice_positions import (
    INTERPOLATED,
    check_gantry_tilt,
    check_lateral_positions,
    check_slice_positions,
)
from .volume import Array, Volume


def stack(slices: list[SliceHeader], allow_gaps: bool) -> tuple[Volume, list[Notice]]:
    """Read slices of one size and orientation into a volume.

    Returns
    -------
    Volume
        HU, slices in ascending order along their normal.
    list of Notice
        Warnings on the distances between slices.

    Raises
    ------
    InputError
        Where slices are doubled, missing, displaced or at several distances, the gantry was
        tilted, or pixels cannot be decoded.
    ResourceError
        Where there is not enough memory.
    """
    direction = _direction(slices)
    places = np.array([header.position for header in slices])
    heights = places @ direction[:, 2]
    order = np.argsort(heights, kind="stable")
    slices, places, heights = [slices[index] for index in order], places[order], heights[order]

    notices = _check_places(slices, places, direction[:, 2], allow_gaps)
    array = _read_pixels(slices)
    if any(notice.code in INTERPOLATED for notice in notices):
        array, heights = fill_gaps(array, heights)
    row_mm, column_mm = slices[0].pixel_spacing_mm
    volume = Volume(
        array=narrow_dtype(array),
        spacing_mm=(column_mm, row_mm, _slice_spacing(slices[0], heights)),
        origin_mm=tuple(places[0]),
        direction=direction,
    )
    return volume, notices


def _check_places(
    slices: Sequence[SliceHeader], places: Array, normal: Array, allow_gaps: bool
) -> list[Notice]:
    names = [header.path.name for header in slices]
    notices = check_slice_positions((places @ normal).tolist(), names, allow_gaps=allow_gaps)
    row_mm, column_mm = slices[0].pixel_spacing_mm
    extent_mm = min(slices[0].rows * row_mm, slices[0].columns * column_mm)
    check_lateral_positions(places, normal, extent_mm, names)
    if len(slices) > 1:
        check_gantry_tilt(normal.tolist(), (places[-1] - places[0]).tolist())
    return notices


def _direction(slices: Sequence[SliceHeader]) -> Array:
    """Return the rotation nearest to the (often rounded) cosines; columns are i, j, normal."""
    row, column = np.array(slices[0].orientation).reshape(2, 3)
    matrix = np.stack([row, column, np.cross(row, column)], axis=1)
    if not np.allclose(matrix.T @ matrix, np.eye(3), atol=0.02):
        raise InputError(
            "not-orthonormal",
            f"Row and column direction of {slices[0].path.name} are not at right angles.",
            "Export the series again from its source.",
        )
    left, _, right = np.linalg.svd(matrix)
    rotation: Array = left @ right
    return rotation


def _slice_spacing(header: SliceHeader, heights: Array) -> float:
    if len(heights) > 1:
        return float((heights[-1] - heights[0]) / (len(heights) - 1))
    return header.thickness_mm or 1.0


def fill_gaps(array: Array, heights_mm: Array) -> tuple[Array, Array]:
    """Put slices onto an even grid of their usual distance, linearly interpolated.

    Parameters
    ----------
    array : numpy.ndarray
        Shape (k, j, i).
    heights_mm : numpy.ndarray
        Ascending places of the k slices in mm.

    Returns
    -------
    numpy.ndarray
        Same dtype, shape (n, j, i); the first and last slice stay.
    numpy.ndarray
        The n even places in mm.
    """
    usual = float(np.median(np.diff(heights_mm)))
    count = round((heights_mm[-1] - heights_mm[0]) / usual) + 1
    even = np.linspace(heights_mm[0], heights_mm[-1], count)
    above = np.searchsorted(heights_mm, even).clip(1, len(heights_mm) - 1)
    weights = (even - heights_mm[above - 1]) / (heights_mm[above] - heights_mm[above - 1])
    filled = np.empty((count, *array.shape[1:]), dtype=array.dtype)
    for index, (upper, weight) in enumerate(zip(above, weights, strict=True)):
        mixed = array[upper - 1] * (1.0 - weight) + array[upper] * weight
        filled[index] = np.rint(mixed) if array.dtype.kind in "iu" else mixed
    return filled, even


def _read_pixels(slices: Sequence[SliceHeader]) -> Array:
    """Return the rescaled pixels, shape (k, j, i)."""
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(header.path) for header in slices])
    # ITK gives all slices the type of the first; a fractional slope further on would be cut off.
    if len({(header.rescale, header.pixel_type) for header in slices}) > 1:
        reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        array: Array = sitk.GetArrayFromImage(reader.Execute())
    except (RuntimeError, MemoryError) as error:
        if says_memory_is_short(error):
            raise not_enough_memory("the series") from error
        paths = [header.path for header in slices]
        first = next((path for path in paths if not _can_decode(path)), paths[0])
        raise undecodable(first) from error
    return array


def _can_decode(path: Path) -> bool:
    try:
        sitk.ReadImage(str(path), imageIO="GDCMImageIO")
    except RuntimeError:
        return False
    return True
