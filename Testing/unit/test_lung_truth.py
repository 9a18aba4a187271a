"""The classical lung truth, on the synthetic chest and on real CTs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import io
from isdmae.checks import prepare_hu
from isdmae.errors import InputError
from isdmae.labels import CONSOLIDATION, LUNGS, NODULE
from isdmae.phantom import Phantom, PhantomConfig, make_phantom
from isdmae.volume import Volume
from isdmae_train.lung_truth import LungTruthConfig, fill_holes, inner_air, lung_truth, part_lungs
from isdmae_train.metrics import dice


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(PhantomConfig(shape=(72, 144, 168), spacing_mm=(2.1, 2.1, 4.2)))


@pytest.fixture(scope="module")
def truth(phantom: Phantom) -> Volume:
    return lung_truth(phantom.ct)


def test_both_lungs_are_found_on_their_sides(phantom: Phantom, truth: Volume) -> None:
    assert truth.same_grid(phantom.ct, tolerance=0)
    for label in LUNGS:
        overlap = dice(truth.array == label.value, phantom.lungs.array == label.value)
        assert overlap > 0.95, label.name


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("thickness_mm", [2.0, 60.0])
def test_a_thin_stack_has_the_truth_of_its_slices_in_the_whole_chest(
    phantom: Phantom, truth: Volume, depth: int, thickness_mm: float
) -> None:
    slices = slice(44, 44 + depth)
    stack = Volume(array=phantom.ct.array[slices], spacing_mm=(2.1, 2.1, thickness_mm))
    found = lung_truth(stack)
    assert found.same_grid(stack, tolerance=0)
    for label in LUNGS:
        assert dice(found.array == label.value, truth.array[slices] == label.value) > 0.98


@pytest.mark.parametrize("part", [np.s_[:, 70:73], np.s_[:, :, 80:83]])
def test_a_thin_stack_that_is_not_axial_is_refused(
    phantom: Phantom, part: tuple[slice, ...]
) -> None:
    """Where its body ends to the front or to the side cannot be seen."""
    with pytest.raises(InputError, match="Two lungs"):
        lung_truth(Volume(array=phantom.ct.array[part], spacing_mm=(2.1, 2.1, 4.2)))


def test_lungs_that_do_not_touch_keep_their_outermost_voxels() -> None:
    air = np.zeros((20, 30, 50), bool)
    air[4:16, 5:25, 4:20] = air[4:16, 5:25, 28:46] = True
    ct = Volume(array=np.zeros(air.shape, np.int16), spacing_mm=(5.0, 5.0, 5.0))
    left, right = part_lungs(air, ct, LungTruthConfig())
    assert np.array_equal(left | right, air)
    assert left[:, :, 28:].any()
    assert not (left & right).any()


def test_nodules_are_closed_in(phantom: Phantom, truth: Volume) -> None:
    assert (truth.array[phantom.lesions.array == NODULE.value] > 0).mean() > 0.9


def test_a_consolidation_at_the_wall_needs_a_ball_of_its_size(
    phantom: Phantom, truth: Volume
) -> None:
    lesion = phantom.lesions.array == CONSOLIDATION.value  # 50 mm wide
    assert (truth.array[lesion] > 0).mean() < 0.3
    wide = lung_truth(phantom.ct, LungTruthConfig(pleura_mm=26.0))
    assert (wide.array[lesion] > 0).mean() > 0.75
    for label in LUNGS:
        assert dice(wide.array == label.value, phantom.lungs.array == label.value) > 0.98


def test_the_trachea_is_left_out(phantom: Phantom, truth: Volume) -> None:
    trachea = (phantom.ct.array < -900) & (phantom.lungs.array == 0)
    middle = np.zeros_like(trachea)
    k = int(phantom.ct.shape[0] * 0.8)
    middle[k, 55:85, 74:94] = True
    assert (trachea & middle).sum() > 20
    assert not (truth.array[trachea & middle] > 0).any()


def test_a_scan_without_lungs_is_refused() -> None:
    block = np.full((20, 40, 40), 40, np.int16)
    with pytest.raises(InputError, match="Two lungs"):
        lung_truth(Volume(array=block, spacing_mm=(5.0, 5.0, 5.0)))


def test_air_that_reaches_a_side_is_the_room() -> None:
    air = np.zeros((5, 9, 9), bool)
    air[:, 0:2, :] = True
    air[1:4, 5:7, 4:6] = True
    kept = inner_air(air)
    assert kept.sum() == 3 * 2 * 2
    assert not kept[:, 0:2].any()


def test_real_low_resolution_ct_agrees_with_its_own_labels(data_dir: Path) -> None:
    folder = data_dir / "cip-ct64"
    ct, _ = prepare_hu(io.read(folder / "ct-64.nrrd").volume)
    regions = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "lm-64.nrrd"))) & 255
    found = lung_truth(ct).array
    assert dice(found == 1, (regions >= 9) & (regions <= 11)) > 0.9
    assert dice(found == 2, (regions >= 12) & (regions <= 14)) > 0.9


def test_an_island_in_the_ring_of_a_slice_stays_out_but_a_vessel_is_filled() -> None:
    ring = np.zeros((3, 40, 40), bool)
    ring[:2, 5:35, 5:35] = True
    ring[:2, 10:22, 10:22] = False  # open above: the dome of the diaphragm
    ring[:2, 28:30, 28:30] = False  # a vessel that runs out of the lung
    filled = fill_holes(ring, 100.0)
    assert not filled[:2, 10:22, 10:22].any()
    assert filled[:2, 28:30, 28:30].all()
    assert np.array_equal(filled | ring, filled)
