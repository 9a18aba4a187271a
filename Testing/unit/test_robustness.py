"""What is done to a chest (benchmarks/accuracy/robustness.py): truth and CT stay together."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.accuracy import robustness
from isdmae.volume import Volume


def make_chest() -> robustness.Chest:
    """Air with a grey block of soft tissue on one side of 12 slices of 3 mm."""
    hu = np.full((12, 20, 20), -850, np.int16)
    hu[:, :, :4] = 40
    truth = np.where(hu > 0, 1, 2).astype(np.uint8)
    return robustness.Chest(ct=Volume(array=hu, spacing_mm=(1.5, 1.5, 3.0)), maps={"truth": truth})


@pytest.mark.parametrize("name", robustness.CHANGES)
def test_truth_stays_on_the_grid_of_the_ct(name: str) -> None:
    changed = robustness.CHANGES[name](make_chest())
    assert changed.maps["truth"].shape == changed.ct.shape
    assert changed.ct.array.dtype == np.int16
    soft = changed.maps["truth"] == 1
    assert changed.ct.array[soft].mean() > changed.ct.array[~soft].mean() + 500


def test_each_change_is_the_one_that_it_names() -> None:
    chest = make_chest()

    def spacing(name: str) -> tuple[float, ...]:
        return robustness.CHANGES[name](chest).ct.spacing_mm

    assert spacing("every 4th slice") == (1.5, 1.5, 12.0)
    assert spacing("slices of 0.6 mm (the middle third)") == (1.5, 1.5, 0.6)
    assert spacing("size x 0.7 (a child's)") == pytest.approx((1.05, 1.05, 2.1))
    thin = robustness.thin_slices(chest)
    assert len(thin.ct.array) == 20, "four slices of 3 mm"
    assert robustness.field_of_view(0.7)(chest).ct.shape == (12, 14, 14)
    brighter = robustness.contrast(150)(chest).ct.array
    assert set(np.unique(brighter)) == {-850, 190}
    grain = robustness.noise(30)(chest).ct.array - chest.ct.array
    assert grain.std() == pytest.approx(30, rel=0.05)


def test_a_side_that_is_swapped_counts_nothing() -> None:
    truth = make_chest().maps["truth"]
    assert robustness.mean_dice(truth, truth) == 1.0
    assert robustness.mean_dice(3 - truth, truth) == 0.0


def test_the_table_has_a_row_for_each_change_and_a_column_for_each_chest() -> None:
    cells = {name: dict.fromkeys(robustness.CHANGES, name) for name in ("one", "other")}
    lines = robustness.table(cells).splitlines()
    assert lines[0] == "| change | one | other |"
    assert len(lines) == 2 + len(robustness.CHANGES)
    assert lines[-1] == "| size x 1.25 (a large chest) | one | other |"
