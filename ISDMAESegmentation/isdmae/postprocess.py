"""Clean a network's labels: specks out or to the right side, holes filled, volumes measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .labels import Label
from .volume import Array, Volume


@dataclass(frozen=True, kw_only=True)
class PostprocessConfig:
    """Rules for all labels of a model; stored in its ``model.json``.

    Parameters
    ----------
    smallest_ml : float
        In a CT, a connected part smaller than a ball of this volume is a speck; in a slab thinner
        than the ball, one smaller than the ball's cross-section through the slab.
    thinnest_mm : float
        In a CT, a connected part that reaches over fewer slices than make up this thickness is a
        speck as well: the edge of the diaphragm looks like ground glass in a slice or two. A scan
        that is thinner altogether is not judged by it.
    smallest_share : float
        In a picture, a connected part smaller than this share of the picture is a speck.
    fill_holes : bool
        Fill what a label encloses completely; in a single slice only what would be a speck, since
        a larger island there may be the dome of the diaphragm.
    """

    smallest_ml: float = 5.0
    thinnest_mm: float = 0.0
    smallest_share: float = 0.001
    fill_holes: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.smallest_ml < 1e4 or not 0 <= self.smallest_share <= 1:
            raise ValueError("smallest_ml or smallest_share is outside its range")
        if not 0 <= self.thinnest_mm <= 100:
            raise ValueError("thinnest_mm is outside its range, 0 to 100")


@dataclass(frozen=True, kw_only=True)
class CleaningCounts:
    """How many voxels the cleaning changed."""

    moved: int = 0
    """Specks given to the label they hang on."""
    removed: int = 0
    """Specks taken away."""
    filled: int = 0
    """Holes filled."""


def clean(
    labelmap: Volume, config: PostprocessConfig, *, slices: int | None = None
) -> tuple[Volume, CleaningCounts]:
    """Apply the rules to a labelmap.

    A speck of one label that touches a large part of another is given to that one (a few voxels
    of "left" inside the right lung); a speck that touches nothing is removed.

    Parameters
    ----------
    labelmap : Volume
        uint8 labels in LPS order; ``is_hu`` tells a CT from a picture.
    config : PostprocessConfig
        The rules.
    slices : int, optional
        How many slices were looked at, where it was not all of them.

    Returns
    -------
    Volume
        The same grid, cleaned.
    CleaningCounts
        For the report.
    """
    if not labelmap.array.any():
        return labelmap, CleaningCounts()
    labels = np.array(labelmap.array)
    box = bounding_box(labels)
    part = labels[box]
    looked_at = slices or len(labels)
    smallest = smallest_voxels(labelmap, config, looked_at)
    thinnest = fewest_slices(labelmap, config, looked_at)
    moved, removed = _settle_specks(part, smallest, thinnest)
    filled = _fill_holes(part, smallest) if config.fill_holes else 0
    return labelmap.with_array(labels), CleaningCounts(moved=moved, removed=removed, filled=filled)


def smallest_voxels(labelmap: Volume, config: PostprocessConfig, slices: int) -> float:
    """Return the size in voxels under which a part is a speck; see `PostprocessConfig`."""
    if not labelmap.is_hu:
        return config.smallest_share * labelmap.shape[1] * labelmap.shape[2]
    disc_mm3 = math.pi * speck_radius_mm(config) ** 2 * slices * labelmap.spacing_mm[2]
    return min(1000 * config.smallest_ml, disc_mm3) / 1000 / labelmap.voxel_ml


def speck_radius_mm(config: PostprocessConfig) -> float:
    """Return the radius of the ball under whose volume a part is a speck."""
    return float((3 * 1000 * config.smallest_ml / (4 * math.pi)) ** (1 / 3))


def speck_slices(labelmap: Volume, config: PostprocessConfig) -> int:
    """Return how many slices of a CT a speck's radius spans, at least 1; of pictures 1.

    A part between slices so far apart that shows on none of them is thinner than that.
    """
    if not labelmap.is_hu:
        return 1
    return max(1, int(speck_radius_mm(config) / labelmap.spacing_mm[2]))


def fewest_slices(labelmap: Volume, config: PostprocessConfig, slices: int) -> int:
    """Return how many slices a part reaches over that is no speck; see `PostprocessConfig`."""
    if not labelmap.is_hu:
        return 1
    return max(1, min(slices, round(config.thinnest_mm / labelmap.spacing_mm[2])))


def bounding_box(labels: Array) -> tuple[slice, slice, slice]:
    """Return the smallest box (k, j, i) that holds every non-zero voxel; there must be one."""
    spans = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        used = np.flatnonzero(labels.any(axis=others))
        spans.append(slice(int(used[0]), int(used[-1]) + 1))
    return spans[0], spans[1], spans[2]


def volumes_ml(labelmap: Volume, labels: Sequence[Label]) -> dict[str, float]:
    """Return each label's volume in mL by name."""
    part = labelmap.array
    if part.any():
        part = part[bounding_box(part)]
    return {
        label.name: float(np.count_nonzero(part == label.value)) * labelmap.voxel_ml
        for label in labels
    }


def _components(mask: Array) -> tuple[Array, Array]:
    """Return 6-connected component numbers (0 = background) and their sizes by number.

    That of the background is 0.
    """
    image = sitk.ConnectedComponent(sitk.GetImageFromArray(mask.astype(np.uint8)))
    numbers = np.array(sitk.GetArrayViewFromImage(image))
    return numbers, np.bincount(numbers[mask], minlength=1)


def _slices_reached(numbers: Array, count: int) -> Array:
    """Return over how many slices each component reaches, index = number below ``count``."""
    present = [np.bincount(one[one > 0], minlength=count) > 0 for one in numbers]
    result: Array = np.sum(present, axis=0)
    return result


def _settle_specks(part: Array, smallest: float, thinnest: int) -> tuple[int, int]:
    """Move or remove small components in place; returns the voxels moved and removed."""
    specks = np.zeros(part.shape, dtype=bool)
    for value, box in _boxes(part):
        numbers, sizes = _components(part[box] == value)
        small = sizes < smallest
        if thinnest > 1:
            small |= _slices_reached(numbers, len(sizes)) < thinnest
        small[0] = False
        if small.any():
            specks[box] |= small[numbers]
    if not specks.any():
        return 0, 0
    numbers, _ = _components(specks)
    owner = _neighbour_votes(numbers, np.where(specks, 0, part))
    part[specks] = owner[numbers[specks]].astype(part.dtype)
    moved = int(np.count_nonzero(part[specks]))
    return moved, int(specks.sum()) - moved


def _boxes(part: Array) -> list[tuple[int, tuple[slice, slice, slice]]]:
    """Return each label's value and the smallest box that holds it."""
    masks = ((value, part == value) for value in range(1, int(part.max()) + 1))
    return [(value, bounding_box(mask)) for value, mask in masks if mask.any()]


def _neighbour_votes(numbers: Array, kept: Array) -> Array:
    """Return for each component number the label that most of its outer neighbours have.

    0 where none of them has one. ``numbers`` and ``kept`` are (k, j, i), nowhere both above 0.
    """
    rows = int(numbers.max()) + 1
    votes = np.zeros((rows, int(kept.max()) + 1), dtype=np.int64)
    for axis in range(3):
        before, after = [slice(None)] * 3, [slice(None)] * 3
        before[axis], after[axis] = slice(None, -1), slice(1, None)
        for one, other in ((before, after), (after, before)):
            number, label = numbers[tuple(one)], kept[tuple(other)]
            touching = (number > 0) & (label > 0)
            np.add.at(votes, (number[touching], label[touching]), 1)
    winner: Array = votes.argmax(axis=1)
    return winner


def _fill_holes(part: Array, smallest: float) -> int:
    """Fill what each label encloses, in place; other labels are never overwritten.

    A hole is 6-connected and does not reach the outside of its label's box.
    """
    filled = 0
    single = len(part) == 1
    for value, box in _boxes(part):
        around = [(0, 0) if single else (1, 1), (1, 1), (1, 1)]
        empty = np.pad(part[box] != value, around, constant_values=True)
        numbers, sizes = _components(empty)
        if len(sizes) == 2:
            continue
        outside = numbers[0, 0, 0]
        hole = np.ones(len(sizes), dtype=bool)
        if single:
            hole = sizes < smallest
        hole[[0, outside]] = False
        holes = hole[numbers[0 if single else slice(1, -1), 1:-1, 1:-1]].reshape(part[box].shape)
        holes &= part[box] == 0
        part[box][holes] = value
        filled += int(np.count_nonzero(holes))
    return filled
