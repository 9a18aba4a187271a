"""The grid of a volume, and its way to LPS order and back."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from isdmae.volume import Volume, to_lps_order


def oriented(order: tuple[int, ...], signs: tuple[int, ...], turn_deg: float = 0.0) -> Volume:
    """A 3 x 4 x 5 volume whose index axes run along permuted, flipped and tilted world axes."""
    direction = np.zeros((3, 3))
    for column, (row, sign) in enumerate(zip(order, signs, strict=True)):
        direction[row, column] = sign
    angle = np.radians(turn_deg)
    tilt = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    return Volume(
        array=np.arange(60, dtype=np.int16).reshape(3, 4, 5),
        spacing_mm=(0.7, 0.8, 2.5),
        origin_mm=(-12.5, 40.0, 7.25),
        direction=tilt @ direction,
    )


ALL_48 = list(
    itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3))
)


@pytest.mark.parametrize("turn_deg", [0.0, 17.0])
@pytest.mark.parametrize(("order", "signs"), ALL_48)
def test_lps_order_keeps_every_voxel_at_its_world_position(
    order: tuple[int, ...], signs: tuple[int, ...], turn_deg: float
) -> None:
    volume = oriented(order, signs, turn_deg)
    turned, way = to_lps_order(volume)
    assert turned.orientation == "LPS"
    assert np.array_equal(way.undo(turned.array), volume.array)
    for value in (0, 23, 59):
        places = []
        for image in (volume, turned):
            k, j, i = (int(index[0]) for index in np.nonzero(image.array == value))
            places.append(image.affine @ (i, j, k, 1))
        assert np.allclose(places[0], places[1], atol=1e-9)


def test_names_of_orientations() -> None:
    assert Volume(array=np.zeros((1, 1, 1))).orientation == "LPS"
    assert oriented((0, 1, 2), (-1, -1, 1)).orientation == "RAS"
    assert oriented((1, 2, 0), (1, -1, 1)).orientation == "PIL"


def test_two_axes_near_45_degrees_never_claim_the_same_world_axis() -> None:
    c = np.sqrt(0.5)
    volume = Volume(array=np.zeros((2, 3, 4)), direction=[[c, -c, 0], [c, c, 0], [0, 0, 1]])
    turned, way = to_lps_order(volume)
    assert sorted(way.source) == [0, 1, 2]
    assert turned.obliquity_deg == pytest.approx(45)


def test_no_axis_is_turned_by_more_than_61_degrees() -> None:
    angles = []
    for direction in Rotation.random(500, random_state=0).as_matrix():
        turned = to_lps_order(Volume(array=np.zeros((2, 3, 4)), direction=direction))[0]
        angles.append(np.degrees(np.arccos(np.diag(turned.direction).min())))
    assert 55 < max(angles) < 61


def test_sizes_and_volumes() -> None:
    volume = oriented((0, 1, 2), (1, 1, 1))
    assert volume.size_mm == pytest.approx((3.5, 3.2, 7.5))
    assert volume.voxel_ml == pytest.approx(0.0014)
    assert volume.shape == (3, 4, 5)


def test_the_voxels_cannot_be_written_through_the_volume() -> None:
    source = np.zeros((2, 2, 2))
    volume = Volume(array=source)
    with pytest.raises(ValueError, match="read-only"):
        volume.array[0, 0, 0] = 1
    source[0, 0, 0] = 1
    assert volume.array[0, 0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        volume.direction[0, 0] = -1


def test_places_are_kept_as_floats_whatever_they_came_as() -> None:
    direction = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    volume = Volume(
        array=np.zeros((2, 2, 2)), spacing_mm=[1, 2, 3], origin_mm=[4, 5, 6], direction=direction
    )
    assert repr((volume.spacing_mm, volume.origin_mm)) == "((1.0, 2.0, 3.0), (4.0, 5.0, 6.0))"
    assert volume.direction.dtype == np.float64


def test_a_picture_stays_a_picture() -> None:
    picture = replace(oriented((1, 0, 2), (1, -1, 1)), is_hu=False)
    assert to_lps_order(picture)[0].is_hu is False
    assert picture.with_array(picture.array + 1).is_hu is False
    assert picture.with_array(picture.array, is_hu=True).is_hu is True


def test_same_grid_looks_at_everything() -> None:
    volume = oriented((0, 1, 2), (1, 1, 1))
    assert volume.same_grid(volume.with_array(np.zeros((3, 4, 5))))
    for other in (
        oriented((0, 1, 2), (-1, 1, 1)),
        Volume(array=volume.array, spacing_mm=volume.spacing_mm),
        Volume(array=volume.array, origin_mm=volume.origin_mm),
        Volume(array=np.zeros((3, 4, 6)), spacing_mm=(0.7, 0.8, 2.5), origin_mm=volume.origin_mm),
    ):
        assert not volume.same_grid(other)


@pytest.mark.parametrize("name", ["spacing_mm", "origin_mm", "direction"])
def test_grids_are_compared_in_millimetres_not_in_parts_of_a_value(name: str) -> None:
    volume = oriented((0, 1, 2), (1, 1, 1))
    other = replace(volume, **{name: 1.000005 * np.asarray(getattr(volume, name))})
    assert not volume.same_grid(other)
    assert volume.same_grid(other, tolerance=1e-3)


def test_a_part_keeps_its_place_in_the_patient() -> None:
    turned = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    whole = Volume(array=array, spacing_mm=(0.7, 0.8, 2.0), origin_mm=(3, -4, 5), direction=turned)
    part = whole.crop((slice(1, 3), slice(2, 5), slice(4, 6)))
    assert np.array_equal(part.array, array[1:3, 2:5, 4:6])
    assert np.allclose(part.affine[:3, 3], (whole.affine @ (4, 2, 1, 1))[:3])
    assert np.array_equal(part.affine[:3, :3], whole.affine[:3, :3])


def test_other_voxels_must_fit_the_grid() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        oriented((0, 1, 2), (1, 1, 1)).with_array(np.zeros((3, 4, 4)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"array": np.zeros((2, 2))}, "3D"),
        ({"array": np.zeros((0, 2, 2))}, "non-empty"),
        ({"spacing_mm": (1, 0, 1)}, "positive"),
        ({"spacing_mm": (1, np.nan, 1)}, "positive"),
        ({"spacing_mm": (1, 1, np.inf)}, "positive"),
        ({"spacing_mm": (1, 1)}, "three positive"),
        ({"origin_mm": (0, np.inf, 0)}, "finite"),
        ({"origin_mm": (0, 0)}, "three finite"),
        ({"direction": np.ones((3, 3))}, "^The direction matrix is not orthonormal.$"),
        ({"direction": 1.001 * np.eye(3)}, "orthonormal"),
    ],
)
def test_impossible_volumes_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Volume(**{"array": np.zeros((2, 2, 2)), **changes})


def test_a_direction_may_be_rounded() -> None:
    rounded = Volume(array=np.zeros((2, 2, 2)), direction=1.0004 * np.eye(3))
    assert rounded.obliquity_deg == 0
