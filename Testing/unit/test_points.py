"""Crops round a point: where they are cut, what is put back, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from isdmae.errors import InputError
from isdmae.points import (
    Crops,
    cut_crops,
    index_of,
    longest_diameter_mm,
    paste,
    structure_at,
)
from isdmae.volume import Volume


def ct() -> Volume:
    array = np.full((30, 60, 80), -900, np.int16)
    array[14:17, 20:24, 10:14] = 40
    array[14:17, 20:24, 40:44] = 40
    return Volume(array=array, spacing_mm=(0.7, 0.7, 2.5), origin_mm=(-20.0, 5.0, -300.0))


def place(k: int, j: int, i: int) -> tuple[float, float, float]:
    return (-20.0 + 0.7 * i, 5.0 + 0.7 * j, -300.0 + 2.5 * k)


def test_the_point_is_in_the_middle_of_its_crops() -> None:
    crops = cut_crops(ct(), place(15, 21, 42), 32)
    assert index_of(place(15, 21, 42), ct()) == (15, 21, 42) == crops.centre
    assert crops.pictures.shape == (21, 32, 32)
    k = crops.centre[0] - crops.first[0]
    assert crops.pictures[k, 16, 16] == 255
    assert crops.pictures[k, 0, 0] == 0


def test_padding_is_read_as_air() -> None:
    padded, air = np.array(ct().array), np.array(ct().array)
    padded[:, :, 50:], air[:, :, 50:] = -3024, -1024
    seen = [
        cut_crops(ct().with_array(one), place(15, 21, 42), 32).pictures for one in (padded, air)
    ]
    assert np.array_equal(*seen)


def test_what_was_found_returns_to_its_place_even_over_the_border() -> None:
    volume = ct()
    crops = cut_crops(volume, place(15, 22, 11), 32)
    assert crops.first[2] < 0
    labels = np.zeros(volume.shape, np.uint8)
    found = (crops.pictures > 200).astype(np.uint8)
    found[[k for k in range(len(found)) if not 14 <= k + crops.first[0] < 17]] = 0
    part = structure_at(crops, found, volume.spacing_mm)
    assert part is not None
    assert paste(labels, crops, part, 3)
    expected = (volume.array > 0) & (np.arange(80) < 20)
    assert np.array_equal(labels, 3 * expected)
    # A second point in the same structure finds nothing new; what is free stays free.
    assert not paste(labels, crops, part, 4)
    assert set(np.unique(labels)) == {0, 3}


def test_of_two_that_touch_the_first_keeps_its_voxels() -> None:
    volume = ct()
    crops = cut_crops(volume, place(15, 22, 41), 32)
    labels = np.zeros(volume.shape, np.uint8)
    labels[15, 20:24, 40] = 1
    part = np.zeros(crops.pictures.shape, bool)
    local = 15 - crops.first[0]
    part[local, 14:18, 15:19] = True
    assert paste(labels, crops, part, 2)
    assert (labels == 1).sum() == 4
    assert (labels == 2).sum() == 12


def crops_of(sections: list[int], at: int) -> tuple[Crops, np.ndarray]:
    """A column of squares with these edges (0: none), the point in section ``at``."""
    found = np.zeros((len(sections), 40, 40), np.uint8)
    for k, edge in enumerate(sections):
        low = 20 - edge // 2
        found[k, low : low + edge, low : low + edge] = 1
    return Crops(pictures=found, first=(0, 0, 0), centre=(at, 20, 20)), found


@pytest.mark.parametrize(
    ("sections", "at", "kept"),
    [
        ([0, 4, 8, 10, 8, 4, 0, 5], 3, range(1, 6)),  # ends where nothing is
        ([12, 9, 4, 8, 10, 8, 4, 6, 20], 4, range(2, 7)),  # ends at the neck to a vessel
        ([4, 8, 10, 9, 10, 8, 4, 0, 0], 0, range(7)),  # a small dip is no neck
    ],
)
def test_a_structure_is_followed_to_its_end(sections: list[int], at: int, kept: range) -> None:
    crops, found = crops_of(sections, at)
    part = structure_at(crops, found, (1.0, 1.0, 1.0))
    assert part is not None
    expected = [found[k].sum() if k in kept else 0 for k in range(len(sections))]
    assert part.sum(axis=(1, 2)).tolist() == expected


def test_only_the_part_at_the_point_is_kept() -> None:
    crops, found = crops_of([0, 0, 2, 0, 0], 2)
    found[2, 19:21, 30:34] = 1
    part = structure_at(crops, found, (0.7, 0.7, 2.5))
    assert part is not None
    assert part.sum() == 4
    assert part[2, 20, 20]
    # The nearest one, up to 6 mm away; beyond that nothing.
    near = Crops(pictures=found, first=(0, 0, 0), centre=(2, 20, 27))
    part = structure_at(near, found, (0.7, 0.7, 2.5))
    assert part is not None
    assert part.sum() == 8
    far = Crops(pictures=found, first=(0, 0, 0), centre=(2, 5, 20))
    assert structure_at(far, found, (0.7, 0.7, 2.5)) is None
    assert structure_at(far, found * 0, (0.7, 0.7, 2.5)) is None


def test_the_longest_diameter_lies_within_a_slice() -> None:
    labels = np.zeros((3, 20, 20), np.uint8)
    labels[0, 10, 10] = 1
    labels[1, 5:13, 7] = 2
    labels[2, 2, 3:6] = 2
    found = longest_diameter_mm(labels, (0.8, 0.6, 5.0))
    assert found == {1: pytest.approx(0.8), 2: pytest.approx(4.8)}
    disc = (np.hypot(*np.mgrid[-20:21, -20:21]) <= 15).astype(np.uint8)
    assert longest_diameter_mm(disc[None], (0.5, 0.5, 1.0))[1] == pytest.approx(15.0, abs=0.75)


def test_a_point_outside_the_scan_is_refused() -> None:
    with pytest.raises(InputError, match="outside the scan"):
        cut_crops(ct(), (500.0, 0.0, 0.0), 32)
    with pytest.raises(InputError, match="outside the scan"):
        index_of((float("nan"), 0.0, 0.0), ct())
