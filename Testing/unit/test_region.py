"""The region of interest: where it lies, oblique scans included, and what it refuses."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from isdmae.errors import InputError
from isdmae.region import Region
from isdmae.volume import Volume


def turned(degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    return np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )


@pytest.mark.parametrize("scan_deg", [0.0, 25.0, 180.0])
@pytest.mark.parametrize("box_deg", [0.0, 40.0])
def test_the_mask_is_what_the_definition_says(scan_deg: float, box_deg: float) -> None:
    scan = Volume(
        array=np.zeros((6, 14, 12), np.int16),
        spacing_mm=(2.0, 1.5, 4.0),
        origin_mm=(-7.0, 3.0, 11.0),
        direction=turned(scan_deg),
    )
    axes = turned(box_deg).T
    centre = scan.affine @ (5.0, 6.0, 3.0, 1.0)
    region = Region(
        centre_mm=tuple(centre[:3]),
        size_mm=(9.0, 7.0, 13.0),
        axes=tuple(map(tuple, axes)),  # type: ignore[arg-type]
    )
    mask = region.mask(scan)
    for k, j, i in np.ndindex(scan.shape):
        point = (scan.affine @ (i, j, k, 1))[:3] - centre[:3]
        assert mask[k, j, i] == region.holds(tuple((scan.affine @ (i, j, k, 1))[:3]))
        assert mask[k, j, i] == bool(np.all(np.abs(axes @ point) <= np.array([4.5, 3.5, 6.5])))
    assert mask.any()
    outside = mask.copy()
    outside[region.box(scan)] = False
    assert not outside.any()


def test_the_mask_of_a_whole_scan_takes_little_more_than_itself() -> None:
    scan = Volume(array=np.zeros((40, 128, 128), np.int16))
    region = Region(centre_mm=(64.0, 64.0, 20.0), size_mm=(200.0, 200.0, 200.0))
    tracemalloc.start()
    mask = region.mask(scan)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert mask.all()
    assert peak < 2 * mask.nbytes


def test_a_region_beside_the_scan_is_refused() -> None:
    scan = Volume(array=np.zeros((4, 4, 4), np.int16))
    region = Region(centre_mm=(100.0, 0.0, 0.0), size_mm=(5.0, 5.0, 5.0))
    with pytest.raises(InputError, match="lies outside the scan") as caught:
        region.mask(scan)
    assert caught.value.code == "region-outside"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"size_mm": (0.0, 1.0, 1.0)}, "three positive lengths"),
        ({"axes": ((1.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))}, "not orthonormal"),
    ],
)
def test_an_impossible_region_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Region(**{"centre_mm": (0.0, 0.0, 0.0), "size_mm": (1.0, 1.0, 1.0), **change})  # type: ignore[arg-type]
