"""Dice, NSD and HD95 against shapes whose answer is known; misses; intervals over patients."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from isdmae_train.metrics import MaskScores, dice, paired_difference, score_masks, summarise


def box(shape: tuple[int, ...], *sides: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*side) for side in sides)] = True
    return mask


def ball(radius_mm: float, spacing: tuple[float, float, float], size: int = 48) -> np.ndarray:
    grid = np.indices((size, size, size), sparse=True)
    distances = [(axis - size / 2) * step for axis, step in zip(grid, spacing, strict=True)]
    return sum(distance**2 for distance in distances) <= radius_mm**2


def test_dice_by_hand() -> None:
    truth = np.array([1, 1, 0, 0], bool)
    assert dice(np.array([1, 0, 0, 0], bool), truth) == pytest.approx(2 / 3)
    assert dice(truth, truth) == 1.0


def test_misses_and_inventions_count_zero_and_two_empty_masks_one() -> None:
    empty, full = np.zeros(4, bool), np.ones(4, bool)
    assert dice(empty, full) == 0.0
    assert dice(full, empty) == 0.0
    assert dice(empty, empty) == 1.0


def test_dice_refuses_other_shapes() -> None:
    with pytest.raises(ValueError, match="Shapes differ"):
        dice(np.zeros(3, bool), np.zeros(4, bool))
    for spacing in ((1.0, 1.0, 1.0), (1.0, 0.0)):
        with pytest.raises(ValueError, match="Spacing"):
            score_masks(np.zeros((3, 3), bool), np.zeros((3, 3), bool), spacing=spacing)


@pytest.mark.parametrize(("axis", "shift_mm"), [(0, 5.0), (1, 1.5), (2, 0.7)])
def test_a_shifted_box_has_the_distance_of_its_shift(axis: int, shift_mm: float) -> None:
    spacing = (5.0, 1.5, 0.7)
    truth = box((20, 40, 60), (5, 15), (10, 30), (20, 40))
    scores = score_masks(np.roll(truth, 1, axis), truth, spacing=spacing, tolerance=0.6)
    assert scores.hd95 == pytest.approx(shift_mm)
    assert scores.dice == pytest.approx(1 - 1 / truth.any(tuple({0, 1, 2} - {axis})).sum())
    assert score_masks(np.roll(truth, 1, axis), truth, spacing=spacing, tolerance=5.0).nsd == 1.0
    assert scores.nsd < 1.0


def test_two_balls_of_one_centre_have_the_distance_of_their_radii() -> None:
    spacing = (2.0, 1.0, 1.0)
    small, large = ball(10.0, spacing), ball(14.0, spacing)
    scores = score_masks(small, large, spacing=spacing)
    assert scores.hd95 == pytest.approx(4.0, abs=1.1)
    assert scores.dice == pytest.approx(2 * 10**3 / (10**3 + 14**3), abs=0.02)
    assert scores.nsd < 0.1
    assert score_masks(small, large, spacing=spacing, tolerance=5.5).nsd == 1.0


def test_the_spacing_decides_what_lies_within_the_tolerance() -> None:
    truth = box((30, 30), (10, 20), (10, 20))
    shifted = np.roll(truth, 1, 0)
    assert score_masks(shifted, truth, spacing=(2.0, 2.0)).nsd == 1.0
    assert score_masks(shifted, truth, spacing=(2.5, 2.5)).nsd < 1.0


def test_missed_and_invented_structures_have_the_diagonal_as_distance() -> None:
    shape, spacing = (10, 20, 30), (3.0, 1.0, 2.0)
    empty, there = np.zeros(shape, bool), box(shape, (2, 4), (3, 6), (1, 9))
    diagonal = float(np.sqrt(30**2 + 20**2 + 60**2))
    assert score_masks(empty, there, spacing=spacing) == MaskScores(
        dice=0.0, nsd=0.0, hd95=diagonal, missed=True, invented=False
    )
    assert score_masks(there, empty, spacing=spacing) == MaskScores(
        dice=0.0, nsd=0.0, hd95=diagonal, missed=False, invented=True
    )
    assert score_masks(empty, empty, spacing=spacing) == MaskScores(
        dice=1.0, nsd=1.0, hd95=0.0, missed=False, invented=False
    )


def test_a_find_elsewhere_is_a_miss_with_its_own_distance() -> None:
    truth = box((40, 40), (0, 5), (0, 5))
    scores = score_masks(box((40, 40), (0, 5), (30, 35)), truth, spacing=(1.0, 1.0))
    assert scores == MaskScores(dice=0.0, nsd=0.0, hd95=30.0, missed=True, invented=False)


def test_one_slice_of_three_axes_scores_as_a_picture() -> None:
    random = np.random.default_rng(0)
    first, second = (ndimage.gaussian_filter(random.random((64, 64)), 4) > 0.5 for _ in range(2))
    flat = score_masks(first, second, spacing=(1.0, 1.0))
    assert score_masks(first[None], second[None], spacing=(9.0, 1.0, 1.0)) == flat
    assert 0 < flat.nsd < 1
    none = np.zeros((1, 30, 40), bool)
    assert score_masks(none, ~none, spacing=(9.0, 1.0, 1.0)).hd95 == pytest.approx(50.0)
    point = np.ones((1, 1, 1), bool)
    assert score_masks(point, point, spacing=(1.0, 1.0, 1.0)).hd95 == 0.0


def test_two_slices_are_a_space_and_not_a_picture() -> None:
    none = np.zeros((2, 30, 40), bool)
    assert score_masks(none, ~none, spacing=(60.0, 1.0, 1.0)).hd95 == pytest.approx(130.0)
    both = box(none.shape, (0, 2), (5, 15), (5, 15))
    within = box(none.shape, (0, 1), (8, 12), (8, 12))
    # Every voxel of two slices lies on the surface, those within the outline too.
    assert score_masks(within, both, spacing=(3.0, 1.0, 1.0), tolerance=0.5).nsd == 32 / 216


def test_the_empty_space_round_the_masks_changes_nothing() -> None:
    random = np.random.default_rng(1)
    blobs = [ndimage.gaussian_filter(random.random((20, 30, 30)), 3) > 0.5 for _ in range(2)]
    for blob in blobs:
        blob[[0, -1]] = blob[:, [0, -1]] = blob[:, :, [0, -1]] = False
    spacing = (3.0, 1.0, 1.2)
    wide = [np.pad(blob, 7) for blob in blobs]
    assert score_masks(*blobs, spacing=spacing) == score_masks(*wide, spacing=spacing)


def by_distance_transform(
    first: np.ndarray, second: np.ndarray, spacing: tuple[float, ...], tolerance: float
) -> tuple[float, float]:
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in (first, second)]
    maps = [ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in surfaces]
    distances = maps[1][surfaces[0]], maps[0][surfaces[1]]
    near = np.concatenate(distances) <= tolerance
    return float(near.mean()), max(float(np.percentile(values, 95)) for values in distances)


@pytest.mark.parametrize("seed", range(4))
def test_it_agrees_with_the_distance_transform_of_the_whole_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    shape = (12, 40, 36) if seed % 2 else (60, 50)
    spacing = tuple(random.uniform(0.5, 4.0, len(shape)))
    first, second = (ndimage.gaussian_filter(random.random(shape), 3) > 0.51 for _ in range(2))
    scores = score_masks(first, second, spacing=spacing, tolerance=3.0)
    assert (scores.nsd, scores.hd95) == pytest.approx(
        by_distance_transform(first, second, spacing, 3.0)
    )


def test_it_agrees_with_monai_where_monai_is_right() -> None:
    monai = pytest.importorskip("monai.metrics", reason="MONAI is not installed")
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(5)
    first, second = (
        ndimage.gaussian_filter(random.random((16, 40, 40)), 3) > 0.51 for _ in range(2)
    )
    one, two = (torch.from_numpy(mask[None, None].astype(np.float32)) for mask in (first, second))
    spacing = (3.0, 0.8, 1.1)
    hd95 = monai.compute_hausdorff_distance(one, two, True, percentile=95, spacing=spacing)
    nsd = monai.compute_surface_dice(one, two, [2.0], True, spacing=spacing)
    scores = score_masks(first, second, spacing=spacing)
    assert scores.hd95 == pytest.approx(float(hd95), rel=1e-4)
    assert scores.nsd == pytest.approx(float(nsd), abs=1e-4)


def test_summary_brackets_the_mean_and_knows_the_worst() -> None:
    result = summarise([0.9, 0.95, 0.0, 0.92], seed=1)
    assert result.mean == pytest.approx(0.6925)
    assert result.low < result.mean < result.high
    assert (result.worst, result.count) == (0.0, 4)
    assert result == summarise([0.9, 0.95, 0.0, 0.92], seed=1)
    assert str(result).startswith("0.6925 [")
    assert str(result).endswith("], worst 0.0000, n = 4")
    assert summarise([3.0, 90.0], smaller_is_better=True).worst == 90.0


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        result = summarise(list(random.normal(0.7, 0.1, 30)), seed=trial, draws=400)
        hits += result.low <= 0.7 <= result.high
    assert 0.88 <= hits / 200 <= 0.99


def test_a_paired_difference_sees_what_two_means_hide() -> None:
    random = np.random.default_rng(0)
    hard = {f"p{n}": float(value) for n, value in enumerate(random.uniform(0.2, 0.9, 20))}
    better = {name: value + 0.02 + random.normal(0, 0.005) for name, value in hard.items()}
    result = paired_difference({**better, "only here": 1.0}, hard)
    assert result.count == 20
    assert 0.01 < result.low < result.mean < result.high < 0.03
    first, second = summarise(list(better.values())), summarise(list(hard.values()))
    assert first.low < second.high, "the two means alone would show nothing"
    reverse = paired_difference(hard, better)
    assert reverse.mean == pytest.approx(-result.mean)
    assert str(reverse).startswith("-0.0")
    with pytest.raises(ValueError, match=r"^The two have no patient in common\.$"):
        paired_difference({"a": 1.0}, {"b": 1.0})


def test_nothing_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match=r"^There is nothing to summarise\.$"):
        summarise([])


def test_one_patient_has_no_spread() -> None:
    one = summarise([0.5])
    assert (one.mean, one.low, one.high, one.worst, one.count) == (0.5, 0.5, 0.5, 0.5, 1)


def test_the_interval_depends_on_values_and_seed_alone() -> None:
    values = list(np.random.default_rng(3).normal(0.7, 0.1, 30))
    named = {f"p{n}": value for n, value in enumerate(values)}
    zero = dict.fromkeys(named, 0.0)
    first, other = summarise(values, draws=200), summarise(values, draws=200, seed=1)
    assert first == summarise(values, draws=200, seed=0) != other
    # The mean of a difference is drawn as a mean is.
    paired = paired_difference(named, zero, draws=200)
    assert paired == paired_difference(named, zero, draws=200, seed=0)
    assert paired != paired_difference(named, zero, draws=200, seed=1)
