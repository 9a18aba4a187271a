"""Clean a network's labels: specks out or to the right side, holes filled, volumes measured."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .labels import Label
from .parts import Parts, bounding_box, connect
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
    least_hu : float, optional
        In a CT, a connected part whose median lies below this is removed: what holds as much air as
        healthy lung is no lesion. A network that reads CTs as equalised pictures does not see that.
    """

    smallest_ml: float = 5.0
    thinnest_mm: float = 0.0
    smallest_share: float = 0.001
    fill_holes: bool = True
    least_hu: float | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.smallest_ml < 1e4 or not 0 <= self.smallest_share <= 1:
            raise ValueError("smallest_ml or smallest_share is outside its range")
        if not 0 <= self.thinnest_mm <= 100:
            raise ValueError("thinnest_mm is outside its range, 0 to 100")
        if self.least_hu is not None and not -1024 <= self.least_hu <= 3071:
            raise ValueError("least_hu is outside its range, -1024 to 3071")


@dataclass(frozen=True, kw_only=True)
class CleaningCounts:
    """How many voxels the cleaning changed."""

    moved: int = 0
    """Specks given to the label they hang on."""
    removed: int = 0
    """Specks taken away."""
    filled: int = 0
    """Holes filled."""
    aerated: int = 0
    """Parts that hold as much air as healthy lung, taken away."""


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
    labels = np.array(labelmap.array)
    counts = clean_in_place(labels, labelmap, config, slices=slices)
    return labelmap.with_array(labels), counts


def clean_in_place(
    labels: Array, grid: Volume, config: PostprocessConfig, *, slices: int | None = None
) -> CleaningCounts:
    """Do the same to uint8 labels (k, j, i) that lie on a grid, without a copy of a long scan."""
    box = bounding_box(labels)
    if box is None:
        return CleaningCounts()
    part = labels[box]
    parts = Parts.of(np.ascontiguousarray(part))
    looked_at = slices or len(labels)
    smallest = smallest_voxels(grid, config, looked_at)
    thinnest = fewest_slices(grid, config, looked_at)
    values = parts.values.copy()
    moved, removed = _settle_specks(parts, values, smallest, thinnest)
    filled = _fill_holes(parts, values, smallest) if config.fill_holes else 0
    changed = values != parts.values
    for value in np.unique(values[changed]):
        part[parts.voxels(changed & (values == value))] = value
    return CleaningCounts(moved=moved, removed=removed, filled=filled)


def remove_aerated(labels: Array, ct: Volume, least_hu: float) -> int:
    """Take away parts whose median is below a limit: what is full of air is no lesion.

    Parameters
    ----------
    labels : numpy.ndarray
        uint8 (k, j, i), changed in place.
    ct : Volume
        The CT in HU on the same grid.
    least_hu : float
        A 6-connected part of one label whose median lies below this is removed.

    Returns
    -------
    int
        How many voxels were removed.

    Examples
    --------
    >>> labels = np.array([[[1, 1, 0, 1]]], np.uint8)
    >>> remove_aerated(labels, Volume(array=np.array([[[-900, -880, 0, -600]]])), -750), labels
    (2, array([[[0, 0, 0, 1]]], dtype=uint8))
    """
    box = bounding_box(labels)
    if box is None:
        return 0
    part, hu = labels[box], ct.array[box]
    parts = Parts.of(np.ascontiguousarray(part))
    removed = 0
    for number in np.flatnonzero(parts.values):
        voxels = parts.voxels(np.arange(len(parts.values)) == number)
        if np.median(hu[voxels]) < least_hu:
            part[voxels] = 0
            removed += len(voxels[0])
    return removed


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


def volumes_ml(labelmap: Volume, labels: Sequence[Label]) -> dict[str, float]:
    """Return each label's volume in mL by name."""
    voxels = {
        # Slice by slice, so that what is compared stays in the cache.
        label.name: sum(np.count_nonzero(one == label.value) for one in labelmap.array)
        for label in labels
    }
    return {name: float(count) * labelmap.voxel_ml for name, count in voxels.items()}


def _settle_specks(parts: Parts, values: Array, smallest: float, thinnest: int) -> tuple[int, int]:
    """Give small parts another value, in place; returns the voxels moved and removed."""
    sizes = parts.sizes
    speck = sizes < smallest
    if thinnest > 1:
        first, last = parts.slice_spans
        speck |= last - first + 1 < thinnest
    speck &= values > 0
    if not speck.any():
        return 0, 0
    one, other = parts.one, parts.other
    inner = speck[one] & speck[other]
    cluster, count = connect(len(values), one[inner], other[inner])
    votes = np.zeros((count, int(values.max()) + 1), dtype=np.int64)
    for inside, outside in ((one, other), (other, one)):
        rim = speck[inside] & ~speck[outside] & (values[outside] > 0)
        np.add.at(votes, (cluster[inside[rim]], values[outside[rim]]), parts.faces[rim])
    # Where no neighbour has a label, the first of equals is the background.
    values[speck] = votes.argmax(axis=1)[cluster[speck]]
    moved = int(sizes[speck & (values > 0)].sum())
    return moved, int(sizes[speck].sum()) - moved


def _fill_holes(parts: Parts, values: Array, smallest: float) -> int:
    """Give the background that a label encloses its value, in place; returns the voxels filled.

    A hole may hold other labels, which are never overwritten. It is 6-connected and does not reach
    the faces of its label's box.
    """
    filled, sizes = 0, parts.sizes
    for value in np.unique(values[values > 0]):
        enclosed = _away_from_faces(parts, values == value)
        if not enclosed.any():
            continue
        one, other = parts.one, parts.other
        near = (enclosed[one] | enclosed[other]) & (values[one] != value) & (values[other] != value)
        gap, count = connect(len(values), one[near], other[near])
        hole = np.ones(count, dtype=bool)
        hole[gap[~enclosed]] = False
        if parts.single:
            hole &= np.bincount(gap, sizes, count) < smallest
        holes = hole[gap] & (values == 0)
        values[holes] = value
        filled += int(sizes[holes].sum())
    return filled


def _away_from_faces(parts: Parts, label: Array) -> Array:
    """Return which parts do not reach the faces of the box of a label, and are not the label's.

    ``label`` and the result are bool (R,). In a single slice the box has no face above and below.
    """
    away = ~label
    if not parts.single:
        first, last = parts.slice_spans
        away &= (first > first[label].min()) & (last < last[label].max())
    _, row, column = parts.places
    runs, others = (np.flatnonzero(chosen[parts.of_run]) for chosen in (label, away))
    for first, last in ((row, row), (column, column + parts.lengths - 1)):
        reach = (first[others] <= first[runs].min()) | (last[others] >= last[runs].max())
        away[parts.of_run[others[reach]]] = False
    return away
