"""How large the body in a CT is; a child's is shown to the network as large as it knows bodies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from .checks import Notice
from .volume import Array, Volume

BODY_HU = -500
SLICES = 24
"""Looked at, spread over the scan."""
PIXELS = 128
"""Rows and columns of each, at most about."""
CUT_SHARE = 0.5
"""A body that fills so much of the image's edge is cut off by it, and larger than what is seen."""
CHEST_QUANTILE = 0.9
"""A scan may show more neck than chest."""
LEAST_CM2 = 30.0
"""Less is nobody's chest, but what is left where the body was blanked out round the lungs."""


def body_cm2(ct: Volume) -> float:
    """Return the area of the body in the wide axial slices of a CT in LPS order; its lungs count.

    Infinite where slices show no whole body, such as those of a cropped field of view.
    """
    _, rows, columns = ct.shape
    step = max(1, max(rows, columns) // PIXELS)
    pixel_cm2 = step**2 * ct.spacing_mm[0] * ct.spacing_mm[1] / 100
    numbers = np.unique(np.linspace(0, len(ct.array) - 1, SLICES).round().astype(int))
    areas = [_body_pixels(ct.array[k, ::step, ::step] > BODY_HU) * pixel_cm2 for k in numbers]
    return float(np.quantile(areas, CHEST_QUANTILE, method="higher"))


def _body_pixels(dense: Array) -> float:
    """Return the pixels of the largest part of a mask, holes filled."""
    edge = np.concatenate([dense[0], dense[-1], dense[:, 0], dense[:, -1]])
    if edge.mean() > CUT_SHARE:
        return float("inf")
    filled = sitk.BinaryFillhole(sitk.GetImageFromArray(dense.astype(np.uint8)))
    parts = sitk.GetArrayFromImage(sitk.ConnectedComponent(filled))
    return float(np.bincount(parts.ravel())[1:].max(initial=0))


def size_factor(ct: Volume, smallest_cm2: float) -> float:
    """Return how many times larger a CT's body is to be seen so that it has ``smallest_cm2``.

    1 for bodies that have it, where ``smallest_cm2`` is 0, and where there is no body.

    Examples
    --------
    >>> air = Volume(array=np.full((4, 64, 64), -1000, np.int16))
    >>> size_factor(air, 300.0)
    1.0
    """
    if not smallest_cm2 or not ct.is_hu:
        return 1.0
    area = body_cm2(ct)
    return max(1.0, float(np.sqrt(smallest_cm2 / area))) if area > LEAST_CM2 else 1.0


def enlarged(ct: Volume, factor: float) -> Volume:
    """Return a CT as if its voxels were ``factor`` times as long; the values are shared."""
    i, j, k = (factor * step for step in ct.spacing_mm)
    return ct if factor == 1.0 else replace(ct, spacing_mm=(i, j, k))


def size_notices(factor: float) -> list[Notice]:
    """Say that a body was seen larger than it is."""
    if factor == 1.0:
        return []
    return [
        Notice(
            "small-body",
            f"The body is as small as a child's; the model, which learnt from adults, saw it "
            f"{factor:.1f} times as large.",
            "Look at the result slice by slice: no children's scans were at hand to test it on.",
        )
    ]
