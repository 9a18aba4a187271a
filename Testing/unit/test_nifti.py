"""NIfTI headers of both byte orders, and those that ITK must not see."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import io, nifti
from isdmae.errors import InputError

nibabel = pytest.importorskip("nibabel")

VOXELS = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
AFFINE = np.array([[-0.7, 0, 0, 100], [0, -0.8, 0, 120], [0, 0, 2.5, -300], [0, 0, 0, 1]])


def save(path: Path, order: str, dtype: str, kind: Any = nibabel.Nifti1Image) -> Path:
    header = kind.header_class(endianness=order)
    header.set_data_dtype(order + dtype)
    image = kind(VOXELS.astype(order + dtype).T, AFFINE, header)
    image.to_filename(path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["i2", "f4", "f8"])
def test_both_byte_orders(tmp_path: Path, order: str, suffix: str, dtype: str) -> None:
    path = save(tmp_path / f"scan{suffix}", order, dtype)
    header = nifti.read_header(path)
    assert (header.order, header.voxel_bytes) == (order, int(dtype[1]))
    assert header.has_orientation
    volume = io.read(path).volume
    np.testing.assert_array_equal(volume.array, VOXELS)
    np.testing.assert_allclose(volume.affine, np.diag([-1, -1, 1, 1]) @ AFFINE, atol=1e-5)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3e38, 1e10])
@pytest.mark.parametrize("offset", [80, 108, 256, 268, 276, 280, 300, 324])
def test_impossible_numbers_are_refused(tmp_path: Path, offset: int, value: float) -> None:
    """Infinite ones in the transform keep ITK busy for ever."""
    path = tmp_path / "scan.nii"
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path))
    data = bytearray(path.read_bytes())
    struct.pack_into("<f", data, offset, value)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"scan\.nii (cannot be read as NIfTI|\(.* bytes\) holds)"):
        io.read(path)


@pytest.mark.parametrize("offset", [256, 268, 276, 280, 300, 324])
def test_large_numbers_do_not_hang(tmp_path: Path, offset: int) -> None:
    path = tmp_path / "scan.nii"
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path))
    data = bytearray(path.read_bytes())
    struct.pack_into("<f", data, offset, 9e8)
    path.write_bytes(data)
    with suppress(InputError):
        io.read(path)


@pytest.mark.parametrize(
    ("offset", "layout", "value"),
    [(0, "i", 349), (40, "h", 0), (40, "h", 8), (42, "h", -5), (344, "i", 0), (46, "h", 0)],
)
def test_damaged_headers_are_refused(tmp_path: Path, offset: int, layout: str, value: int) -> None:
    path = tmp_path / "scan.nii"
    sitk.WriteImage(sitk.GetImageFromArray(VOXELS), str(path))
    data = bytearray(path.read_bytes())
    struct.pack_into("<" + layout, data, offset, value)
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read as NIfTI"):
        io.read(path)


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", "<", "f4")
    for kept in (0, 3, 100, 347):
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(InputError, match="cannot be read as NIfTI"):
            io.read(path)


@pytest.mark.parametrize("order", ["<", ">"])
def test_nifti_2_is_refused(tmp_path: Path, order: str) -> None:
    path = save(tmp_path / "scan.nii.gz", order, "f4", nibabel.Nifti2Image)
    with pytest.raises(InputError, match="NIfTI-2 file; only NIfTI-1 is read"):
        io.read(path)
