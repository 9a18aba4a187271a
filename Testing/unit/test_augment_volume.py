"""Changes of stacks of slices: geometry, values, sides."""

from __future__ import annotations

import numpy as np
import pytest

from isdmae.preprocess import AIR_HU
from isdmae_train.augment import roles_of
from isdmae_train.augment_volume import (
    Pose,
    change_values,
    cut_image,
    cut_labels,
    draw_pose,
    nearest_slices,
    warp_slices,
)
from isdmae_train.config.data import AugmentConfig

LUNGS = ("left lung", "right lung")
ROLES = roles_of(LUNGS, LUNGS)
STILL = Pose(plane=np.eye(2), depth=1.0, mirrored=False)
PLAIN = AugmentConfig(
    rotation_deg=0.0, scale=(1.0, 1.0), mirror=0.0, field_of_view=0.0, blur=0.0, noise=0.0,
    picture=0.0,
)  # fmt: skip


def scan(shape: tuple[int, int, int] = (12, 20, 24)) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 500, shape).astype(np.int16)


def test_without_any_change_a_cube_is_a_part_of_the_scan() -> None:
    volume = scan()
    cube = cut_image(volume, STILL, (5.5, 9.5, 11.5), (4, 8, 6), AIR_HU)
    assert cube.dtype == np.float32
    assert np.array_equal(cube, volume[4:8, 6:14, 9:15])


def test_beside_the_scan_lies_air_without_labels() -> None:
    volume = scan((3, 8, 8))
    cube = cut_image(volume, STILL, (1.0, 3.5, 3.5), (7, 12, 12), AIR_HU)
    assert np.array_equal(cube[2:5, 2:10, 2:10], volume)
    outside = np.ones(cube.shape, bool)
    outside[2:5, 2:10, 2:10] = False
    assert np.all(cube[outside] == AIR_HU)
    labels = cut_labels(np.ones((3, 8, 8), np.uint8), STILL, (1.0, 3.5, 3.5), (7, 12, 12), ROLES)
    assert np.array_equal(labels == 0, outside)


def test_thick_slices_are_interpolated_and_thin_ones_averaged() -> None:
    ramp = np.broadcast_to(np.arange(0, 100, 10, dtype=np.int16)[:, None, None], (10, 8, 8))
    twice = Pose(plane=np.eye(2), depth=2.0, mirrored=False)
    cube = cut_image(ramp, twice, (4.0, 3.5, 3.5), (5, 4, 4), AIR_HU)
    assert np.allclose(cube[:, 0, 0], [30, 35, 40, 45, 50])
    noise = scan((80, 8, 8))
    third = Pose(plane=np.eye(2), depth=1 / 4, mirrored=False)
    assert cut_image(noise, third, (40.0, 3.5, 3.5), (15, 8, 8), 0.0).std() < 0.6 * noise.std()


def test_a_cube_can_run_from_head_to_foot() -> None:
    volume = scan()
    down = Pose(plane=np.eye(2), depth=-1.0, mirrored=False)
    cube = cut_image(volume, down, (5.5, 9.5, 11.5), (4, 8, 6), AIR_HU)
    assert np.array_equal(cube, volume[4:8, 6:14, 9:15][::-1])
    assert nearest_slices(down, 5.5, 4).tolist() == [7, 6, 5, 4]


def test_a_mirror_changes_sides_and_the_label_stays_with_its_structure() -> None:
    labels = np.zeros((4, 8, 10), np.uint8)
    labels[:, 2:6, 1:4], labels[:, 2:6, 6:9] = 2, 1
    mirror = Pose(plane=np.diag([-1.0, 1.0]), depth=1.0, mirrored=True)
    found = cut_labels(labels, mirror, (1.5, 3.5, 4.5), (4, 8, 10), ROLES)
    assert np.array_equal(found, ROLES.mirrored[labels[:, :, ::-1]])
    assert np.array_equal(found[0, 3], [0, 2, 2, 2, 0, 0, 1, 1, 1, 0])


def test_image_and_labels_move_together() -> None:
    """A bright ball is where its label is, whatever the pose."""
    k, y, x = np.mgrid[:30, :60, :60]
    ball = (k - 14) ** 2 * 4 + (y - 33) ** 2 + (x - 25) ** 2 < 12**2
    volume = np.where(ball, 400, -900).astype(np.int16)
    labels = ball.astype(np.uint8)
    config = AugmentConfig(rotation_deg=30.0, scale=(0.8, 1.3), mirror=0.5)
    for seed in range(6):
        pose = draw_pose(config, np.random.default_rng(seed), picture=False, fit_depth=2.0)
        place, size = (14.0, 30.0, 30.0), (32, 64, 64)
        image = cut_image(volume, pose, place, size, AIR_HU)
        found = cut_labels(labels, pose, place, size, ROLES) > 0
        assert found.sum() > 1000
        agree = (image > -250) == found
        assert agree.mean() > 0.985


def test_a_turn_is_the_turn_that_was_drawn() -> None:
    config = AugmentConfig(rotation_deg=20.0, scale=(1.0, 1.0), mirror=0.0)
    angles = []
    for seed in range(20):
        plane = draw_pose(config, np.random.default_rng(seed), picture=False).plane
        angles.append(np.degrees(np.arctan2(plane[1, 0], plane[0, 0])))
        assert np.linalg.det(plane) > 0
    assert max(np.abs(angles)) <= 20
    assert np.std(angles) > 5


def test_pictures_may_stand_on_their_heads_and_run_backwards() -> None:
    config = AugmentConfig(mirror=0.0, upside_down=0.5, rotation_deg=0.0)
    poses = [draw_pose(config, np.random.default_rng(n), picture=True) for n in range(30)]
    assert {pose.depth > 0 for pose in poses} == {True, False}
    assert {pose.plane[1, 1] > 0 for pose in poses} == {True, False}
    cts = [draw_pose(config, np.random.default_rng(n), picture=False) for n in range(30)]
    assert all(pose.depth > 0 and pose.plane[1, 1] > 0 for pose in cts)


def test_large_pictures_are_averaged_when_they_shrink() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 256, 256)).astype(np.uint8)
    small = Pose(plane=np.eye(2) / 4, depth=1.0, mirrored=False)
    shrunk = warp_slices(noise, small, (127.5, 127.5), (64, 64), 0.0)
    assert shrunk.std() < 0.45 * noise.std()
    ramp = np.broadcast_to(np.arange(256, dtype=np.uint8), (1, 256, 256))
    row = warp_slices(ramp, small, (127.5, 127.5), (64, 64), 0.0)[0, 32]
    assert np.allclose(row[2:-2], np.arange(64)[2:-2] * 4 + 1.5, atol=0.75)


def test_values_without_any_change_but_the_gain() -> None:
    image = np.random.default_rng(1).normal(-300, 200, (3, 16, 16)).astype(np.float32)
    labels = np.ones(image.shape, np.uint8)
    changed, same, is_hu = change_values(image, labels, PLAIN, np.random.default_rng(0), is_hu=True)
    assert is_hu
    assert np.array_equal(same, labels)
    above = image > -900
    slope, offset = np.polyfit(image[above], changed[above], 1)
    assert 0.93 <= slope <= 1.07
    assert abs(offset) < 60


@pytest.mark.parametrize("is_hu", [True, False])
def test_all_slices_of_a_stack_are_changed_alike(is_hu: bool) -> None:
    one = np.random.default_rng(1).normal(-300, 200, (1, 32, 32)).astype(np.float32)
    one = one if is_hu else np.clip((one + 1000) / 1400, 0, 1)
    stack = np.repeat(one, 3, axis=0)
    config = AugmentConfig(noise=0.0, blur=1.0, field_of_view=1.0, picture=1.0, equalise=1.0)
    for seed in range(4):
        labels = np.ones(stack.shape, np.uint8)
        random = np.random.default_rng(seed)
        image, labels, _ = change_values(stack, labels, config, random, is_hu=is_hu)
        assert np.array_equal(image[0], image[2])
        assert np.array_equal(labels[0], labels[2])
        assert 0 < labels.mean() < 1


def test_noise_differs_from_slice_to_slice() -> None:
    config = AugmentConfig(noise=1.0, blur=0.0, field_of_view=0.0, picture=0.0)
    image, _, _ = change_values(
        np.zeros((2, 32, 32), np.float32),
        np.zeros((2, 32, 32), np.uint8),
        config,
        np.random.default_rng(0),
        is_hu=True,
    )
    assert abs(np.corrcoef(image[0].ravel(), image[1].ravel())[0, 1]) < 0.2
    assert image.std() >= 5
