"""The model of points that travels with the project, on nodules of a real patient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import io
from isdmae.bundle import find_bundle, verify
from isdmae.errors import InputError
from isdmae.inference import Predictor
from isdmae_train.metrics import dice

MOST_BYTES = 12_000_000


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    try:
        find_bundle("nodule")
    except InputError:
        pytest.skip("no model 'nodule' among the models; make nodule trains it")
    return Predictor("nodule", device="cpu", precision="float32")


def test_the_bundle_is_whole_free_and_small(predictor: Predictor) -> None:
    info = predictor.bundle.info
    verify(predictor.bundle)
    assert info.weights.bytes <= MOST_BYTES
    assert not info.non_commercial
    assert info.crop_edge == 128
    assert [label.name for label in info.labels] == ["nodule"]


def test_nodules_of_a_patient_that_it_never_saw(predictor: Predictor, data_dir: Path) -> None:
    """From a point in the middle of each; `nodule_points.py` measures clicks beside it as well."""
    scan = io.read(data_dir / "lidc" / "LIDC-IDRI-0003_ct.nii.gz").volume
    truth = io.read(data_dir / "lidc" / "LIDC-IDRI-0003_nodule.nii.gz").volume.array
    image = sitk.GetImageFromArray((truth > 0).astype(np.uint8))
    numbers = sitk.GetArrayFromImage(sitk.ConnectedComponent(image, True))
    middles = [np.argwhere(numbers == number).mean(axis=0)[::-1] for number in (1, 2, 3)]
    points = [(scan.affine @ (*middle, 1.0))[:3] for middle in middles]
    result = predictor.segment(scan, points=[(float(x), float(y), float(z)) for x, y, z in points])
    assert [label.name for label in result.labels] == ["nodule 1", "nodule 2", "nodule 3"]
    assert result.labelmap.same_grid(scan, tolerance=0)
    for number in (1, 2, 3):
        assert dice(result.labelmap.array == number, numbers == number) > 0.8
