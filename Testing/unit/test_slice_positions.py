"""Where slices lie: missing, doubled, uneven or displaced ones, and a tilted gantry."""

from __future__ import annotations

import math

import numpy as np
import pytest

from isdmae import checks
from isdmae.errors import InputError
from isdmae.slice_positions import (
    check_gantry_tilt,
    check_lateral_positions,
    check_slice_positions,
)


def codes(notices: list[checks.Notice]) -> list[str]:
    return [notice.code for notice in notices]


class TestSlicePositions:
    NAMES = tuple(f"s{number}" for number in range(1, 11))

    def test_even_and_single_pass(self) -> None:
        assert check_slice_positions([0, 2.5, 5, 7.5], self.NAMES) == []
        assert check_slice_positions([3], self.NAMES) == []
        assert check_slice_positions([0, 1.009, 2, 3], self.NAMES) == []

    def test_uneven_is_noticed_with_slice_numbers(self) -> None:
        notices = check_slice_positions([0, 1, 2, 3.2, 4.2, 5.2], self.NAMES)
        assert codes(notices) == ["uneven-slices"]
        assert "up to 1.2 mm after slice 3" in notices[0].message

    def test_a_gap_is_refused_unless_allowed(self) -> None:
        positions = [0, 2.5, 5, 12.5, 15]
        with pytest.raises(InputError) as caught:
            check_slice_positions(positions, self.NAMES)
        assert caught.value.code == "gap"
        assert (
            "2 slices are missing: 7.5 mm between slices 3 and 4 (s3, s4)" in caught.value.message
        )
        assert "--allow-gaps" in caught.value.remedy
        notices = check_slice_positions(positions, self.NAMES, allow_gaps=True)
        assert codes(notices) == ["gap"]
        assert "between slices 3 and 4, usual are 2.5 mm" in notices[0].message

    def test_one_and_a_half_is_a_gap(self) -> None:
        with pytest.raises(InputError, match="1 slices are missing"):
            check_slice_positions([0, 1, 2, 3.5, 4.5], self.NAMES)

    def test_two_distances_are_refused_whichever_is_the_usual_one(self) -> None:
        thick, thin = np.arange(10) * 5.0, np.arange(1, 9) * 1.25
        positions = [*thick, *(thick[-1] + thin)]
        names = tuple(f"s{number}" for number in range(1, 19))
        with pytest.raises(
            InputError, match=r"1\.25 to 5 mm apart: slice 10 of 18 \(s10\)"
        ) as caught:
            check_slice_positions(positions, names)
        assert caught.value.code == "slices-off-grid"
        notices = check_slice_positions(positions, names, allow_gaps=True)
        assert codes(notices) == ["slices-off-grid"]
        assert "s10" not in notices[0].message
        more = [*thick[-4:], *(thick[-1] + thin)]
        with pytest.raises(InputError, match="slices are missing"):
            check_slice_positions(more, names)
        near = [*np.arange(20) * 1.25, *(19 * 1.25 + np.arange(1, 20))]
        with pytest.raises(InputError, match=r"1 to 1\.25 mm apart"):
            check_slice_positions(near, [f"s{number}" for number in range(39)])

    def test_duplicates_are_named(self) -> None:
        with pytest.raises(InputError, match="1 slice positions occur twice, first in s2 and s3"):
            check_slice_positions([0, 1, 1, 2, 3], self.NAMES)

    def test_all_doubled_is_a_duplicate_too(self) -> None:
        with pytest.raises(InputError, match="twice"):
            check_slice_positions([0, 0, 1, 1, 2, 2], self.NAMES, allow_gaps=True)
        with pytest.raises(InputError, match="twice"):
            check_slice_positions([5, 5], self.NAMES)


class TestGantryTilt:
    @pytest.mark.parametrize("degrees", [0, 0.4, -0.4])
    def test_straight_passes(self, degrees: float) -> None:
        angle = math.radians(degrees)
        check_gantry_tilt([0, 0, 1], [0, 90 * math.sin(angle), 90 * math.cos(angle)])
        check_gantry_tilt([0, 0, 2], [0, 0, -50])

    @pytest.mark.parametrize("degrees", [0.6, 15, -20])
    def test_tilt_is_refused_with_its_angle(self, degrees: float) -> None:
        angle = math.radians(degrees)
        with pytest.raises(InputError, match=f"{abs(degrees):.1f} degrees") as caught:
            check_gantry_tilt([0, 0, 1], [0, 90 * math.sin(angle), 90 * math.cos(angle)])
        assert caught.value.code == "gantry-tilt"


class TestLateralPositions:
    NORMAL = np.array([0.0, math.sin(0.3), math.cos(0.3)])
    NAMES = tuple(f"s{number}" for number in range(1, 21))

    def stack(self, slope: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
        steps = np.arange(20)[:, None] * 2.5
        return np.array([-100.0, 30, 900]) + steps * (self.NORMAL + np.array(slope))

    def test_straight_and_evenly_sheared_stacks_pass(self) -> None:
        """The shear of a tilted gantry is the business of another check."""
        check_lateral_positions(self.stack(), self.NORMAL, 350, self.NAMES)
        check_lateral_positions(self.stack((0.2, 0, 0)), self.NORMAL, 350, self.NAMES)
        for count in (1, 2):
            check_lateral_positions(self.stack()[:count], self.NORMAL, 350, self.NAMES)

    @pytest.mark.parametrize("index", [0, 1, 10, 18, 19])
    def test_a_displaced_slice_is_named(self, index: int) -> None:
        places = self.stack((0.002, 0, 0))
        places[index] += [60, 0, 0]
        with pytest.raises(InputError) as caught:
            check_lateral_positions(places, self.NORMAL, 350, self.NAMES)
        assert caught.value.code == "displaced-slices"
        assert caught.value.message.startswith(f"Slice {index + 1} of 20 lies beside the others")
        assert f"60 mm (s{index + 1}); at most 1 mm" in caught.value.message

    def test_one_millimetre_and_one_percent(self) -> None:
        places = self.stack()
        places[7] += [0.9, 0, 0]
        check_lateral_positions(places, self.NORMAL, 350, self.NAMES)
        with pytest.raises(InputError, match=r"0\.9 mm \(s8\); at most 0\.5 mm"):
            check_lateral_positions(places, self.NORMAL, 50, self.NAMES)
        places[7] += [0.2, 0, 0]
        with pytest.raises(InputError, match="Slice 8 of 20"):
            check_lateral_positions(places, self.NORMAL, 350, self.NAMES)

    def test_three_slices(self) -> None:
        places = self.stack()[:3]
        places[1] += [5, 0, 0]
        with pytest.raises(InputError, match="Slice 2 of 3"):
            check_lateral_positions(places, self.NORMAL, 350, self.NAMES)
