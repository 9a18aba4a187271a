"""Labels by a network of points: what lies at each given point of a CT, by crops round it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .checks import Notice
from .compute import LoadedNetwork, Watcher
from .errors import InputError
from .points import Point, cut_crops, paste, structure_at
from .slicewise import label_slices
from .volume import Array, Volume

MOST_POINTS = 255
"""As many values as a labelmap has."""


def label_points(
    turned: Volume, points: Sequence[Point], edge: int, network: LoadedNetwork, watcher: Watcher
) -> tuple[Array, list[Notice]]:
    """Label what lies at each point: uint8 (k, j, i), 1 at the first point, 2 at the second, ...

    Parameters
    ----------
    turned : Volume
        CT in HU, in LPS order.
    points : sequence of tuple of float
        LPS positions in mm.
    edge : int
        Crop edge in pixels; the network sees the crops as pictures.
    network, watcher
        See there.

    Returns
    -------
    numpy.ndarray
        The labels.
    list of Notice
        The points at which nothing was found, or nothing new.

    Raises
    ------
    InputError
        ``point-outside``, ``too-many-points``.
    """
    if len(points) > MOST_POINTS:
        raise InputError(
            "too-many-points",
            f"{len(points)} points are more than a labelmap has values.",
            f"Give at most {MOST_POINTS} at once.",
        )
    cut = [cut_crops(turned, point, edge) for point in points]
    labels = np.zeros(turned.shape, dtype=np.uint8)
    notices = []
    for number, crops in enumerate(cut, start=1):
        part = watcher.part((number - 1) / len(cut), 1 / len(cut))
        stack = Volume(array=crops.pictures, is_hu=False)
        found = label_slices(stack, slice(0, len(crops.pictures)), network, part)
        with watcher.watch("follow through slices"):
            structure = structure_at(crops, found, turned.spacing_mm)
            if structure is None:
                notices.append(
                    Notice(
                        "nothing-at-point",
                        f"Nothing was found at point {number}.",
                        "Place it nearer to the middle of the nodule.",
                    )
                )
            elif not paste(labels, crops, structure, number):
                notices.append(
                    Notice(
                        "point-repeated",
                        f"Point {number} lies in a nodule that has a point already.",
                        "Remove one of the two points.",
                    )
                )
    return labels, notices
