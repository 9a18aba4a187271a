"""How large the lungs are in a slice, so that a network can see all lungs at about one size.

A picture has no pixel size: one set shows the whole body, another is cropped to the lungs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .volume import Array

USUAL = 0.65
"""Extent that is taken where hardly any lung is found."""
LEAST_PIXELS = 50
SMALLEST, LARGEST = 0.65, 1.5
"""Scales that a slice is changed by, at most: the tips of the lungs stay small."""
MOST_ENLARGED = 2.0
"""Pixels of a slice that has few are not enlarged more than so, unless by the smallest scale."""
STEPS = 16
"""A scale is a multiple of one part in so many, so that slices share a grid."""


def lung_extents(lungs: Array) -> tuple[float, ...]:
    """Return for each slice the longer side of the box round its lungs, over its own longer side.

    ``lungs`` is (K, H, W) of any dtype, 0 outside them.

    Examples
    --------
    >>> lungs = np.zeros((2, 100, 80))
    >>> lungs[0, 20:60, 10:60] = 1
    >>> lung_extents(lungs)
    (0.5, 0.65)
    """
    longest = max(lungs.shape[1:])
    return tuple(_side(one != 0) / longest or USUAL for one in lungs)


def _side(lung: Array) -> int:
    if np.count_nonzero(lung) < LEAST_PIXELS:
        return 0
    return max(int(np.ptp(np.flatnonzero(lung.any(axis=axis)))) + 1 for axis in (0, 1))


def scale_for(extent: float, wanted: float) -> float:
    """Return how many times larger a slice is to be seen so that its lungs have ``wanted``.

    Examples
    --------
    >>> scale_for(0.65, wanted=0.85), scale_for(0.97, wanted=0.85), scale_for(0.2, wanted=0.85)
    (1.3125, 0.875, 1.5)
    """
    return min(LARGEST, max(SMALLEST, round(STEPS * wanted / extent) / STEPS))


def scales_for(lungs: Array, wanted: float, size: int) -> Sequence[float]:
    """Return `scale_for` of each slice of ``lungs`` (K, H, W), seen with ``size`` pixels at 1.

    Examples
    --------
    >>> scales_for(np.zeros((2, 256, 200)), 0.85, size=256)
    [1.3125, 1.3125]
    >>> scales_for(np.zeros((1, 99, 112)), 0.85, size=256)
    [0.875]
    """
    most = int(STEPS * MOST_ENLARGED * max(lungs.shape[1:]) / size) / STEPS
    return [max(SMALLEST, min(most, scale_for(one, wanted))) for one in lung_extents(lungs)]
