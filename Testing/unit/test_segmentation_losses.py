"""Losses of segmentation: certainty and right is best, formulas, and what each is chosen for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from isdmae_train.segmentation_losses import (
    SEGMENTATION_LOSSES,
    boundary_loss,
    dice_ce_loss,
    dice_loss,
    segmentation_loss,
    signed_distance,
    tversky_loss,
)


def logits_of(labels: torch.Tensor, certainty: float = 20.0) -> torch.Tensor:
    one_hot = F.one_hot(labels, 2).movedim(-1, 1).float()
    return certainty * (2 * one_hot - 1)


def square(*corner: int) -> torch.Tensor:
    labels = torch.zeros(1, *[16] * len(corner), dtype=torch.long)
    labels[(0, *(slice(start, start + 6) for start in corner))] = 1
    return labels


@pytest.mark.parametrize("corner", [(4, 4), (4, 4, 4)])
@pytest.mark.parametrize("name", SEGMENTATION_LOSSES)
def test_the_truth_costs_least_and_the_gradient_is_finite(name: str, corner: tuple) -> None:
    loss, truth = segmentation_loss(name), square(*corner)
    right = loss(logits_of(truth), truth)
    shifted = loss(logits_of(square(*(c + 3 for c in corner))), truth)
    nothing = loss(logits_of(truth * 0), truth)
    assert right < shifted
    assert right < nothing
    guess = torch.zeros(1, 2, *truth.shape[1:], requires_grad=True)
    loss(guess, truth).backward()
    assert guess.grad is not None
    assert guess.grad.isfinite().all()
    assert guess.grad.abs().max() > 0


@pytest.mark.parametrize("name", SEGMENTATION_LOSSES)
def test_an_empty_truth_is_no_trouble(name: str) -> None:
    empty = torch.zeros(2, 16, 16, dtype=torch.long)
    assert segmentation_loss(name)(logits_of(empty), empty).abs() < 1e-3
    assert segmentation_loss(name)(logits_of(square(4, 4)), empty[:1]) > 0.1


@pytest.mark.parametrize("name", SEGMENTATION_LOSSES)
def test_with_less_smoothing_a_miss_of_a_few_voxels_costs_more(name: str) -> None:
    truth = torch.zeros(1, 16, 16, dtype=torch.long)
    truth[0, 4:6, 4:6] = 1
    missed = logits_of(truth * 0)
    gentle, strict = (segmentation_loss(name, smooth=one)(missed, truth) for one in (20.0, 1.0))
    assert strict > gentle + 0.5


def test_tversky_weighs_a_miss_higher_and_is_dice_with_equal_weights() -> None:
    truth = square(4, 4)
    small, large = truth.clone(), truth.clone()
    small[0, 4:7] = 0
    large[0, 10:13, 4:10] = 1
    assert tversky_loss(logits_of(small), truth) > tversky_loss(logits_of(large), truth) + 0.05
    guess = torch.randn(2, 2, 16, 16)
    labels = torch.randint(0, 2, (2, 16, 16))
    even = tversky_loss(guess, labels, false_positive=0.5, false_negative=0.5)
    assert torch.allclose(even, dice_loss(guess, labels))


def test_the_boundary_loss_grows_with_the_distance() -> None:
    truth = square(4, 4)
    costs = [boundary_loss(logits_of(square(4 + n, 4)), truth).item() for n in range(4)]
    assert costs == sorted(costs)
    assert costs[0] < 0
    line = signed_distance(np.array([False, False, True, True, True, False]))
    assert line.tolist() == [2.0, 1.0, 0.0, -1.0, 0.0, 1.0]


def test_a_loss_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="one of dice-ce, dice-focal"):
        segmentation_loss("hinge")


def test_dice_ce_is_zero_for_certainty_and_right() -> None:
    labels = torch.randint(0, 3, (2, 8, 8), generator=torch.Generator().manual_seed(0))
    certain = F.one_hot(labels, 3).movedim(-1, 1) * 50.0
    assert dice_ce_loss(certain, labels) < 1e-3
    assert dice_ce_loss(-certain, labels) > 10


def test_dice_ce_equals_its_formula() -> None:
    torch.manual_seed(1)
    logits, labels = torch.randn(2, 2, 4, 4), torch.randint(0, 2, (2, 4, 4))
    probability = logits.softmax(1)[:, 1]
    overlap, total = (probability * labels).sum((1, 2)), (probability + labels).sum((1, 2))
    expected = F.cross_entropy(logits, labels) + 1 - ((2 * overlap + 20) / (total + 20)).mean()
    assert dice_ce_loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_small_structure_counts_as_much_as_a_large_one() -> None:
    labels = torch.zeros(2, 32, 32, dtype=torch.int64)
    labels[0, 4:28, 4:28] = 1
    labels[1, 4:8, 4:28] = 1
    right = F.one_hot(labels, 2).movedim(-1, 1) * 20.0
    losses = []
    for missed in (0, 1):
        logits = right.clone()
        logits[missed] = right[missed].flip(0) * 0 + torch.tensor([20.0, 0.0])[:, None, None]
        losses.append(dice_ce_loss(logits, labels) - F.cross_entropy(logits, labels))
    assert losses[1] > 0.75 * losses[0]
