"""The montage shows the right sides in the right colours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae.errors import InputError
from isdmae.labels import LEFT_LUNG, LUNGS, RIGHT_LUNG
from isdmae.phantom import Phantom
from isdmae.preview import PANEL_PX, montage, write_preview
from isdmae.volume import Volume


def columns_of(picture: np.ndarray, colour: tuple[int, int, int]) -> float:
    return float(np.nonzero((picture == colour).all(axis=-1))[1].mean())


def test_the_right_lung_is_on_the_viewers_left_in_axial_and_coronal_slices(
    small_phantom: Phantom,
) -> None:
    picture = montage(small_phantom.ct, small_phantom.lungs, LUNGS)
    assert picture.shape == (2 * PANEL_PX, 3 * PANEL_PX, 3)
    axial, coronal = picture[:PANEL_PX, :PANEL_PX], picture[PANEL_PX:, :PANEL_PX]
    for panel in (axial, coronal):
        assert columns_of(panel, RIGHT_LUNG.colour) < columns_of(panel, LEFT_LUNG.colour)


def test_the_apex_is_above_the_base_in_a_coronal_slice(small_phantom: Phantom) -> None:
    panel = montage(small_phantom.ct, small_phantom.lungs, LUNGS)[PANEL_PX:, :PANEL_PX]
    outlined = (panel == RIGHT_LUNG.colour).all(axis=-1)
    rows = np.flatnonzero(outlined.any(axis=1))
    width = [np.ptp(np.flatnonzero(outlined[row])) for row in (rows[2], rows[-len(rows) // 3])]
    assert width[0] < width[1]


def test_a_flipped_volume_gives_the_same_picture(small_phantom: Phantom) -> None:
    ct, lungs = small_phantom.ct, small_phantom.lungs
    last = ct.affine @ (ct.shape[2] - 1, 0, ct.shape[0] - 1, 1)
    flipped = Volume(
        array=ct.array[::-1, :, ::-1],
        spacing_mm=ct.spacing_mm,
        origin_mm=tuple(last[:3]),
        direction=ct.direction * (-1, 1, -1),
    )
    other = flipped.with_array(lungs.array[::-1, :, ::-1])
    assert np.array_equal(montage(flipped, other, LUNGS), montage(ct, lungs, LUNGS))


def test_an_empty_result_and_a_picture_can_be_shown(small_phantom: Phantom) -> None:
    empty = small_phantom.ct.with_array(np.zeros(small_phantom.ct.shape, np.uint8))
    assert montage(small_phantom.ct, empty, LUNGS).any()
    picture = Volume(array=np.arange(600, dtype=np.uint8).reshape(1, 20, 30), is_hu=False)
    assert montage(picture, picture.with_array(picture.array * 0), LUNGS).shape == (360, 360, 3)


def test_the_png_holds_the_montage(small_phantom: Phantom, tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    write_preview(path, small_phantom.ct, small_phantom.lungs, LUNGS)
    expected = montage(small_phantom.ct, small_phantom.lungs, LUNGS)
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), expected)
    with pytest.raises(InputError, match="exists already"):
        write_preview(path, small_phantom.ct, small_phantom.lungs, LUNGS)
