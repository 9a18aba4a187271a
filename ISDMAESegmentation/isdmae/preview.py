"""A picture of a result to look at: three axial, one coronal and two sagittal slices, outlined.

Of what lies at points there is a row for each instead: axial, coronal, sagittal, from near.

Slices are shown as radiologists read them: the patient's right on the viewer's left, anterior and
superior up; sagittal slices look to the left.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from .io import write_image_atomic
from .labels import Label
from .parts import bounding_box
from .volume import Array, Volume, to_lps_order

PANEL_PX = 360
NEAR_MM = 60.0
"""The side of a picture from near."""
MOST_ROWS = 6
WINDOW_HU = (-1350.0, 150.0)
LETTERS = {
    "R": ("11110", "10001", "10001", "11110", "10100", "10010", "10001"),
    "A": ("01110", "10001", "10001", "11111", "10001", "10001", "10001"),
}


def write_preview(
    path: str | os.PathLike[str],
    image: Volume,
    labelmap: Volume,
    labels: Sequence[Label],
    *,
    near: bool = False,
    overwrite: bool = False,
) -> None:
    """Write the montage, or ``near`` the `close_ups`, as PNG; errors as `write_image_atomic`."""
    make = close_ups if near and labelmap.array.any() else montage
    picture = sitk.GetImageFromArray(make(image, labelmap, labels), isVector=True)
    write_image_atomic(path, picture, overwrite=overwrite)


def close_ups(image: Volume, labelmap: Volume, labels: Sequence[Label]) -> Array:
    """Return a row of three panels for each label that has voxels, the first `MOST_ROWS` of them.

    Arguments and result as for `montage`; of a CT.
    """
    turned, order = to_lps_order(image)
    values = order.apply(labelmap.array)
    present = np.unique(values[_box(values)])
    rows = [label for label in labels if label.value in present][:MOST_ROWS]
    return np.vstack([_row(turned, values, label, labels) for label in rows])


def _row(turned: Volume, values: Array, label: Label, labels: Sequence[Label]) -> Array:
    """Return axial, coronal and sagittal panels through the middle of a label."""
    spacing = turned.spacing_mm[::-1]
    part = _box(values == label.value)
    k, j, i = ((one.start + one.stop - 1) // 2 for one in part)
    near = tuple(
        slice(max(0, round(at - NEAR_MM / 2 / mm)), round(at + NEAR_MM / 2 / mm) + 1)
        for at, mm in zip((k, j, i), spacing, strict=True)
    )
    (dz, dy, dx), window = spacing, _window(turned)
    k, j, i = (at - one.start for at, one in zip((k, j, i), near, strict=True))
    grey, marks = turned.array[near], values[near]
    return np.hstack(
        [
            _panel(grey[k], marks[k], (dy, dx), labels, window, "R"),
            _panel(grey[::-1, j], marks[::-1, j], (dz, dx), labels, window, "R"),
            _panel(grey[::-1, :, i], marks[::-1, :, i], (dz, dy), labels, window, "A"),
        ]
    )


def montage(image: Volume, labelmap: Volume, labels: Sequence[Label]) -> Array:
    """Return the picture, uint8 (rows, columns, 3).

    Parameters
    ----------
    image, labelmap : Volume
        On one grid; a picture, or the middle one of a stack, gives one panel.
    labels : sequence of Label
        Colours of the outlines.
    """
    turned, order = to_lps_order(image)
    values = order.apply(labelmap.array)
    if not image.is_hu:
        (k,) = _positions(values, 0, (0.5,))
        return _panel(turned.array[k], values[k], (1.0, 1.0), labels, _window(turned), "R")
    window = _window(turned)
    dx, dy, dz = turned.spacing_mm
    upper, middle, lower = _positions(values, 0, (0.8, 0.5, 0.2))
    (coronal,) = _positions(values, 1, (0.5,))
    sagittal = _positions(values, 2, (0.22, 0.78))
    axial = [
        _panel(turned.array[k], values[k], (dy, dx), labels, window, "R")
        for k in (upper, middle, lower)
    ]
    others = [
        _panel(turned.array[::-1, coronal], values[::-1, coronal], (dz, dx), labels, window, "R")
    ]
    others += [
        _panel(turned.array[::-1, :, i], values[::-1, :, i], (dz, dy), labels, window, "A")
        for i in sagittal
    ]
    return np.vstack([np.hstack(axial), np.hstack(others)])


def _window(volume: Volume) -> tuple[float, float]:
    if volume.is_hu:
        return WINDOW_HU
    return float(volume.array.min()), float(volume.array.max())


def _box(values: Array) -> tuple[slice, ...]:
    """Return the box (k, j, i) of what is labelled, or the whole."""
    return bounding_box(values) or tuple(slice(0, length) for length in values.shape)


def _positions(values: Array, axis: int, shares: Sequence[float]) -> list[int]:
    """Return slices along ``axis`` at these shares of the labelled extent, or of the volume."""
    span = _box(values)[axis]
    return [span.start + int(share * (span.stop - span.start - 1)) for share in shares]


def _panel(
    image: Array,
    values: Array,
    pixel_mm: tuple[float, float],
    labels: Sequence[Label],
    window: tuple[float, float],
    letter: str,
) -> Array:
    """Return a square RGB panel of one slice, isotropic, centred on black."""
    size = [length * mm for length, mm in zip(image.shape, pixel_mm, strict=True)]
    scale = PANEL_PX / max(size)
    zoom = [scale * mm for mm in pixel_mm]
    low, high = window
    grey = np.clip((image.astype(np.float32) - low) / max(high - low, 1e-6), 0, 1)
    grey = ndimage.zoom(grey, zoom, order=1, grid_mode=True, mode="nearest")
    regions = ndimage.zoom(values, zoom, order=0, grid_mode=True, mode="nearest")
    colour = np.repeat((grey * 255).astype(np.uint8)[..., None], 3, axis=2)
    for label in labels:
        colour[_outline(regions == label.value)] = label.colour
    return _mark(_centre(colour), letter)


def _outline(mask: Array) -> Array:
    border: Array = mask & ~ndimage.binary_erosion(mask, iterations=1)
    return border


def _centre(colour: Array) -> Array:
    frame = np.zeros((PANEL_PX, PANEL_PX, 3), dtype=np.uint8)
    height, width = (min(PANEL_PX, length) for length in colour.shape[:2])
    top, left = (PANEL_PX - height) // 2, (PANEL_PX - width) // 2
    frame[top : top + height, left : left + width] = colour[:height, :width]
    return frame


def _mark(panel: Array, letter: str) -> Array:
    """Write the letter of the viewer's left side, two pixels a dot."""
    dots = np.array([[dot == "1" for dot in row] for row in LETTERS[letter]])
    dots = dots.repeat(2, axis=0).repeat(2, axis=1)
    top = PANEL_PX // 2 - len(dots) // 2
    panel[top : top + dots.shape[0], 4 : 4 + dots.shape[1]][dots] = 255
    return panel
