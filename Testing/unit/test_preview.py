"""The montage shows the right sides in the right colours."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae.errors import InputError
from isdmae.labels import LEFT_LUNG, LUNGS, NODULE, RIGHT_LUNG, numbered
from isdmae.phantom import Phantom
from isdmae.preview import PANEL_PX, close_ups, montage, write_preview
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


def test_from_near_each_structure_has_a_row(small_phantom: Phantom) -> None:
    ct = small_phantom.ct
    labels = np.zeros(ct.shape, np.uint8)
    labels[0:3, 40:46, 30:36] = 1
    labels[20:22, 50:54, 98:104] = 3
    three = numbered(NODULE, 3)
    three = (three[0], replace(three[1], colour=(1, 2, 3)), replace(three[2], colour=(9, 8, 7)))
    picture = close_ups(ct, ct.with_array(labels), three)
    assert picture.shape == (2 * PANEL_PX, 3 * PANEL_PX, 3)
    for row, label in ((0, three[0]), (1, three[2])):
        outlined = (picture == label.colour).all(axis=-1)
        for column in range(3):
            place = slice(row * PANEL_PX, None), slice(column * PANEL_PX, (column + 1) * PANEL_PX)
            panel = outlined[place][:PANEL_PX]
            assert panel.any()
        assert not outlined[(1 - row) * PANEL_PX :][:PANEL_PX].any()


def test_which_structures_there_are_is_counted_in_little_memory() -> None:
    ct = Volume(array=np.zeros((64, 256, 256), np.int16))
    labels = np.zeros(ct.shape, np.uint8)
    labels[2:4, 2:4, 2:4] = labels[-4:-2, -4:-2, -4:-2] = 1
    tracemalloc.start()
    close_ups(ct, ct.with_array(labels), numbered(NODULE, 1))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * labels.nbytes


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
