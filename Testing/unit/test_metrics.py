"""Dice counts misses; intervals are over patients."""

from __future__ import annotations

import numpy as np
import pytest

from isdmae_train.metrics import dice, summarise


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


def test_summary_counts_misses_and_brackets_the_mean() -> None:
    result = summarise([0.9, 0.95, 0.0, 0.92], seed=1)
    assert result.mean == pytest.approx(0.6925)
    assert result.low < result.mean < result.high
    assert (result.worst, result.count, result.missed) == (0.0, 4, 1)
    assert result == summarise([0.9, 0.95, 0.0, 0.92], seed=1)
    assert "missed 1" in str(result)


def test_nothing_cannot_be_summarised() -> None:
    with pytest.raises(ValueError, match="nothing"):
        summarise([])
