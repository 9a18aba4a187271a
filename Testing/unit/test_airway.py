"""Trachea and main bronchi by region growing, on the synthetic chest and what can be wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import io
from isdmae.airway import AirwayConfig, components, label_trachea
from isdmae.checks import prepare_hu
from isdmae.phantom import Phantom, PhantomConfig, make_phantom
from isdmae.volume import Array, Volume, to_lps_order
from isdmae_train.metrics import dice

SMALL = PhantomConfig(shape=(72, 144, 168), spacing_mm=(2.1, 2.1, 4.2))


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(SMALL)


def at(ct: Volume, x: float, y: float, z: float) -> tuple[int, int, int]:
    """Index (k, j, i) of a place in the patient."""
    i, j, k = np.linalg.solve(ct.affine, (x, y, z, 1))[:3].round().astype(int).tolist()
    return k, j, i


def air_of_trachea(ct: Volume, lungs: Array) -> Array:
    """What hangs on the trachea of the air outside the lungs."""
    numbers, _ = components((ct.array < -500) & (lungs == 0))
    number = numbers[at(ct, 0, 12, 95)]
    assert number
    return numbers == number


def test_the_synthetic_trachea_is_found_with_its_bronchi(phantom: Phantom) -> None:
    found = label_trachea(phantom.ct, phantom.lungs.array)
    assert found is not None
    assert dice(found, air_of_trachea(phantom.ct, phantom.lungs.array)) > 0.9
    for x, y, z in ((0, 12, 95), (-22, 25, 29), (22, 26, 28)):
        assert found[at(phantom.ct, x, y, z)]


def test_it_is_found_in_a_tilted_scan() -> None:
    tilted = make_phantom(
        PhantomConfig(shape=SMALL.shape, spacing_mm=SMALL.spacing_mm, oblique_deg=15)
    )
    turned, order = to_lps_order(tilted.ct)
    lungs = order.apply(tilted.lungs.array)
    found = label_trachea(turned, lungs)
    assert found is not None
    assert dice(found, air_of_trachea(turned, lungs)) > 0.9


def test_bronchi_in_the_lungs_stay_with_them(phantom: Phantom) -> None:
    found = label_trachea(phantom.ct, phantom.lungs.array)
    assert found is not None
    assert (found & (phantom.lungs.array > 0)).sum() < 0.05 * found.sum()


def test_what_a_lungs_label_has_swallowed_is_taken_back(phantom: Phantom) -> None:
    truth = air_of_trachea(phantom.ct, phantom.lungs.array)
    lungs = phantom.lungs.array.copy()
    upper = at(phantom.ct, 0, 12, 80)[0]
    lungs[:upper][truth[:upper]] = 2
    found = label_trachea(phantom.ct, lungs)
    assert found is not None
    assert dice(found, truth) > 0.8
    outside_only = found & (lungs == 0)
    assert dice(outside_only, truth) < 0.7


def test_air_that_runs_into_the_lungs_is_no_trachea(phantom: Phantom) -> None:
    hu = phantom.ct.array.copy()
    hu[phantom.lungs.array > 0] = -990
    k, j, i = at(phantom.ct, 0, 12, 80)
    hu[k : k + 2, j : j + 2, i : i + 25] = -1000  # through the wall
    assert label_trachea(phantom.ct.with_array(hu), phantom.lungs.array) is None


def test_a_scan_that_begins_below_the_carina_has_none(phantom: Phantom) -> None:
    top = at(phantom.ct, 0, 12, 5)[0]
    box = (slice(0, top), slice(0, 144), slice(0, 168))
    assert label_trachea(phantom.ct.crop(box), phantom.lungs.crop(box).array) is None


def test_a_bubble_above_it_does_not_hide_it(phantom: Phantom) -> None:
    hu = phantom.ct.array.copy()
    _, j, i = at(phantom.ct, 0, 12, 95)
    hu[-4:, j - 6 : j + 7, i - 6 : i + 7] = 40
    hu[-2:, j + 8 : j + 13, i - 2 : i + 3] = -1000
    ct = phantom.ct.with_array(hu)
    found = label_trachea(ct, phantom.lungs.array)
    assert found is not None
    assert not found[-2:].any()
    assert dice(found, air_of_trachea(ct, phantom.lungs.array)) > 0.9


@pytest.mark.parametrize("slices", [1, 2, 3])
def test_in_a_few_slices_there_is_none(phantom: Phantom, slices: int) -> None:
    top = at(phantom.ct, 0, 12, 80)[0]
    box = (slice(top, top + slices), slice(0, 144), slice(0, 168))
    lungs = phantom.lungs.crop(box).array
    assert lungs.any()
    assert label_trachea(phantom.ct.crop(box), lungs) is None


def test_without_lungs_there_is_none(phantom: Phantom) -> None:
    assert label_trachea(phantom.ct, np.zeros(phantom.ct.shape, np.uint8)) is None


def test_a_real_ct_of_4_mm_agrees_with_its_own_labels(data_dir: Path) -> None:
    folder = data_dir / "cip-ct64"
    ct, _ = prepare_hu(io.read(folder / "ct-64.nrrd").volume)
    turned, order = to_lps_order(ct)
    codes = order.apply(sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "lm-64.nrrd"))))
    regions, airway = codes & 255, codes >> 8 == 2
    lungs = (regions >= 9) & (regions <= 14) & ~airway
    found = label_trachea(turned, lungs.astype(np.uint8))
    assert found is not None
    assert dice(found, airway) > 0.8


@pytest.mark.parametrize(
    "changes",
    [{"thresholds_hu": ()}, {"thresholds_hu": (-900.0, -950.0)}, {"least_ml": 100.0}],
)
def test_impossible_sizes_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        AirwayConfig(**changes)  # type: ignore[arg-type]
