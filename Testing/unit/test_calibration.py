"""Reliability of probabilities, on chances whose truth is drawn by them, and against them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae.bundle import Bundle
from isdmae.inference import Predictor
from isdmae.volume import Volume
from isdmae_train.calibration import BINS, Calibration, count_bins, curve_of, slice_chances


def counts(exponent: float, patients: int = 3) -> np.ndarray:
    """Count pixels whose truth has the chance to the power of ``exponent``."""
    random = np.random.default_rng(0)
    chance = random.random((patients, 200, 200)).astype(np.float32)
    truth = random.random(chance.shape) < chance**exponent
    return np.stack([count_bins(c, t) for c, t in zip(chance, truth, strict=True)])


def test_chances_that_are_true_have_no_calibration_error() -> None:
    curve = curve_of(counts(1.0), seed=0)
    assert curve.error < 0.01
    assert np.abs(np.subtract(curve.chance, curve.truth)).max() < 0.03
    assert sum(curve.pixels) == 3 * 200 * 200


def test_chances_that_boast_have_one_and_the_interval_holds_it() -> None:
    curve = curve_of(counts(3.0), seed=0)
    # The mean of p - p**3 over 0.05..1 is 0.2625.
    assert curve.error == pytest.approx(0.2625, abs=0.01)
    assert curve.low <= curve.error <= curve.high


def test_of_an_image_every_pixel_is_counted_once(tiny_bundle: Bundle, tmp_path: Path) -> None:
    predictor = Predictor(tiny_bundle.folder, device="cpu", precision="float32")
    random = np.random.default_rng(1)
    picture = Volume(array=random.integers(0, 255, (1, 40, 50), np.uint8), is_hu=False)
    truth = {"left lung": random.random((1, 40, 50)) > 0.5}
    ((chances, masks),) = slice_chances(picture, predictor, truth)
    assert chances.sum(axis=0) == pytest.approx(np.ones((40, 50)), abs=1e-5)
    assert np.array_equal(masks["left lung"], truth["left lung"][0])
    calibration = Calibration(predictor)
    calibration.add("a", picture, truth, {"left lung": [1]})
    facts = calibration.write(tmp_path, seed=0)["left lung"]
    assert sum(facts["pixels"]) == 40 * 50
    assert len(facts["truth"]) == BINS
    drawn = sitk.ReadImage(str(tmp_path / "reliability-left-lung.png"))
    assert drawn.GetNumberOfComponentsPerPixel() == 3
