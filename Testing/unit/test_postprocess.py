"""Specks, sides, holes and volumes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from isdmae.labels import LUNGS
from isdmae.parts import bounding_box
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae.postprocess import (
    CleaningCounts,
    PostprocessConfig,
    clean,
    fewest_slices,
    remove_aerated,
    smallest_voxels,
    volumes_ml,
)
from isdmae.volume import Volume
from plain_cleaning import plain_clean

RULES = PostprocessConfig(smallest_ml=0.05)


def volume(array: np.ndarray, *, is_hu: bool = True) -> Volume:
    return Volume(array=array.astype(np.uint8), is_hu=is_hu)


def two_blocks() -> np.ndarray:
    labels = np.zeros((10, 20, 30), np.uint8)
    labels[2:8, 4:16, 3:14] = 2
    labels[2:8, 4:16, 14:27] = 1
    return labels


def test_a_thin_slab_keeps_what_a_thick_one_keeps() -> None:
    """A lung in a slice of 0.5 mm has less than 5 mL, and is no speck."""
    labels = np.zeros((1, 60, 60), np.uint8)
    labels[0, 10:40, 10:40] = 1
    labels[0, 50:53, 50:53] = 1
    thin = Volume(array=labels, spacing_mm=(1.0, 1.0, 0.5))
    cleaned, counts = clean(thin, PostprocessConfig())
    assert cleaned.array[0, 20, 20] == 1
    assert cleaned.array[0, 51, 51] == 0
    assert counts.removed == 9
    assert smallest_voxels(thin, PostprocessConfig(), 1000) == pytest.approx(10_000)


def test_a_speck_of_one_side_inside_the_other_changes_sides() -> None:
    labels = two_blocks()
    expected = labels.copy()
    labels[4:6, 8:10, 6:8] = 1
    result, counts = clean(volume(labels), RULES)
    assert np.array_equal(result.array, expected)
    assert counts == CleaningCounts(moved=8)


def test_a_speck_far_from_everything_is_removed() -> None:
    labels = two_blocks()
    expected = labels.copy()
    labels[0, 0, 0:3] = 1
    result, counts = clean(volume(labels), RULES)
    assert np.array_equal(result.array, expected)
    assert counts == CleaningCounts(removed=3)


def test_holes_are_filled_with_what_encloses_them() -> None:
    labels = two_blocks()
    expected = labels.copy()
    labels[4, 8, 6:9] = 0
    labels[5, 8, 20] = 0
    result, counts = clean(volume(labels), RULES)
    assert np.array_equal(result.array, expected)
    assert counts == CleaningCounts(filled=4)


def test_two_large_lungs_that_touch_stay_as_they_are() -> None:
    result, counts = clean(volume(two_blocks()), RULES)
    assert np.array_equal(result.array, two_blocks())
    assert counts == CleaningCounts()


def test_an_empty_result_stays_empty_and_a_lonely_speck_leaves_nothing() -> None:
    empty = np.zeros((4, 5, 6), np.uint8)
    assert clean(volume(empty), RULES)[1] == CleaningCounts()
    speck = empty.copy()
    speck[1, 1, 1] = 2
    result, counts = clean(volume(speck), RULES)
    assert not result.array.any()
    assert counts.removed == 1


def test_a_picture_is_cleaned_by_its_share_and_its_holes_are_filled_in_the_plane() -> None:
    labels = np.zeros((1, 50, 50), np.uint8)
    labels[0, 10:30, 10:30] = 1
    labels[0, 20, 20] = 0
    labels[0, 45, 45] = 2
    result, counts = clean(volume(labels, is_hu=False), PostprocessConfig(smallest_share=0.01))
    assert counts == CleaningCounts(removed=1, filled=1)
    assert result.array.sum() == 400


def test_a_large_island_in_a_single_slice_is_no_hole() -> None:
    labels = np.zeros((1, 50, 50), np.uint8)
    labels[0, 10:40, 10:40] = 1
    labels[0, 15:25, 15:25] = 0  # the dome of the diaphragm
    result, counts = clean(volume(labels, is_hu=False), PostprocessConfig(smallest_share=0.01))
    assert counts == CleaningCounts()
    assert np.array_equal(result.array, labels)


def test_a_part_of_too_few_slices_is_a_speck_unless_the_scan_is_thinner_still() -> None:
    labels = np.zeros((8, 12, 12), np.uint8)
    labels[1:3, 2:10, 2:5] = 1
    labels[2:6, 2:10, 7:10] = 1
    rules = PostprocessConfig(smallest_ml=0.0, thinnest_mm=7.5)
    ct = Volume(array=labels, spacing_mm=(1.0, 1.0, 2.5))
    result, counts = clean(ct, rules)
    assert counts == CleaningCounts(removed=48)
    assert np.array_equal(np.unique(np.nonzero(result.array)[0]), [2, 3, 4, 5])
    assert clean(ct, rules, slices=2)[1] == CleaningCounts()
    picture = Volume(array=labels[1:2], is_hu=False)
    assert clean(picture, PostprocessConfig(smallest_share=0.0, thinnest_mm=7.5))[1].removed == 0


def test_the_input_is_not_changed() -> None:
    labels = two_blocks()
    labels[0, 0, 0] = 1
    before = labels.copy()
    clean(volume(labels), RULES)
    assert np.array_equal(labels, before)


def test_volumes_are_in_millilitres() -> None:
    labels = Volume(array=two_blocks(), spacing_mm=(2.0, 2.0, 2.5))
    assert volumes_ml(labels, LUNGS) == {
        "left lung": pytest.approx(6 * 12 * 13 * 0.01),
        "right lung": pytest.approx(6 * 12 * 11 * 0.01),
    }


def test_the_box_holds_all() -> None:
    assert bounding_box(two_blocks()) == (slice(2, 8), slice(4, 16), slice(3, 27))
    assert bounding_box(0 * two_blocks()) is None


def test_parts_full_of_air_are_removed_whole_and_others_kept_whole() -> None:
    labels, hu = two_blocks(), np.full((10, 20, 30), -900, np.int16)
    labels[2:8, 4:16, 14:17] = 0  # the two blocks no longer touch
    hu[labels == 1] = -600
    hu[2:4, 4:16, 3:27] = -300  # a third of either block, such as vessels
    expected = np.where(labels == 1, labels, 0)
    ct = Volume(array=hu)
    assert remove_aerated(labels, ct, -750) == 6 * 12 * 11
    assert np.array_equal(labels, expected)
    assert remove_aerated(labels, ct, -750) == 0
    assert remove_aerated(0 * labels, ct, -750) == 0


def test_rules_out_of_range_are_refused() -> None:
    for rules in ({"smallest_ml": -1}, {"least_hu": -2000.0}, {"least_hu": 1e9}):
        with pytest.raises(ValueError, match="outside its range"):
            PostprocessConfig(**rules)


def check_against_voxels(labels: np.ndarray, rules: PostprocessConfig, *, is_hu: bool) -> None:
    """Compare with the rules carried out voxel by voxel: the same labels and counts."""
    given = Volume(array=labels, spacing_mm=(1.0, 1.0, 1.5), is_hu=is_hu)
    expected, expected_counts = plain_clean(
        labels,
        smallest=smallest_voxels(given, rules, len(labels)),
        thinnest=fewest_slices(given, rules, len(labels)),
        fill_holes=rules.fill_holes,
    )
    result, counts = clean(given, rules)
    assert np.array_equal(result.array, expected)
    assert counts == expected_counts


def test_runs_are_cleaned_as_voxels_are() -> None:
    """Random shapes: noise, sparse dots and smooth lumps, of one to three labels."""
    chance = np.random.default_rng(0)
    for number in range(150):
        shape = tuple(chance.integers(1, 9, 3)) if number % 5 else (1, *chance.integers(1, 25, 2))
        most = int(chance.integers(1, 4))
        labels = chance.integers(0, most + 1, shape)
        if number % 3 == 1:
            labels = np.where(chance.random(shape) < 0.4, labels, 0)
        elif number % 3 == 2:
            blurred = gaussian_filter(chance.random((most + 1, *shape)), (0, 1.2, 1.2, 1.2))
            labels = blurred.argmax(axis=0)
        labels = np.pad(labels.astype(np.uint8), [(0, number % 2), (0, 2), (1, 0)])
        labels[0, 0, 0] = 3
        rules = PostprocessConfig(
            smallest_ml=float(chance.choice([0.0, 0.003, 0.01, 0.05])),
            smallest_share=float(chance.choice([0.0, 0.02, 0.1])),
            thinnest_mm=float(chance.integers(0, 5)),
            fill_holes=number % 7 > 0,
        )
        check_against_voxels(labels, rules, is_hu=number % 4 > 0)


def test_a_chest_with_specks_and_holes_is_cleaned_as_voxels_are() -> None:
    labels = make_phantom(PhantomConfig(shape=(20, 96, 112), spacing_mm=(3.2, 3.2, 12.0))).lungs
    damaged = np.array(labels.array)
    chance = np.random.default_rng(1)
    for value in (0, 1, 2):
        for k, j, i in chance.integers((1, 8, 8), (18, 86, 100), (40, 3)):
            damaged[k : k + 2, j : j + 3, i : i + 3] = value
    assert not np.array_equal(damaged, labels.array)
    check_against_voxels(damaged, PostprocessConfig(smallest_ml=0.5), is_hu=True)
