"""Labels by a network of points: what lies at each given point of a CT, by crops round it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .candidates import Candidate, looks_like_nodule
from .checks import Notice
from .compute import LoadedNetwork, Watcher
from .errors import InputError
from .points import COARSE_MM, Crops, Point, cut_crops, is_cut_off, on_scan, paste, structure_at
from .slicewise import label_slices
from .volume import Array, Volume

MOST_POINTS = 255
"""As many values as a labelmap has."""


def label_points(
    turned: Volume, points: Sequence[Point], edge: int, network: LoadedNetwork, watcher: Watcher
) -> tuple[Array, dict[int, Notice]]:
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
    dict of int to Notice
        The points at which nothing was found, nothing new, or more than the network sees, by
        number.

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
    seen = min(edge, network.info.preprocess.middle or edge)
    labels = np.zeros(turned.shape, dtype=np.uint8)
    notices: dict[int, Notice] = {}
    for number, crops in enumerate(cut, start=1):
        part = watcher.part((number - 1) / len(cut), 1 / len(cut))
        stack = Volume(array=crops.pictures, is_hu=False)
        found = label_slices(stack, slice(0, len(crops.pictures)), network, part)
        with watcher.watch("follow through slices"):
            notice = _place(labels, structure_at(crops, found), crops, seen, number)
            if notice is not None:
                notices[number] = notice
    return labels, notices


def search_points(
    turned: Volume,
    lungs: Array,
    candidates: Sequence[Candidate],
    edge: int,
    network: LoadedNetwork,
    watcher: Watcher,
) -> tuple[Array, list[Candidate], Notice]:
    """Label what looks like a nodule among what lies at candidates; experimental.

    Arguments as for `label_points`; ``lungs`` is uint8 (k, j, i).

    Returns
    -------
    numpy.ndarray
        uint8 (k, j, i): 1 at the first candidate that is kept, 2 at the second, ...
    list of Candidate
        Those that are kept.
    Notice
        How far to trust them.
    """
    points = [candidate.point_mm for candidate in candidates]
    labels, odd = label_points(turned, points, edge, network, watcher)
    values, kept = np.zeros(MOST_POINTS + 1, np.uint8), []
    with watcher.watch("shape of candidates"):
        for number, candidate in enumerate(candidates, start=1):
            part = labels == number
            if number not in odd and looks_like_nodule(part, lungs, turned.spacing_mm):
                kept.append(candidate)
                values[number] = len(kept)
    found: Array = values[labels]
    return found, kept, _say_of_search(kept)


def _place(
    labels: Array, structure: Array | None, crops: Crops, seen: int, number: int
) -> Notice | None:
    """Write what was found at a point into the labels, and return what is to be said of it."""
    if structure is None:
        return _nothing_at(number)
    box, mine = on_scan(structure, crops, labels.shape)
    if not mine.any():
        return _nothing_at(number)
    if not paste(labels, box, mine, number):
        return Notice(
            "point-repeated",
            f"Point {number} lies in a nodule that has a point already.",
            "Remove one of the two points.",
        )
    if is_cut_off(structure, crops, seen, len(labels)):
        return Notice(
            "nodule-at-edge",
            f"What was found at point {number} is longer than a nodule, or reaches the end of "
            f"what the model sees there ({seen * crops.spacing_mm[0]:.0f} mm across).",
            "Do not use its size; look whether it took in a vessel or the chest wall.",
        )
    return None


def _nothing_at(number: int) -> Notice:
    return Notice(
        "nothing-at-point",
        f"Nothing was found at point {number}.",
        "Place it nearer to the middle of the nodule.",
    )


def coarse_notices(turned: Volume) -> list[Notice]:
    """Say where pixels are larger than any that a model of points learnt from."""
    edge_mm = max(turned.spacing_mm[:2])
    if edge_mm <= COARSE_MM:
        return []
    return [
        Notice(
            "coarse-pixels",
            f"Pixels of {edge_mm:.1f} mm are larger than those of the CTs that the model learnt "
            "from; small nodules may come out too large.",
            "Look at every outline before you use its size.",
        )
    ]


def _say_of_search(kept: Sequence[Candidate]) -> Notice:
    if not kept:
        return Notice(
            "no-candidates",
            "The search proposes nothing; that does not mean that there is no nodule.",
            "Look through the whole CT, and place points in nodules that you see.",
        )
    return Notice(
        "candidates-experimental",
        "Candidates are a proposal: some nodules are missed, some vessels are shown.",
        "Look through the whole CT.",
    )
