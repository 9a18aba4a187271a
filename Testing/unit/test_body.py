"""How large a body is, and a small one as large as is asked for."""

from __future__ import annotations

import numpy as np
import pytest

from isdmae.body import body_cm2, enlarged, size_factor, size_notices
from isdmae.volume import Array, Volume


def chest(radius: int = 40, edge: int = 128, *, pixel: float = 1.0) -> Volume:
    """A round body with air-filled lungs, and a table below it, on 12 slices."""
    y, x = np.mgrid[:edge, :edge] - edge / 2
    hu = np.full((12, edge, edge), -1000, np.int16)
    hu[:, np.hypot(x, y) < radius] = 40
    hu[:, np.hypot(np.abs(x) - radius / 2, y) < radius / 3] = -850
    hu[:, edge // 2 + radius + 4, 10:-10] = 0
    return Volume(array=hu, spacing_mm=(pixel, pixel, 3.0))


def test_the_area_is_that_of_the_body_with_its_lungs_and_without_the_table() -> None:
    assert body_cm2(chest()) == pytest.approx(np.pi * 4.0**2, rel=0.03)
    assert body_cm2(chest(edge=512, radius=160)) == pytest.approx(np.pi * 16.0**2, rel=0.03)


def test_the_widest_slices_count() -> None:
    array: Array = chest().array.copy()
    array[:9] = -1000
    array[:9, 60:68, 60:68] = 40
    assert body_cm2(chest().with_array(array)) == pytest.approx(np.pi * 4.0**2, rel=0.03)


def test_a_small_body_is_enlarged_to_the_area_asked_for_and_no_other_is() -> None:
    small = chest(pixel=1.5)
    factor = size_factor(small, 300.0)
    assert body_cm2(enlarged(small, factor)) == pytest.approx(300.0)
    assert np.shares_memory(enlarged(small, factor).array, small.array)
    assert size_factor(chest(pixel=3.0), 300.0) == 1.0
    assert size_factor(small, 0.0) == 1.0
    assert size_factor(chest(pixel=0.5), 300.0) == 1.0, "12 cm² are nobody's chest"
    (notice,) = size_notices(factor)
    assert f"{factor:.1f} times" in notice.message
    assert size_notices(1.0) == []


def test_what_shows_no_whole_body_is_left_as_it_is() -> None:
    """Crops of an adult, air, pictures."""
    whole = chest(pixel=1.5)
    inside = np.ascontiguousarray(whole.array[:, 34:94, 34:94])
    crop = Volume(array=inside, spacing_mm=whole.spacing_mm)
    assert body_cm2(crop) == np.inf
    air = whole.with_array(np.full(whole.shape, -1000, np.int16))
    grey = Volume(array=whole.array, spacing_mm=whole.spacing_mm, is_hu=False)
    assert [size_factor(one, 300.0) for one in (crop, air, grey)] == [1.0, 1.0, 1.0]
