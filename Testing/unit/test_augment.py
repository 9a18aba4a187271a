"""Augmentation: seeded, sides swapped with a mirror, labels kept with their image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from isdmae_train.augment import (
    HILUM_PX,
    LUNG_ROLES,
    PAINTED,
    add_decoys,
    add_islands,
    add_lesions,
    add_noise,
    augment_picture,
    augment_slice,
    away_from_mediastinum,
    crop_field_of_view,
    degrade,
    roles_of,
    take_contrast_away,
    to_picture,
    warp,
)
from isdmae_train.augment_volume import change_values, cut_image, draw_pose
from isdmae_train.config.data import AugmentConfig
from isdmae_train.reconstruct import UNCHANGED

STILL = AugmentConfig(
    rotation_deg=0.0, scale=(1.0, 1.0), shift=0.0, mirror=0.0, upside_down=0.0, lesions=0.0,
    field_of_view=0.0, blur=0.0, noise=0.0, picture=0.0,
)  # fmt: skip


def slice_with_lungs() -> tuple[np.ndarray, np.ndarray]:
    image = np.full((64, 80), -1000, np.float32)
    image[8:56, 8:72] = 40
    labels = np.zeros(image.shape, np.uint8)
    labels[16:48, 14:36] = 2
    labels[16:48, 44:66] = 1
    image[labels > 0] = -850
    return image, labels


def chance(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_same_seed_gives_the_same_slice() -> None:
    results = [
        augment_slice(*slice_with_lungs(), 64, AugmentConfig(), chance(seed)) for seed in (1, 1, 2)
    ]
    assert np.array_equal(results[0][0], results[1][0])
    assert results[0][2] == results[1][2]
    assert not np.array_equal(results[0][0], results[2][0])


@pytest.mark.parametrize("seed", range(12))
def test_every_slice_is_finite_and_in_its_range(seed: int) -> None:
    image, labels, is_hu = augment_slice(*slice_with_lungs(), 64, AugmentConfig(), chance(seed))
    assert image.dtype == np.float32
    assert labels.dtype == np.uint8
    assert image.shape == labels.shape == (64, 64)
    assert np.isfinite(image).all()
    assert set(np.unique(labels)) <= {0, 1, 2}
    assert image.min() >= (-1024 if is_hu else 0)
    if not is_hu:
        assert image.max() <= 1


def test_a_mirror_exchanges_the_sides_so_that_left_stays_on_the_viewers_right() -> None:
    image, labels = slice_with_lungs()
    mirrored, moved = warp(
        image, labels, 80, replace(STILL, mirror=1.0), chance(), upside_down=False
    )
    assert np.nonzero(moved == 1)[1].mean() > np.nonzero(moved == 2)[1].mean()
    assert np.median(mirrored[moved == 1]) == -850


def test_upside_down_keeps_the_sides() -> None:
    image, labels = slice_with_lungs()
    image[16:20, 14:36] = -500
    turned, moved = warp(image, labels, 80, STILL, chance(), upside_down=True)
    assert np.nonzero(moved == 1)[1].mean() > np.nonzero(moved == 2)[1].mean()
    assert np.nonzero(turned == -500)[0].mean() > 50


def test_swapping_twice_changes_nothing() -> None:
    _, labels = slice_with_lungs()
    table = LUNG_ROLES.mirrored
    assert np.array_equal(table[table[labels]], labels)
    assert table[[0, 3]].tolist() == [0, 3]


@pytest.mark.parametrize("seed", range(6))
def test_lesions_are_denser_and_stay_inside_the_lungs(seed: int) -> None:
    image, labels = slice_with_lungs()
    changed, sick = add_lesions(image, labels, labels > 0, chance(seed))
    assert not (sick & (labels == 0)).any()
    difference = changed - image
    assert np.all(difference[labels == 0] == 0)
    assert difference.max() > 50
    assert changed.max() < 400


def test_lesions_can_be_kept_away_from_the_mediastinum() -> None:
    image, labels = slice_with_lungs()
    lung = labels > 0
    room = away_from_mediastinum(lung)
    assert 0.3 * lung.sum() < room.sum() < lung.sum()
    assert not (room & ~lung).any()
    columns = np.flatnonzero(lung.any(axis=0))
    inner = np.flatnonzero(~lung[:, columns[0] : columns[-1]].any(axis=0)) + columns[0]
    near = slice(inner[0] - HILUM_PX + 1, inner[-1] + HILUM_PX)
    middle = slice(len(lung) // 2 - 2, len(lung) // 2 + 2)
    assert not room[middle, near].any()
    assert room[middle, columns[0] + 1].all(), "the chest wall is no mediastinum"
    one = labels == 1
    assert np.array_equal(away_from_mediastinum(one), one), "one lung has nothing between"

    roles = roles_of(("left lung", "right lung"), ("lesion",))
    config = replace(STILL, lesions=1.0, clear_hilum=1.0)
    for seed in range(4):
        _, painted, _ = augment_slice(image, labels, 80, config, chance(seed), roles)
        _, lungs, _ = augment_slice(image, labels, 80, config, chance(seed))
        sick = painted == PAINTED
        assert sick.any()
        assert not (sick & ~away_from_mediastinum(lungs > 0)).any()


def test_a_slice_without_lungs_gets_no_lesions() -> None:
    image, labels = slice_with_lungs()
    assert add_lesions(image, labels * 0, labels < 0, chance())[0] is image


def test_noise_has_the_asked_strength() -> None:
    flat = np.zeros((128, 128), np.float32)
    for seed in range(4):
        assert add_noise(flat, (20.0, 20.0), chance(seed)).std() == pytest.approx(20, rel=0.05)


def test_degrading_keeps_the_mean_and_smooths() -> None:
    rough = chance().standard_normal((64, 64)).astype(np.float32)
    for seed in range(4):
        smooth = degrade(rough, chance(seed))
        assert smooth.std() < rough.std()
        assert smooth.mean() == pytest.approx(rough.mean(), abs=0.05)


def test_what_is_not_imaged_is_not_labelled() -> None:
    for seed in range(6):
        image, labels = crop_field_of_view(*slice_with_lungs(), chance(seed))
        assert np.all(labels[image <= -1024] == 0)


@pytest.mark.parametrize("equalise", [True, False])
def test_a_picture_uses_the_whole_range_of_8_bits(equalise: bool) -> None:
    image, _ = slice_with_lungs()
    for seed in range(6):
        picture = to_picture(image, chance(seed), equalise=equalise)
        assert np.array_equal(picture * 255, np.round(picture * 255))
        assert picture.max() == pytest.approx(1.0, abs=0.02)
        assert picture[30, 40] > picture[30, 25]


def test_for_a_reconstruction_slices_and_pictures_are_left_as_they_are() -> None:
    image, labels = slice_with_lungs()
    ct, truth = image[:, :64], labels[:, :64]
    same, moved, is_hu = augment_slice(ct, truth, 64, UNCHANGED, chance())
    assert is_hu
    assert np.array_equal(same, ct)
    assert np.array_equal(moved, truth)
    grey = chance(1).random((64, 64), dtype=np.float32)
    assert np.array_equal(augment_picture(grey, truth, 64, UNCHANGED, chance())[0], grey)
    pose = draw_pose(UNCHANGED, chance(), picture=False)
    cube = np.stack([ct] * 8)
    assert np.array_equal(cut_image(cube, pose, (3.5, 31.5, 31.5), (8, 64, 64), -1000.0), cube)
    assert np.array_equal(change_values(cube, cube, UNCHANGED, chance(), is_hu=True)[0], cube)


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        AugmentConfig(noise=1.5)
    with pytest.raises(ValueError, match="ascending"):
        AugmentConfig(scale=(2.0, 1.0))


@pytest.mark.parametrize("seed", range(6))
def test_decoys_change_the_body_and_never_the_lungs(seed: int) -> None:
    image, labels = slice_with_lungs()
    changed = add_decoys(image, labels > 0, chance(seed))
    assert np.array_equal(changed[labels > 0], image[labels > 0])
    room = image < -900
    assert np.array_equal(changed[room], image[room])
    assert np.mean(changed != image) > 0.01


def test_a_slice_without_a_body_gets_no_decoys() -> None:
    air = np.full((32, 32), -1000, np.float32)
    assert add_decoys(air, np.zeros(air.shape, bool), chance()) is air


def test_synthetic_lesions_are_truth_where_the_run_looks_for_them() -> None:
    image, labels = slice_with_lungs()
    roles = roles_of(("left lung", "right lung"), ("lesion",))
    config = replace(STILL, lesions=1.0)
    changed, found, _ = augment_slice(image, labels, 80, config, chance(3), roles)
    sick = roles.classes[found] == 1
    assert (found == PAINTED).any()
    assert changed[sick].mean() > image[labels > 0].mean() + 100
    _, lungs, _ = augment_slice(image, labels, 80, config, chance(3))
    assert set(np.unique(lungs)) == {0, 1, 2}


def test_a_picture_fills_the_frame_and_keeps_its_mask() -> None:
    grey = np.zeros((32, 40), np.float32)
    mask = np.zeros((32, 40), np.uint8)
    mask[8:16, 4:20] = 1
    grey[mask > 0] = 0.8
    still = replace(STILL, picture=0.0)
    roles = roles_of(("lesion",), ("lesion",))
    image, moved = augment_picture(grey, mask, 80, still, chance(1), roles)
    assert image.shape == moved.shape == (80, 80)
    assert image.min() >= 0
    assert image.max() <= 1
    assert int(moved.sum()) == pytest.approx(4 * int(mask.sum()), rel=0.2)  # scaled by two
    assert image[moved > 0].mean() > 0.6
    assert image[moved == 0].mean() < 0.3


def test_linear_edges_of_labels_are_truer_than_those_of_the_nearest() -> None:
    """A disc stays what it is however it is turned."""
    rows, columns = np.mgrid[:64, :64] - 31.5
    disc = (np.hypot(rows, columns) < 9.3).astype(np.uint8)
    disc[np.hypot(rows, columns) < 5.1] = 2
    wrong = {}
    for edges in ("nearest", "linear"):
        config = replace(UNCHANGED, rotation_deg=180.0, label_edges=edges)
        turned = [
            augment_picture(disc.astype(np.float32), disc, 64, config, chance(seed))[1]
            for seed in range(20)
        ]
        assert {value for one in turned for value in np.unique(one)} == {0, 1, 2}
        wrong[edges] = sum(int((one != disc).sum()) for one in turned)
    assert wrong["linear"] < 0.9 * wrong["nearest"]


@pytest.mark.parametrize("seed", range(8))
def test_every_picture_stays_in_its_range(seed: int) -> None:
    image = chance(seed).random((50, 40), dtype=np.float32)
    labels = (image > 0.5).astype(np.uint8)
    config = AugmentConfig(quarter_turn=0.5)
    changed, moved = augment_picture(image, labels, 64, config, chance(seed))
    assert changed.dtype == np.float32
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert set(np.unique(moved)) <= {0, 1, 2}


@pytest.mark.parametrize("seed", range(4))
def test_islands_of_soft_tissue_are_no_lung(seed: int) -> None:
    image, labels = slice_with_lungs()
    changed, left = add_islands(image, labels, labels > 0, chance(seed))
    gone = (labels > 0) & (left == 0)
    assert gone.sum() > 30
    assert np.median(changed[gone]) > -150
    assert np.array_equal(left[~gone], labels[~gone])
    bone = (image > -300) & (labels == 0)
    assert np.array_equal(changed[bone], image[bone])


def test_contrast_agent_goes_and_the_lungs_stay() -> None:
    image, labels = slice_with_lungs()
    image[:4, :4] = 300.0
    faded = take_contrast_away(image, chance(1))
    assert faded.max() < 140
    assert np.array_equal(faded[labels > 0], image[labels > 0])
