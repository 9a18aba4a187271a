"""The synthetic chest: seeded, consistent, plausible."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae.itk import to_sitk
from isdmae.labels import CONSOLIDATION, GROUND_GLASS, LEFT_LUNG, NODULE, RIGHT_LUNG
from isdmae.phantom import Phantom, PhantomConfig, make_phantom

SMALL = PhantomConfig(shape=(40, 96, 112), spacing_mm=(3.2, 3.2, 7.6))


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(SMALL)


def test_the_same_seed_gives_the_same_voxels_and_another_seed_another_patient(
    phantom: Phantom,
) -> None:
    again = make_phantom(SMALL)
    assert np.array_equal(phantom.ct.array, again.ct.array)
    other = make_phantom(PhantomConfig(shape=SMALL.shape, spacing_mm=SMALL.spacing_mm, seed=1))
    assert not np.array_equal(phantom.lungs.array, other.lungs.array)


def test_the_left_lung_lies_on_the_left(phantom: Phantom) -> None:
    centre = {
        label.name: np.nonzero(phantom.lungs.array == label.value)[2].mean()
        for label in (LEFT_LUNG, RIGHT_LUNG)
    }
    assert phantom.ct.orientation == "LPS"
    assert centre["left lung"] > centre["right lung"] + 20


def test_lungs_have_plausible_size_and_density(phantom: Phantom) -> None:
    for label in (LEFT_LUNG, RIGHT_LUNG):
        mask = phantom.lungs.array == label.value
        assert 1000 < mask.sum() * phantom.ct.voxel_ml < 3500
        assert -900 < np.median(phantom.ct.array[mask]) < -780
    left, right = ((phantom.lungs.array == label.value).sum() for label in (LEFT_LUNG, RIGHT_LUNG))
    assert left < right


def test_lesions_lie_inside_the_lungs_and_are_denser(phantom: Phantom) -> None:
    found = set(np.unique(phantom.lesions.array)) - {0}
    assert found == {CONSOLIDATION.value, GROUND_GLASS.value, NODULE.value}
    assert np.all(phantom.lungs.array[phantom.lesions.array > 0] > 0)
    median = {
        label.name: np.median(phantom.ct.array[phantom.lesions.array == label.value])
        for label in (CONSOLIDATION, GROUND_GLASS)
    }
    assert median["consolidation"] > -60
    assert -750 < median["ground-glass opacity"] < -450


def test_without_lesions_there_are_none() -> None:
    config = PhantomConfig(
        shape=(8, 48, 56), spacing_mm=(6.4, 6.4, 36.0), nodules=0, ground_glass=0, consolidation=0
    )
    assert not make_phantom(config).lesions.array.any()


def test_a_tilted_grid_samples_the_same_patient(phantom: Phantom) -> None:
    tilted = make_phantom(
        PhantomConfig(shape=SMALL.shape, spacing_mm=SMALL.spacing_mm, oblique_deg=12)
    )
    assert tilted.ct.obliquity_deg == pytest.approx(12, abs=2)
    straight = sitk.Resample(
        to_sitk(tilted.lungs), to_sitk(phantom.lungs), sitk.Transform(), sitk.sitkNearestNeighbor
    )
    # Voxels of 7.6 mm cannot agree at the surface, and the tilted grid misses some corners.
    back = sitk.GetArrayFromImage(straight)
    inner = slice(8, 32)
    for label in (LEFT_LUNG, RIGHT_LUNG):
        a, b = back[inner] == label.value, phantom.lungs.array[inner] == label.value
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.93


@pytest.mark.parametrize(
    "changes",
    [{"shape": (0, 2, 2)}, {"nodules": -1}, {"noise_hu": -1.0}, {"oblique_deg": 50.0}],
)
def test_impossible_configurations_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"positive|negative|-40"):
        PhantomConfig(**changes)
