"""Crops round a point: where they are cut, what is put back, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from isdmae.errors import InputError
from isdmae.points import (
    Crops,
    cut_crops,
    index_of,
    is_cut_off,
    longest_diameter_mm,
    on_scan,
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
    assert crops.middle == (10, 16, 16)
    assert crops.spacing_mm == (0.7, 0.7, 2.5)
    assert crops.pictures[crops.middle] == 255
    assert crops.pictures[10, 0, 0] == 0


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
    labels = np.zeros(volume.shape, np.uint8)
    found = (crops.pictures > 200).astype(np.uint8)
    found[[k for k in range(len(found)) if abs(k - crops.middle[0]) > 1]] = 0
    part = structure_at(crops, found)
    assert part is not None
    box, mine = on_scan(part, crops, volume.shape)
    assert paste(labels, box, mine, 3)
    expected = (volume.array > 0) & (np.arange(80) < 20)
    assert np.array_equal(labels, 3 * expected)
    # A second point in the same structure finds nothing new; what is free stays free.
    assert not paste(labels, box, mine, 4)
    assert set(np.unique(labels)) == {0, 3}


def test_of_two_that_touch_the_first_keeps_its_voxels() -> None:
    volume = ct()
    crops = cut_crops(volume, place(15, 22, 41), 32)
    labels = np.zeros(volume.shape, np.uint8)
    labels[15, 20:24, 40] = 1
    part = np.zeros(crops.pictures.shape, bool)
    part[crops.middle[0], 14:18, 15:19] = True
    assert paste(labels, *on_scan(part, crops, labels.shape), 2)
    assert (labels == 1).sum() == 4
    assert (labels == 2).sum() == 12


def crops_of(sections: list[int], at: int) -> tuple[Crops, np.ndarray]:
    """A column of squares with these edges (0: none), the point in section ``at``."""
    found = np.zeros((len(sections), 40, 40), np.uint8)
    for k, edge in enumerate(sections):
        low = 20 - edge // 2
        found[k, low : low + edge, low : low + edge] = 1
    return crops_at(found, (at, 20, 20), (1.0, 1.0, 1.0)), found


def crops_at(
    found: np.ndarray, middle: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> Crops:
    """Crops that are the whole scan, with the point at ``middle``."""
    return Crops(pictures=found, centre=middle, middle=middle, spacing_mm=spacing_mm)


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
    part = structure_at(crops, found)
    assert part is not None
    expected = [found[k].sum() if k in kept else 0 for k in range(len(sections))]
    assert part.sum(axis=(1, 2)).tolist() == expected


def test_only_the_part_at_the_point_is_kept() -> None:
    _, found = crops_of([0, 0, 2, 0, 0], 2)
    found[2, 19:21, 30:34] = 1
    part = structure_at(crops_at(found, (2, 20, 20), (0.7, 0.7, 2.5)), found)
    assert part is not None
    assert part.sum() == 4
    assert part[2, 20, 20]
    # The nearest one, up to 6 mm away; beyond that nothing.
    near = crops_at(found, (2, 20, 27), (0.7, 0.7, 2.5))
    part = structure_at(near, found)
    assert part is not None
    assert part.sum() == 8
    far = crops_at(found, (2, 5, 20), (0.7, 0.7, 2.5))
    assert structure_at(far, found) is None
    assert structure_at(far, found * 0) is None


def ball(pixel_mm: tuple[float, float]) -> Volume:
    """A CT with a ball of 12 mm in the middle, of pixels (i, j) of this size; 72 mm across."""
    size = (25, round(72 / pixel_mm[1]), round(72 / pixel_mm[0]))
    spacing = (*pixel_mm, 2.0)
    mm = [(np.arange(n) - n // 2) * s for n, s in zip(size, reversed(spacing), strict=True)]
    away = np.sqrt(sum(axis**2 for axis in np.meshgrid(*mm, indexing="ij")))
    return Volume(array=np.where(away <= 6, 40, -900).astype(np.int16), spacing_mm=spacing)


@pytest.mark.parametrize("pixel_mm", [(1.01, 1.01), (1.6, 1.6), (2.4, 0.8), (0.5, 1.5)])
def test_coarse_pixels_are_resampled_to_those_that_the_network_learnt_from(
    pixel_mm: tuple[float, float],
) -> None:
    volume = ball(pixel_mm)
    k, j, i = (length // 2 for length in volume.shape)
    crops = cut_crops(volume, (i * pixel_mm[0], j * pixel_mm[1], k * 2.0), 128)
    assert crops.spacing_mm == (0.7, 0.7, 2.0)
    found = (crops.pictures > 127).astype(np.uint8)
    # As wide and as high as it is in millimetres, with the point in its middle.
    section = found[crops.middle[0]]
    for axis in (0, 1):
        places = np.flatnonzero(section.any(axis=axis))
        assert len(places) * 0.7 == pytest.approx(12, abs=0.7 + max(pixel_mm))
        assert places.mean() == pytest.approx(64, abs=0.51)
    part = structure_at(crops, found)
    assert part is not None
    labels = np.zeros(volume.shape, np.uint8)
    assert paste(labels, *on_scan(part, crops, volume.shape), 1)
    truth = volume.array > 0
    assert ((labels > 0) ^ truth).sum() <= 0.05 * truth.sum()


@pytest.mark.parametrize("pixel_mm", [(0.46, 0.46), (1.0, 1.0), (0.6, 0.9)])
def test_pixels_like_those_that_the_network_learnt_from_stay(
    pixel_mm: tuple[float, float],
) -> None:
    volume = ball(pixel_mm)
    k, j, i = (length // 2 for length in volume.shape)
    crops = cut_crops(volume, (i * pixel_mm[0], j * pixel_mm[1], k * 2.0), 32)
    own = volume.array[:, j - 16 : j + 16, i - 16 : i + 16]
    assert crops.spacing_mm == volume.spacing_mm
    assert np.array_equal(crops.pictures > 127, own[k - crops.middle[0] :] > 0)


def test_what_lies_between_the_middles_of_coarse_voxels_leaves_nothing() -> None:
    volume = ball((3.0, 3.0))
    crops = cut_crops(volume, (36.0, 36.0, 24.0), 64)
    part = np.zeros(crops.pictures.shape, bool)
    part[12, 34, 34] = True
    assert not on_scan(part, crops, volume.shape)[1].any()


@pytest.mark.parametrize(
    ("box", "slices", "cut_off"),
    [
        ((slice(8, 12), slice(20, 30), slice(20, 30)), 21, False),
        ((slice(8, 12), slice(12, 30), slice(20, 30)), 21, True),  # the first row that is seen
        ((slice(8, 12), slice(20, 30), slice(20, 52)), 21, True),  # the last column that is seen
        ((slice(8, 12), slice(13, 51), slice(20, 30)), 21, False),
        ((slice(8, 21), slice(20, 30), slice(20, 30)), 21, False),  # the last slice of the scan
        ((slice(8, 21), slice(20, 30), slice(20, 30)), 22, True),  # the last one of the crops
        ((slice(8, 12), slice(15, 49), slice(15, 49)), 21, True),  # 48 mm along the diagonal
    ],
)
def test_what_goes_on_beyond_what_the_network_sees_is_known(
    box: tuple[slice, slice, slice], slices: int, cut_off: bool
) -> None:
    part = np.zeros((21, 64, 64), bool)
    part[box] = True
    crops = crops_at(part, (10, 32, 32), (1.0, 1.0, 2.5))
    assert is_cut_off(part, crops, 40, slices) == cut_off


def test_the_first_slice_of_the_scan_is_no_end_of_the_crops() -> None:
    part = np.zeros((21, 64, 64), bool)
    part[:3, 20:30, 20:30] = True
    at_end = crops_at(part, (10, 32, 32), (1.0, 1.0, 2.5))
    assert not is_cut_off(part, at_end, 40, 31)
    within = Crops(
        pictures=part, centre=(20, 32, 32), middle=(10, 32, 32), spacing_mm=(1.0, 1.0, 2.5)
    )
    assert is_cut_off(part, within, 40, 31)


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
