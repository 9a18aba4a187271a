"""A search for candidates: balls of any size in the lungs, not vessels; and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae.candidates import CandidateConfig, _peaks, find_candidates, looks_like_nodule
from isdmae.volume import Array, Volume

SPACING_MM = (1.0, 1.2, 2.0)
SHAPE = (40, 66, 80)  # 80 mm each way
ORIGIN_MM = (-40.0, 10.0, 300.0)


def millimetres() -> list[Array]:
    """Distance from the first voxel along k, j and i, each broadcast to the shape."""
    axes = [np.arange(n) * mm for n, mm in zip(SHAPE, reversed(SPACING_MM), strict=True)]
    return np.meshgrid(*axes, indexing="ij")


def ball(k: float, j: float, i: float, radius_mm: float) -> Array:
    z, y, x = millimetres()
    return np.sqrt((z - k) ** 2 + (y - j) ** 2 + (x - i) ** 2) <= radius_mm


def chest(*bright: Array) -> tuple[Volume, Array]:
    """A CT of muscle with a box of lung, in which some voxels are as dense as a nodule."""
    lungs = np.zeros(SHAPE, np.uint8)
    lungs[4:-4, 6:-6, 8:-8] = 1
    hu = np.where(lungs, -850, 40).astype(np.int16)
    for voxels in bright:
        hu[voxels] = 40
    return Volume(array=hu, spacing_mm=SPACING_MM, origin_mm=ORIGIN_MM), lungs


@pytest.mark.parametrize("radius_mm", [2.6, 4.0, 6.0, 9.0, 13.0])
def test_a_ball_is_found_at_any_scale(radius_mm: float) -> None:
    ct, lungs = chest(ball(40, 38, 42, radius_mm))
    first = find_candidates(ct, lungs)[0]
    expected = np.add(ORIGIN_MM, (42, 38, 40))
    assert np.linalg.norm(np.subtract(first.point_mm, expected)) <= 2.0
    assert first.scale_mm == pytest.approx(radius_mm / np.sqrt(3), rel=0.45)


def test_a_vessel_scores_far_below_a_ball_of_its_width() -> None:
    _, y, x = millimetres()
    vessel = np.hypot(y - 38, x - 42) <= 4.0
    ct, lungs = chest(ball(40, 38, 42, 4.0))
    nodule = find_candidates(ct, lungs)[0].blobness
    ct, lungs = chest(vessel & (lungs > 0))
    assert all(one.blobness < nodule / 4 for one in find_candidates(ct, lungs))


def test_outside_the_lungs_nothing_is_searched() -> None:
    spot = ball(40, 38, 42, 5.0)
    ct, lungs = chest(spot)
    clearest = find_candidates(ct, lungs)[0].blobness
    # What is left is the rim of the hole.
    rest = find_candidates(ct, np.where(spot, 0, lungs))
    assert all(one.blobness < clearest / 4 for one in rest)
    assert find_candidates(ct, lungs * 0) == []


def test_a_slab_too_thin_for_a_ball_has_none() -> None:
    ct, lungs = chest(ball(40, 38, 42, 5.0))
    box = (slice(19, 21), slice(0, SHAPE[1]), slice(0, SHAPE[2]))  # 4 mm
    assert find_candidates(ct.crop(box), lungs[box]) == []


def test_the_best_come_first_each_once_and_no_more_than_asked_for() -> None:
    ct, lungs = chest(ball(26, 25, 25, 5.0), ball(54, 52, 55, 4.0) & (millimetres()[0] > 53))
    found = find_candidates(ct, lungs)
    assert len(found) >= 2
    assert [one.blobness for one in found] == sorted((one.blobness for one in found), reverse=True)
    places = np.array([one.point_mm for one in found])
    for n, place in enumerate(places):
        others = np.delete(places, n, axis=0)
        assert np.linalg.norm(others - place, axis=1).min() > 6.0
    assert find_candidates(ct, lungs, CandidateConfig(most=1)) == found[:1]
    with pytest.raises(ValueError, match="positive"):
        CandidateConfig(most=0)


def looks(part: Array, lungs: Array) -> bool:
    return looks_like_nodule(part, lungs, SPACING_MM)


def test_rules_of_shape_and_place_from_both_sides() -> None:
    _, lungs = chest()
    z, y, x = millimetres()

    def egg(longer: float) -> Array:
        return np.sqrt((z - 40) ** 2 + (y - 38) ** 2 + ((x - 40) / longer) ** 2) <= 6

    assert looks(egg(1.0), lungs)
    assert looks(egg(1.8), lungs)
    assert not looks(egg(2.4), lungs)
    assert not looks(egg(1.0) & (z == 40), lungs)  # one slice
    assert looks(ball(40, 38, 40, 2.6), lungs)
    assert not looks(ball(40, 38, 40, 1.8), lungs)
    assert looks(ball(40, 38, 40, 6.0), np.where(x > 44, 0, lungs))
    assert not looks(ball(40, 38, 40, 6.0), np.where(x > 41, 0, lungs))
    assert not looks(np.zeros(SHAPE, bool), lungs)


@pytest.mark.parametrize("step", [0.0, 0.01])
def test_peaks_are_the_highest_within_a_ball_of_two_voxels(step: float) -> None:
    chance = np.random.default_rng(0)
    noise = sitk.GetImageFromArray(chance.normal(size=(20, 24, 28)).astype(np.float32))
    values = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(noise, 1.5))
    if step:  # ties and plateaus
        values = np.round(values / step) * np.float32(step)
    allowed = chance.random(values.shape) < 0.9
    image = sitk.GetImageFromArray(values)
    highest = sitk.GetArrayFromImage(sitk.GrayscaleDilate(image, [2, 2, 2]))
    expected = np.argwhere((values == highest) & allowed)
    assert len(expected) > 20
    assert np.array_equal(_peaks(values, allowed), expected)
