"""Whatever way an image lies: written and read it is on its grid, turned and back it is itself."""

from __future__ import annotations

import itertools
import struct
import tempfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from isdmae import io
from isdmae.checks import narrow_dtype
from isdmae.errors import InputError
from isdmae.volume import Volume, to_lps_order

DTYPES = ("u1", "i1", "i2", "u2", "i4", "u4", "f4", "f8")
AXIS_ORDERS = [
    np.eye(3)[:, list(order)] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@st.composite
def volumes(draw: st.DrawFn) -> Volume:
    """One of the 48 axis orders, turned by up to 20 degrees, of any spacing, dtype and shape."""
    shape = draw(st.tuples(*[st.integers(1, 7)] * 3))
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    rotation = Rotation.from_euler("xyz", draw(st.tuples(*[st.floats(-20, 20)] * 3)), degrees=True)
    # The multiplier spreads the values over the whole range, with wrap-round for whole numbers.
    values = np.arange(np.prod(shape), dtype=np.int64) * draw(st.integers(1, 2**33))
    return Volume(
        array=values.astype(dtype).reshape(shape),
        spacing_mm=draw(st.tuples(*[st.floats(0.1, 20)] * 3)),
        origin_mm=draw(st.tuples(*[st.floats(-2000, 2000)] * 3)),
        direction=rotation.as_matrix() @ draw(st.sampled_from(AXIS_ORDERS)),
    )


def cycle(volume: Volume, suffix: str) -> Volume:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"image{suffix}"
        io.write_image_atomic(path, io.to_sitk(volume))
        return io.read(path).volume


def test_there_are_48_axis_orders() -> None:
    assert len({(matrix + 0.0).tobytes() for matrix in AXIS_ORDERS}) == 48


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
@given(volume=volumes())
@settings(max_examples=40, deadline=None)
def test_written_and_read_is_the_same(suffix: str, volume: Volume) -> None:
    once = cycle(volume, suffix)
    assert once.array.dtype == volume.array.dtype
    np.testing.assert_array_equal(once.array, volume.array)
    # NIfTI stores float32: 2000 mm is exact within 1.2e-4 mm, a cosine within 1e-6.
    assert once.same_grid(volume, tolerance=2.5e-4 if "nii" in suffix else 1e-9)
    np.testing.assert_allclose(once.direction, volume.direction, rtol=0, atol=2e-6)

    twice = cycle(once, suffix)
    np.testing.assert_array_equal(twice.array, once.array)
    assert twice.same_grid(once, tolerance=1e-5 if "nii" in suffix else 1e-12)


@pytest.mark.parametrize("matrix", AXIS_ORDERS, ids=range(48))
def test_each_axis_order_survives_each_format(matrix: np.ndarray, tmp_path: Path) -> None:
    volume = Volume(
        array=np.arange(24, dtype=np.int16).reshape(2, 3, 4),
        spacing_mm=(0.5, 0.75, 2.5),
        origin_mm=(-100.5, 20.25, 300.125),
        direction=matrix,
    )
    for suffix in (".nrrd", ".mha", ".nii.gz"):
        io.write_image_atomic(tmp_path / f"image{suffix}", io.to_sitk(volume))
        again = io.read(tmp_path / f"image{suffix}").volume
        assert again.same_grid(volume, tolerance=1e-9)
        assert again.orientation == volume.orientation
        np.testing.assert_array_equal(again.array, volume.array)


@given(
    volume=volumes(),
    bend_deg=st.floats(0, 0.3),
    stretch=st.sampled_from([1.0, 1.005, 1.1]),
    sform_code=st.integers(1, 4),
    qform_code=st.integers(0, 4),
)
@settings(max_examples=100, deadline=None)
def test_a_nifti_lies_where_its_sform_says_or_is_refused(
    volume: Volume, bend_deg: float, stretch: float, sform_code: int, qform_code: int
) -> None:
    """Also where the axes are bent, the voxel sizes contradict, or a qform says something else."""
    # The header holds float32, so the limit of 0.1 degrees is not sharp.
    assume(abs(bend_deg - 0.1) > 0.002)
    sform = np.diag([-1.0, -1, 1, 1]) @ volume.affine
    unit = sform[:3, :3] / volume.spacing_mm
    bent = unit[:, 1] + np.tan(np.radians(bend_deg)) * unit[:, 0]
    sform[:3, 1] = bent / np.linalg.norm(bent) * volume.spacing_mm[1] * stretch
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.nii"
        sitk.WriteImage(io.to_sitk(volume), str(path))
        data = bytearray(path.read_bytes())
        struct.pack_into("<hh", data, 252, qform_code, sform_code)
        struct.pack_into("<12f", data, 280, *sform[:3].ravel())
        path.write_bytes(data)
        if stretch > 1.01 or bend_deg > 0.1:
            with pytest.raises(InputError) as caught:
                io.read(path)
            assert caught.value.code in ("geometry-contradicts", "not-orthonormal")
            return
        found = io.read(path).volume
    expected = np.diag([-1.0, -1, 1, 1]) @ sform
    # Half of the bend goes to each axis; its length and the origin stay.
    spacing = np.linalg.norm(expected[:3, :3], axis=0)
    np.testing.assert_allclose(found.spacing_mm, spacing, rtol=2e-6)
    np.testing.assert_allclose(found.origin_mm, expected[:3, 3], atol=2.5e-4)
    tolerance = np.radians(bend_deg) / 2 + 2e-6
    np.testing.assert_allclose(found.direction, expected[:3, :3] / spacing, atol=tolerance)
    # The header holds float32.
    np.testing.assert_allclose(found.direction.T @ found.direction, np.eye(3), atol=1e-6)


@given(volume=volumes())
@settings(max_examples=150, deadline=None)
def test_turned_to_lps_and_back(volume: Volume) -> None:
    turned, order = to_lps_order(volume)
    assert turned.orientation == "LPS"
    np.testing.assert_array_equal(order.undo(turned.array), volume.array)
    np.testing.assert_array_equal(order.apply(order.undo(turned.array)), turned.array)
    assert turned.voxel_ml == pytest.approx(volume.voxel_ml)
    assert to_lps_order(turned)[0].same_grid(turned, tolerance=1e-9)


@given(volume=volumes())
@settings(max_examples=60, deadline=None)
def test_every_voxel_stays_at_its_place_in_the_patient(volume: Volume) -> None:
    numbered = volume.with_array(np.arange(volume.array.size).reshape(volume.shape))
    turned, _ = to_lps_order(numbered)
    np.testing.assert_allclose(places(turned), places(numbered), rtol=0, atol=1e-8)


def places(volume: Volume) -> np.ndarray:
    """LPS millimetres of the voxels in the order of their (unique) values."""
    k, j, i = np.unravel_index(np.argsort(volume.array, axis=None), volume.shape)
    return (volume.affine @ np.stack([i, j, k, np.ones_like(i)]))[:3].T


@given(
    values=st.lists(st.integers(-(2**31), 2**32 - 1), min_size=1, max_size=20),
    dtype=st.sampled_from(["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8"]),
)
@settings(max_examples=200, deadline=None)
def test_narrowing_keeps_every_whole_number(values: list[int], dtype: str) -> None:
    array = np.array(values, dtype=np.int64).astype(dtype)
    narrow = narrow_dtype(array)
    assert narrow.dtype in (np.int16, np.int32, np.float32)
    exact = np.float32 if narrow.dtype == np.float32 else np.int64
    np.testing.assert_array_equal(narrow.astype(exact), array.astype(exact))
