"""Crops round a point: where they are cut, what is put back, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from isdmae.errors import InputError
from isdmae.points import connected_at, cut_crops, index_of, paste_nearest
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


def test_what_was_found_returns_to_its_place_even_over_the_border() -> None:
    volume = ct()
    crops = cut_crops(volume, place(15, 22, 11), 32)
    assert crops.first[2] < 0
    labels = np.zeros(volume.shape, np.uint8)
    found = (crops.pictures > 200).astype(np.uint8)
    found[[k for k in range(len(found)) if not 14 <= k + crops.first[0] < 17]] = 0
    assert paste_nearest(labels, crops, found, (0.7, 0.7, 2.5))
    expected = (volume.array > 0) & (np.arange(80) < 20)
    assert np.array_equal(labels > 0, expected)


def test_only_the_part_at_the_point_is_kept() -> None:
    mask = np.zeros((5, 40, 40), bool)
    mask[2, 20:22, 20:22] = True
    mask[2, 20:22, 30:34] = True
    part = connected_at(mask, (2, 20, 24), (0.7, 0.7, 2.5))
    assert part is not None
    assert part.sum() == 4
    assert part[2, 20, 20]
    assert connected_at(mask, (2, 0, 0), (0.7, 0.7, 2.5)) is None
    assert connected_at(mask & False, (2, 0, 0), (0.7, 0.7, 2.5)) is None
    labels = np.zeros((30, 60, 80), np.uint8)
    crops = cut_crops(ct(), place(3, 50, 70), 32)
    assert not paste_nearest(labels, crops, np.zeros(crops.pictures.shape, np.uint8), (1, 1, 1))


def test_a_point_outside_the_scan_is_refused() -> None:
    with pytest.raises(InputError, match="outside the scan"):
        cut_crops(ct(), (500.0, 0.0, 0.0), 32)
