"""Reading by kind of file, pictures, and the conversions to and from SimpleITK."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import io
from isdmae.errors import InputError, ResourceError
from isdmae.volume import Volume

GREY = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)


def picture(path: Path, pixels: np.ndarray) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3), str(path))
    return path


class TestRead:
    def test_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"scan\.nii\.gz does not exist") as caught:
            io.read(tmp_path / "scan.nii.gz")
        assert caught.value.code == "missing-file"

    def test_a_string_will_do(self, tmp_path: Path) -> None:
        assert io.read(str(picture(tmp_path / "a.png", GREY))).volume.shape == (1, 20, 30)

    def test_a_series_of_a_file_that_holds_none(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"so it holds no series 1\.2") as caught:
            io.read(picture(tmp_path / "a.png", GREY), series_uid="1.2")
        assert caught.value.code == "unknown-series"

    def test_unknown_suffix(self, tmp_path: Path) -> None:
        (tmp_path / "scan.docx").write_text("hello")
        with pytest.raises(InputError, match=r"scan\.docx is of no known format") as caught:
            io.read(tmp_path / "scan.docx")
        assert ".nii.gz" in caught.value.remedy

    def test_a_pipe_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "scan.nii")
        with pytest.raises(InputError, match="does not exist"):
            io.read(tmp_path / "scan.nii")

    def test_no_permission(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The right is taken by hand: an administrator running the tests may read everything."""
        (tmp_path / "scan.nii").write_bytes(b"")

        def refuse(*_args: object, **_kwargs: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(
            InputError, match=r"scan\.nii cannot be read: Permission denied"
        ) as caught:
            io.read(tmp_path / "scan.nii")
        assert caught.value.code == "not-readable"
        monkeypatch.setattr(Path, "iterdir", refuse)
        with pytest.raises(InputError, match="cannot be read"):
            io.read(tmp_path)

    def test_too_little_memory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "a.png").write_bytes(b"")

        def fail(_path: Path) -> None:
            raise MemoryError

        monkeypatch.setattr(io.picture, "load_picture", fail)
        with pytest.raises(ResourceError, match=r"not enough memory to read a\.png"):
            io.read(tmp_path / "a.png")

    def test_names_that_are_not_unicode(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="not valid Unicode"):
            io.read(tmp_path / "scan\udcff.nii")

    def test_a_path_that_is_too_long(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="longer than the system allows") as caught:
            io.read(tmp_path / f"{'x' * 300}.nii")
        assert caught.value.code == "bad-file-name"

    def test_other_alphabets_and_spaces(self, tmp_path: Path) -> None:
        folder = tmp_path / "Ünï cödé 测试"
        folder.mkdir()
        path = folder / "bild eins.nii.gz"
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16)), str(path))
        assert io.read(path).volume.shape == (3, 4, 5)

    @pytest.mark.parametrize("suffix", ["nii", "NII.GZ", "nrrd", "nhdr", "mha", "mhd"])
    def test_formats(self, tmp_path: Path, suffix: str) -> None:
        array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
        path = tmp_path / f"scan.v1.{suffix.lower()}"
        sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
        path = path.rename(tmp_path / f"scan.v1.{suffix}")
        result = io.read(path)
        np.testing.assert_array_equal(result.volume.array, array)
        assert result.volume.is_hu
        assert result.notices == ()
        assert result.source["format"] in ("NIfTI", "NRRD", "MetaImage")

    def test_source_is_read_only(self, tmp_path: Path) -> None:
        source = io.read(picture(tmp_path / "a.png", GREY)).source
        assert dict(source) == {"format": "PNG"}
        with pytest.raises(TypeError):
            source["format"] = "TIFF"  # type: ignore[index]


class TestSitk:
    def test_there_and_back(self) -> None:
        direction = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
        before = Volume(
            array=np.arange(24, dtype=np.float32).reshape(2, 3, 4),
            spacing_mm=(0.7, 0.8, 2.5),
            origin_mm=(-10.5, 20.25, 300.125),
            direction=direction,
        )
        image = io.to_sitk(before)
        assert image.GetSize() == (4, 3, 2)
        after = io.from_sitk(image)
        assert after.same_grid(before, tolerance=1e-12)
        np.testing.assert_array_equal(after.array, before.array)

    def test_itk_agrees_where_a_voxel_lies(self) -> None:
        direction = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
        volume = Volume(
            array=np.zeros((5, 6, 7)),
            spacing_mm=(1, 2, 3),
            origin_mm=(4, 5, 6),
            direction=direction,
        )
        expected = volume.affine @ [6, 3, 2, 1]
        found = io.to_sitk(volume).TransformIndexToPhysicalPoint((6, 3, 2))
        np.testing.assert_allclose(found, expected[:3], atol=1e-9)

    @pytest.mark.parametrize(
        ("dtype", "stored"),
        [(np.bool_, np.uint8), (np.float16, np.float32), (">i2", np.int16), (np.uint64, np.uint64)],
    )
    def test_dtypes_that_itk_lacks(self, dtype: str, stored: type) -> None:
        array = np.arange(2 * 3 * 4).reshape(2, 3, 4).astype(dtype)
        back = io.from_sitk(io.to_sitk(Volume(array=array[:, ::-1])))
        assert back.array.dtype == stored
        np.testing.assert_array_equal(back.array, array[:, ::-1].astype(stored))

    def test_2d_becomes_one_slice(self) -> None:
        image = sitk.GetImageFromArray(np.arange(12, dtype=np.int16).reshape(3, 4))
        image.SetSpacing((0.5, 0.6))
        image.SetOrigin((7, 8))
        image.SetDirection((0, 1, 1, 0))
        volume = io.from_sitk(image, is_hu=False)
        assert volume.shape == (1, 3, 4)
        assert volume.spacing_mm == (0.5, 0.6, 1)
        assert volume.origin_mm == (7, 8, 0)
        assert volume.direction.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
        assert not volume.is_hu

    def test_a_place_that_is_no_number_is_refused(self) -> None:
        image = sitk.Image([2, 2, 2], sitk.sitkInt16)
        image.SetOrigin((0, float("nan"), 0))
        with pytest.raises(InputError, match="finite millimetres") as caught:
            io.from_sitk(image)
        assert caught.value.code == "bad-grid"

    def test_sheared_axes_are_refused(self) -> None:
        image = sitk.Image([2, 2, 2], sitk.sitkInt16)
        image.SetDirection((1, 0.1, 0, 0, 1, 0, 0, 0, 1))
        with pytest.raises(InputError, match="not at right angles") as caught:
            io.from_sitk(image)
        assert caught.value.code == "not-orthonormal"
