"""The model of lesions that travels with the project: what it finds, and where it must not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import io
from isdmae.bundle import find_bundle, verify
from isdmae.errors import InputError
from isdmae.inference import Predictor
from isdmae.labels import CONSOLIDATION, GROUND_GLASS
from isdmae.phantom import PhantomConfig, make_phantom
from isdmae.volume import Volume
from isdmae_train.metrics import dice

MOST_BYTES = 12_000_000


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    try:
        find_bundle("covid-lesion")
    except InputError:
        pytest.skip("no model 'covid-lesion' among the models; make lesion trains it")
    return Predictor("covid-lesion", device="cpu")


def test_the_bundle_is_whole_small_and_says_its_terms(predictor: Predictor) -> None:
    info = predictor.bundle.info
    verify(predictor.bundle)
    assert info.weights.bytes <= MOST_BYTES
    assert info.non_commercial
    assert info.within == "lungs"
    assert info.takes == ("ct", "picture")
    assert [label.name for label in info.labels] == ["lesion"]


def test_lesions_of_a_chest_that_it_never_saw(predictor: Predictor) -> None:
    """Training takes the seeds 0 to 11."""
    config = PhantomConfig(seed=102, shape=(48, 96, 112), spacing_mm=(3.2, 3.2, 6.4))
    chest = make_phantom(config)
    result = predictor.segment(chest.ct)
    found = result.labelmap.array > 0
    truth = {one.name: chest.lesions.array == one.value for one in (CONSOLIDATION, GROUND_GLASS)}
    for name, lesion in truth.items():
        assert found[lesion].mean() > 0.5, name
    assert dice(found, truth["consolidation"] | truth["ground-glass opacity"]) > 0.7
    shares = result.shares["lesion"]
    assert set(shares) == {"left lung", "right lung"}
    assert 0 < max(shares.values()) < 0.2


def test_of_a_child_it_is_said_that_the_lungs_were_seen_larger(predictor: Predictor) -> None:
    chest = make_phantom(PhantomConfig(seed=102, shape=(24, 96, 112), spacing_mm=(3.2, 3.2, 12.8)))
    small = replace(chest.ct, spacing_mm=tuple(0.4 * edge for edge in chest.ct.spacing_mm))
    codes = [notice.code for notice in predictor.segment(small).notices]
    assert codes.count("small-body") == 1
    assert "small-body" not in {notice.code for notice in predictor.segment(chest.ct).notices}


def every_third(scan: Volume) -> Volume:
    x, y, z = scan.spacing_mm
    return Volume(
        array=scan.array[::3],
        spacing_mm=(x, y, 3 * z),
        origin_mm=scan.origin_mm,
        direction=scan.direction,
    )


@pytest.mark.parametrize("name", ["LIDC-IDRI-0001-dicom", "LIDC-IDRI-0003_ct.nii.gz"])
def test_of_lungs_without_pneumonia_hardly_anything_is_marked(
    predictor: Predictor, data_dir: Path, name: str
) -> None:
    result = predictor.segment(every_third(io.read(data_dir / "lidc" / name).volume))
    assert result.volumes_ml["lesion"] < 25


def test_what_is_full_of_air_is_not_marked(predictor: Predictor, data_dir: Path) -> None:
    """A lung of which the network alone marks 80 mL, mostly below -800 HU."""
    path = data_dir / "elastix-lung" / "ct_registered_to_baseline.mha"
    scan = io.read(path).volume
    result = predictor.segment(scan)
    assert result.volumes_ml["lesion"] < 15
    assert result.cleaning.aerated * scan.voxel_ml > 40


def test_in_a_chest_of_few_pixels_nothing_is_invented(predictor: Predictor, data_dir: Path) -> None:
    """64 x 64 pixels of 4.2 mm: blown up to the usual size they look like ground glass."""
    result = predictor.segment(io.read(data_dir / "cip-ct64" / "ct-64.nrrd").volume)
    assert result.volumes_ml["lesion"] < 15


def test_one_picture_in_other_guises_gives_the_same_lesion(
    predictor: Predictor, data_dir: Path, tmp_path: Path
) -> None:
    folder = data_dir / "covid20-2d"
    grey = io.read(folder / "images" / "0040.png").volume.array[0]
    plain = lesion(predictor, tmp_path / "plain.png", grey)
    assert plain.mean() > 0.01
    rgb = np.stack([grey] * 3, axis=-1)
    assert np.array_equal(lesion(predictor, tmp_path / "rgb.png", rgb), plain)
    deep = grey.astype(np.uint16) * 257
    assert dice(lesion(predictor, tmp_path / "deep.png", deep), plain) > 0.99
    large = lesion(predictor, tmp_path / "large.png", grey.repeat(2, axis=0).repeat(2, axis=1))
    inner = slice(16, -16)
    cropped = lesion(predictor, tmp_path / "cropped.png", grey[inner, inner])
    # Shrinking blurs a little, and a crop is seen larger: the outline moves, the lesion stays.
    assert dice(large[::2, ::2], plain) > 0.8
    assert dice(cropped, plain[inner, inner]) > 0.8


def lesion(predictor: Predictor, path: Path, pixels: np.ndarray) -> np.ndarray:
    """Write a picture, read it back, and return what is marked: bool (j, i)."""
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3), str(path))
    return predictor.segment(io.read(path).volume).labelmap.array[0] > 0
