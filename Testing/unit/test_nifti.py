"""NIfTI headers of both byte orders, and those that ITK must not see."""

from __future__ import annotations

import gzip
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import image_file, io, nifti
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


@pytest.mark.parametrize("bits", [-29928, 0, 8, 512])
def test_the_type_and_not_the_count_of_bits_says_how_large_a_voxel_is(
    tmp_path: Path, bits: int
) -> None:
    """ITK goes by the type; a negative count once made the checks for cut files pass."""
    path = save(tmp_path / "scan.nii", "<", "f4")
    data = bytearray(path.read_bytes())
    struct.pack_into("<h", data, 72, bits)
    path.write_bytes(data)
    np.testing.assert_array_equal(io.read(path).volume.array, stored_voxels(path))
    path.write_bytes(data[:-8])
    with pytest.raises(InputError) as caught:
        io.read(path)
    assert caught.value.code == "damaged-file"


def stored_voxels(path: Path) -> np.ndarray:
    """The voxels as they lie in the file, after a header of 352 bytes."""
    return np.frombuffer(path.read_bytes(), "<f4", offset=352).reshape(VOXELS.shape)


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


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_voxels_within_the_header_are_refused(tmp_path: Path, kind: Any) -> None:
    """ITK begins behind the header all the same, others at 352, and each reads other voxels."""
    path = save(tmp_path / "scan.nii", "<", "f4", kind)
    data = bytearray(path.read_bytes())
    place, first = (("f", 108), 352) if kind is nibabel.Nifti1Image else (("q", 168), 544)
    for offset, refused in ((0, True), (first - 4, True), (first, False)):
        struct.pack_into("<" + place[0], data, place[1], offset)
        path.write_bytes(data)
        if refused:
            with pytest.raises(InputError, match="cannot be read as NIfTI"):
                io.read(path)
        else:
            np.testing.assert_array_equal(io.read(path).volume.array, VOXELS)


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", "<", "f4")
    for kept in (0, 3, 100, 347):
        path.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(InputError, match="cannot be read as NIfTI"):
            io.read(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["i2", "f4"])
def test_nifti_2_is_nifti_1_with_longer_numbers(
    tmp_path: Path, order: str, kind: str, suffix: str
) -> None:
    first = io.read(save(tmp_path / f"one{suffix}", order, kind))
    second = io.read(save(tmp_path / f"two{suffix}", order, kind, nibabel.Nifti2Image))
    np.testing.assert_array_equal(second.volume.array, first.volume.array)
    assert second.volume.same_grid(first.volume, tolerance=1e-5)
    assert second.notices == first.notices


def test_nifti_2_with_nan_units_slope_and_far_voxels(tmp_path: Path) -> None:
    path = save(tmp_path / "scan.nii", "<", "f4", nibabel.Nifti2Image)
    data = bytearray(path.read_bytes())
    (offset,) = struct.unpack_from("<q", data, 168)
    struct.pack_into("<f", data, offset, np.nan)
    struct.pack_into("<q", data, 168, offset + 64)
    struct.pack_into("<2d", data, 176, 2.0, -5.0)
    struct.pack_into("<i", data, 500, 3)
    plain = io.read(save(tmp_path / "plain.nii", "<", "f4", nibabel.Nifti2Image)).volume
    path.write_bytes(data[:offset] + bytes(64) + data[offset:])
    volume = io.read(path).volume
    assert np.isnan(volume.array.flat[0])
    np.testing.assert_allclose(volume.array.flat[1:], plain.array.flat[1:] * 2 - 5, rtol=1e-6)
    np.testing.assert_allclose(volume.spacing_mm, np.array(plain.spacing_mm) / 1000, rtol=1e-6)


@pytest.mark.parametrize(
    ("offset", "layout", "value"),
    [(16, "q", 0), (16, "q", 2**62), (16, "q", -3), (24, "q", 40000), (24, "q", -1), (4, "i", 0),
     (112, "d", 1e300), (112, "d", np.nan), (168, "q", -5), (168, "q", 2**62), (344, "i", 2**20)],
)  # fmt: skip
def test_damaged_nifti_2_headers_are_refused(
    tmp_path: Path, offset: int, layout: str, value: float
) -> None:
    path = save(tmp_path / "scan.nii", "<", "f4", nibabel.Nifti2Image)
    data = bytearray(path.read_bytes())
    struct.pack_into("<" + layout, data, offset, value)
    path.write_bytes(data)
    with pytest.raises(InputError, match="cannot be read as NIfTI"):
        io.read(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_cut_nifti_2_is_refused_before_it_is_copied(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"scan{suffix}", "<", "f4", nibabel.Nifti2Image)
    data = path.read_bytes()
    for kept in (0.2, 0.6, 0.95):
        path.write_bytes(data[: int(len(data) * kept)])
        with pytest.raises(InputError):
            io.read(path)
    promising = bytearray(gzip.decompress(data) if suffix == ".nii.gz" else data)
    struct.pack_into("<3q", promising, 24, 30000, 30000, 30000)
    path.write_bytes(gzip.compress(promising) if suffix == ".nii.gz" else promising)
    with pytest.raises(InputError, match="promises"):
        io.read(path)


def plain(path: Path, *edits: tuple[Any, ...]) -> Path:
    """Write VOXELS on AFFINE with sform and qform, then overwrite fields of the header."""
    image = sitk.GetImageFromArray(VOXELS)
    image.SetSpacing((0.75, 0.5, 2.5))
    image.SetOrigin((-100, -120, -300))
    sitk.WriteImage(image, str(path))
    data = bytearray(path.read_bytes())
    for offset, layout, *values in edits:
        struct.pack_into("<" + layout, data, offset, *values)
    path.write_bytes(data)
    return path


def codes(qform: int, sform: int) -> tuple[Any, ...]:
    return (252, "hh", qform, sform)


def srow(*columns: tuple[float, float, float]) -> tuple[Any, ...]:
    """Return the sform with these columns in RAS, on the origin of ``plain``."""
    rows = np.column_stack([*columns, (100, 120, -300)])
    return (280, "12f", *rows.ravel())


def pixdim(axis: int, value: float) -> tuple[Any, ...]:
    return (76 + 4 * axis, "f", value)


LEFT, BACK, UP = (-0.75, 0, 0), (0, -0.5, 0), (0, 0, 2.5)


class TestGrid:
    """What ITK would lay on another grid without a word."""

    @pytest.mark.parametrize("sform", [1, 2, 3, 4])
    @pytest.mark.parametrize("qform", [0, 1])
    def test_the_sform_wins(self, tmp_path: Path, sform: int, qform: int) -> None:
        """ITK takes the qform where the sform's code is not 1."""
        c, s = np.cos(0.1), np.sin(0.1)
        turned = srow((-0.75 * c, -0.75 * s, 0), (0.5 * s, -0.5 * c, 0), UP)
        path = plain(tmp_path / "scan.nii", codes(qform, sform), turned)
        loaded = image_file.load_image(path)
        expected = nibabel.load(path).get_sform()
        volume = io.read(path).volume
        np.testing.assert_allclose(volume.affine, np.diag([-1, -1, 1, 1]) @ expected, atol=1e-6)
        assert [notice.code for notice in loaded.notices] == ["geometry-contradicts"] * qform
        if qform:
            assert "5.73 degrees apart; the sform was taken" in loaded.notices[0].message

    def test_sides_that_differ_are_said(self, tmp_path: Path) -> None:
        path = plain(tmp_path / "scan.nii", srow((0.75, 0, 0), BACK, UP))
        (notice,) = image_file.load_image(path).notices
        assert notice.code == "geometry-contradicts"
        assert "180 degrees apart" in notice.message
        assert io.read(path).volume.orientation == "RPS"

    @pytest.mark.parametrize(("shift", "said"), [(0.05, False), (0.2, True), (30, True)])
    def test_places_that_differ_are_said(self, tmp_path: Path, shift: float, said: bool) -> None:
        path = plain(tmp_path / "scan.nii", (268, "f", 100 + shift))
        notices = image_file.load_image(path).notices
        assert len(notices) == said
        assert io.read(path).volume.origin_mm == (-100, -120, -300)
        if said:
            assert f"{shift:.3g} mm and 0 degrees apart" in notices[0].message

    @pytest.mark.parametrize("qform", [0, 1])
    def test_two_voxel_sizes_are_refused(self, tmp_path: Path, qform: int) -> None:
        """ITK takes pixdim: twice the slice distance is half the volume."""
        path = plain(tmp_path / "scan.nii", codes(qform, 1), srow(LEFT, BACK, (0, 0, 5)))
        with pytest.raises(InputError) as caught:
            io.read(path)
        assert caught.value.code == "geometry-contradicts"
        assert "0.75 x 0.5 x 2.5 mm by pixdim" in caught.value.message
        assert "0.75 x 0.5 x 5 mm by its sform: 2.5 mm apart" in caught.value.message

    def test_one_percent_goes_by_the_sform(self, tmp_path: Path) -> None:
        path = plain(tmp_path / "scan.nii", codes(0, 1), srow(LEFT, BACK, (0, 0, 2.52)))
        assert image_file.load_image(path).notices == ()
        assert io.read(path).volume.spacing_mm == pytest.approx((0.75, 0.5, 2.52))

    @pytest.mark.parametrize("value", [0, -2.5])
    @pytest.mark.parametrize("qform", [0, 1])
    def test_a_size_that_is_not_positive(self, tmp_path: Path, value: float, qform: int) -> None:
        """ITK mirrors the axis, or makes it 1 mm."""
        path = plain(tmp_path / "scan.nii", codes(qform, 1), pixdim(3, value))
        (notice,) = image_file.load_image(path).notices
        assert notice.code == "geometry-contradicts"
        assert f"0.75 x 0.5 x {value:g} mm by pixdim" in notice.message
        volume = io.read(path).volume
        assert volume.spacing_mm == (0.75, 0.5, 2.5)
        assert volume.orientation == "LPS"
        path = plain(tmp_path / "scan.nii", codes(qform, 0), pixdim(3, value))
        with pytest.raises(InputError, match="must be positive") as caught:
            io.read(path)
        assert caught.value.code == "bad-grid"

    def test_an_axis_without_length_is_refused(self, tmp_path: Path) -> None:
        path = plain(tmp_path / "scan.nii", srow(LEFT, BACK, (0, 0, 0)))
        with pytest.raises(InputError, match=r"An axis of scan\.nii has no length"):
            io.read(path)

    @pytest.mark.parametrize("forms", [(1, 0), (0, 1), (1, 1), (0, 0)])
    @pytest.mark.parametrize("units", [0, 1, 2, 3, 10])
    def test_units_as_itk_reads_them(
        self, tmp_path: Path, units: int, forms: tuple[int, int]
    ) -> None:
        path = plain(tmp_path / "scan.nii", (123, "B", units), codes(*forms))
        oracle = io.from_sitk(sitk.ReadImage(str(path)))
        volume = io.read(path).volume
        np.testing.assert_allclose(volume.affine, oracle.affine, rtol=1e-6)

    @pytest.mark.parametrize("seed", range(12))
    def test_nibabel_agrees_on_the_qform(self, tmp_path: Path, seed: int) -> None:
        generator = np.random.default_rng(seed)
        axes = np.linalg.qr(generator.normal(size=(3, 3)))[0]
        affine = np.eye(4)
        affine[:3] = np.column_stack([axes * [0.7, 0.8, 2.5], generator.normal(0, 200, 3)])
        image = nibabel.Nifti1Image(VOXELS.T, None)
        image.set_qform(affine, 1)
        image.to_filename(tmp_path / "scan.nii.gz")
        volume = io.read(tmp_path / "scan.nii.gz").volume
        np.testing.assert_allclose(volume.affine, np.diag([-1, -1, 1, 1]) @ affine, atol=1e-4)

    def test_a_flat_image_is_only_checked(self, tmp_path: Path) -> None:
        path = tmp_path / "scan.nii"
        sitk.WriteImage(sitk.GetImageFromArray(VOXELS[0]), str(path))
        data = bytearray(path.read_bytes())
        struct.pack_into("<f", data, 76 + 12, 0.0)
        path.write_bytes(data)
        assert io.read(path).volume.shape == (1, 4, 5)
        struct.pack_into("<f", data, 76 + 8, 3.0)
        path.write_bytes(data)
        with pytest.raises(InputError, match="by its sform: 2 mm apart"):
            io.read(path)

    def test_itk_is_left_as_it_was(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = plain(tmp_path / "scan.nii")
        for before in ("NO", None):
            if before:
                monkeypatch.setenv(nifti.PERMISSIVE, before)
            else:
                monkeypatch.delenv(nifti.PERMISSIVE)
            io.read(path)
            assert nifti.os.environ.get(nifti.PERMISSIVE) == before
