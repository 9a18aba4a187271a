"""The authors' way of scoring, against a slow count by hand."""

from __future__ import annotations

import numpy as np
import pytest

from isdmae.bundle import Bundle
from isdmae.errors import InputError
from isdmae.inference import Predictor
from isdmae.volume import Volume
from isdmae_train.author_score import THRESHOLDS, AuthorScore, _best, counts_at_thresholds


def test_the_counts_agree_with_one_threshold_after_the_other() -> None:
    random = np.random.default_rng(0)
    chance = random.random((30, 20)).astype(np.float32)
    truth = random.random((30, 20)) > 0.7
    counts = counts_at_thresholds(chance, truth)
    for n in range(THRESHOLDS):
        predicted = chance >= np.float32((n + 1) / (THRESHOLDS + 1))
        expected = [(predicted & truth).sum(), predicted.sum(), truth.sum()]
        # A chance that lies on a threshold may fall to either side in float32.
        assert np.abs(counts[n] - expected).max() <= 1


def test_pooling_and_the_best_threshold_raise_the_number() -> None:
    large, small = np.zeros((THRESHOLDS, 3), np.int64), np.zeros((THRESHOLDS, 3), np.int64)
    large[:], small[:] = (100, 100, 100), (0, 0, 10)
    large[0] = (100, 1000, 100)
    result = _best(np.stack([large, small]), seed=0)
    assert result["dice"] == pytest.approx(2 * 100 / (100 + 110)), "the mean of both would be 0.5"
    assert result["threshold"] == pytest.approx(2 / (THRESHOLDS + 1))
    assert result["slices"] == 2


def test_a_model_counts_only_slices_that_hold_the_structure(tiny_bundle: Bundle) -> None:
    score = AuthorScore(Predictor(tiny_bundle.folder, device="cpu", precision="float32"))
    picture = Volume(
        array=np.random.default_rng(0).integers(0, 255, (1, 40, 40)).astype(np.uint8), is_hu=False
    )
    truth = np.zeros((1, 40, 40), bool)
    score.add(picture, {"left lung": truth, "all together": ~truth},
              {"left lung": [1], "all together": [1, 2]})  # fmt: skip
    result = score.result(0)
    assert set(result) == {"all together"}
    assert result["all together"]["dice"] == pytest.approx(1.0), "at the lowest threshold"


def test_a_3d_model_is_refused() -> None:
    predictor = type("P", (), {"network": type("N", (), {"dims": 3})})
    with pytest.raises(InputError, match="for 2D models"):
        AuthorScore(predictor)  # type: ignore[arg-type]
