"""DICOM folders: the right series, complete, in order, in HU; everything else refused by name."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import dicom, dicom_header, io

pydicom = pytest.importorskip("pydicom")
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import (  # noqa: E402
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    RTStructureSetStorage,
)

from dicom_files import (  # noqa: E402
    COLUMNS,
    HU,
    ROWS,
    SLICES,
    UID_A,
    UID_B,
    dataset,
    refused,
    save,
    write_series,
)


class TestReadSeries:
    def test_geometry_order_and_values(self, tmp_path: Path) -> None:
        write_series(tmp_path)
        result = io.read(tmp_path)
        np.testing.assert_array_equal(result.volume.array, HU)
        assert result.volume.array.dtype == np.int16
        assert result.volume.spacing_mm == pytest.approx((0.8, 0.7, 2.5), abs=1e-12)
        assert result.volume.origin_mm == (-100.5, -90.25, -300)
        assert result.volume.orientation == "LPS"
        assert result.volume.is_hu
        assert result.notices == ()

    def test_source_names_the_series_and_not_the_patient(self, tmp_path: Path) -> None:
        write_series(tmp_path)
        assert dict(io.read(tmp_path).source) == {
            "format": "DICOM",
            "series_uid": UID_A,
            "series_description": "thorax",
            "modality": "CT",
        }

    @pytest.mark.parametrize("names", ["IM{:04d}", "1.2.3.{}", "{}.ima"])
    def test_any_file_names(self, tmp_path: Path, names: str) -> None:
        paths = write_series(tmp_path, names=names)
        np.testing.assert_array_equal(io.read(tmp_path).volume.array, HU)
        np.testing.assert_array_equal(io.read(paths[2]).volume.array, HU)

    def test_one_file_stands_for_its_series(self, tmp_path: Path) -> None:
        write_series(tmp_path)
        other = write_series(tmp_path, HU - 1, names="b{}.dcm", SeriesInstanceUID=UID_B)
        result = io.read(other[0])
        assert result.source["series_uid"] == UID_B
        np.testing.assert_array_equal(result.volume.array, HU - 1)

    def test_other_files_are_ignored(self, tmp_path: Path) -> None:
        write_series(tmp_path)
        (tmp_path / "README.txt").write_text("hello")
        (tmp_path / "broken.zip").write_bytes(b"PK\x03\x04" + bytes(500))
        (tmp_path / "empty").touch()
        structures = dataset(np.zeros((4, 4), np.int16), 0, Modality="RTSTRUCT")
        structures.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
        structures.SOPClassUID = RTStructureSetStorage
        for name in ("Rows", "Columns", "PixelData", "BitsAllocated", "BitsStored", "HighBit"):
            delattr(structures, name)
        save(structures, tmp_path / "structures.dcm")
        assert io.read(tmp_path).notices == ()

    def test_a_level_further_down(self, tmp_path: Path) -> None:
        write_series(tmp_path / "ct")
        (tmp_path / "notes.txt").write_text("hello")
        np.testing.assert_array_equal(io.read(tmp_path).volume.array, HU)
        assert [info.files for info in dicom.list_series(tmp_path)] == [SLICES]

    def test_coronal_and_oblique(self, tmp_path: Path) -> None:
        angle = math.radians(20)
        row = [1.0, 0.0, 0.0]
        column = [0.0, math.cos(angle), math.sin(angle)]
        normal = np.cross(row, column)
        for index in range(SLICES):
            place = [f"{value:.6f}" for value in np.array([5.0, 6.0, 7.0]) + 3 * index * normal]
            made = dataset((HU[index] + 1024).astype(np.uint16), 0, ImagePositionPatient=place)
            made.ImageOrientationPatient = [f"{value:.4f}" for value in row + column]
            save(made, tmp_path / f"{SLICES - index}.dcm")
        volume = io.read(tmp_path).volume
        np.testing.assert_array_equal(volume.array, HU)
        np.testing.assert_allclose(volume.direction[:, 2], normal, atol=1e-4)
        np.testing.assert_allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-12)
        assert volume.spacing_mm == pytest.approx((0.8, 0.7, 3.0), abs=1e-5)

    def test_feet_first_order_of_rows(self, tmp_path: Path) -> None:
        """Rows that run to anterior turn the normal downwards; slices then ascend along it."""
        write_series(tmp_path, ImageOrientationPatient=[1, 0, 0, 0, -1, 0])
        volume = io.read(tmp_path).volume
        assert volume.orientation == "LAI"
        np.testing.assert_array_equal(volume.array, HU[::-1])
        assert volume.origin_mm[2] == -300 + 2.5 * (SLICES - 1)

    def test_one_slice_takes_its_thickness(self, tmp_path: Path) -> None:
        path = write_series(tmp_path, HU[:1])[0]
        for place in (tmp_path, path):
            volume = io.read(place).volume
            assert volume.shape == (1, ROWS, COLUMNS)
            assert volume.spacing_mm[2] == 2.5
        write_series(tmp_path, HU[:1], SliceThickness=None)
        assert io.read(tmp_path).volume.spacing_mm[2] == 1

    def test_real_series(self, data_dir: Path) -> None:
        nibabel = pytest.importorskip("nibabel")
        folder = data_dir / "lidc" / "LIDC-IDRI-0001-dicom"
        result = io.read(folder)
        volume = result.volume
        assert volume.shape == (133, 512, 512)
        assert result.notices == ()
        for name in ("000001.dcm", "000077.dcm", "000133.dcm"):
            slice_ = pydicom.dcmread(folder / name)
            i, j, k = np.linalg.solve(
                volume.affine, [*map(float, slice_.ImagePositionPatient), 1]
            ).round(3)[:3]
            assert (i, j) == (0, 0)
            expected = (
                slice_.pixel_array.astype(int) * slice_.RescaleSlope + slice_.RescaleIntercept
            )
            np.testing.assert_array_equal(volume.array[int(k)], expected)
        truth = nibabel.load(data_dir / "lidc" / "LIDC-IDRI-0001_nodule.nii.gz")
        lps = np.diag([-1, -1, 1, 1]) @ truth.affine
        corners = np.array([[0, 0, 0, 1], [truth.shape[0] - 1, truth.shape[1] - 1, 132, 1]]).T
        ours = np.linalg.solve(volume.affine, lps @ corners)[:3].T
        assert {tuple(abs(round(float(v))) for v in corner) for corner in ours} <= {
            (i, j, k) for i in (0, 511) for j in (0, 511) for k in (0, 132)
        }


class TestRescale:
    def test_unsigned_16_bit_does_not_wrap(self, tmp_path: Path) -> None:
        stored = np.linspace(0, 65535, ROWS * COLUMNS).astype(np.uint16).reshape(ROWS, COLUMNS)
        save(dataset(stored, 0), tmp_path / "a")
        volume = io.read(tmp_path).volume
        assert volume.array.dtype == np.int32
        np.testing.assert_array_equal(volume.array[0], stored.astype(int) - 1024)

    def test_signed(self, tmp_path: Path) -> None:
        stored = HU[0].astype(np.int16)
        save(dataset(stored, 0, RescaleIntercept=0), tmp_path / "a")
        np.testing.assert_array_equal(io.read(tmp_path).volume.array[0], stored)

    def test_fractional_slope(self, tmp_path: Path) -> None:
        stored = (HU[0] + 1024).astype(np.uint16)
        save(dataset(stored, 0, RescaleSlope="0.5"), tmp_path / "a")
        volume = io.read(tmp_path).volume
        assert volume.array.dtype == np.float32
        np.testing.assert_allclose(volume.array[0], stored * 0.5 - 1024)

    def test_each_slice_has_its_own(self, tmp_path: Path) -> None:
        """ITK would give all slices the whole-number type of the first."""
        for index in range(SLICES):
            slope = 1 if index == 0 else 0.25 + index
            made = dataset(np.full((ROWS, COLUMNS), 1001, np.uint16), index, RescaleSlope=slope)
            save(made, tmp_path / str(index))
        array = io.read(tmp_path).volume.array
        assert array[0, 0, 0] == -23
        for index in range(1, SLICES):
            assert array[index, 0, 0] == pytest.approx(1001 * (0.25 + index) - 1024)

    def test_types_may_differ(self, tmp_path: Path) -> None:
        save(dataset(np.full((ROWS, COLUMNS), 5, np.int16), 0, RescaleIntercept=0), tmp_path / "0")
        save(dataset(np.full((ROWS, COLUMNS), 60000, np.uint16), 1), tmp_path / "1")
        array = io.read(tmp_path).volume.array
        assert array[:, 0, 0].tolist() == [5, 58976]


class TestTransferSyntax:
    @pytest.mark.parametrize(
        "syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
    )
    def test_uncompressed(self, tmp_path: Path, syntax: Any) -> None:
        made = dataset((HU[0] + 1024).astype(np.uint16), 0)
        if syntax == ExplicitVRBigEndian:
            made.PixelData = (HU[0] + 1024).astype(">u2").tobytes()
        made.file_meta.TransferSyntaxUID = syntax
        save(made, tmp_path / "a.dcm")
        np.testing.assert_array_equal(io.read(tmp_path).volume.array[0], HU[0])

    def test_run_length(self, tmp_path: Path) -> None:
        made = dataset((HU[0] + 1024).astype(np.uint16), 0)
        made.compress(RLELossless)
        save(made, tmp_path / "a.dcm")
        np.testing.assert_array_equal(io.read(tmp_path).volume.array[0], HU[0])

    def test_an_undecodable_slice_is_named_with_its_syntax(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path)
        made = pydicom.dcmread(paths[3])
        made.file_meta.TransferSyntaxUID = JPEG2000Lossless
        made.PixelData = encapsulate([b"not a code stream "])
        made["PixelData"].is_undefined_length = True
        save(made, paths[3])
        error = refused(tmp_path)
        assert error.code == "undecodable-slice"
        assert paths[3].name in error.message
        assert "JPEG 2000" in error.message
        assert "1.2.840.10008.1.2.4.90" in error.message
        assert "uncompressed" in error.remedy

    def test_an_unknown_syntax_is_named(self, tmp_path: Path) -> None:
        for path in write_series(tmp_path):
            data = path.read_bytes()
            path.write_bytes(data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.99999.1.2.1\0"))
        for place in (tmp_path, tmp_path / "001.dcm"):
            error = refused(place)
            assert error.code == "undecodable-slice"
            assert "1.2.840.99999.1.2.1" in error.message

    def test_without_pydicom_the_uid_will_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "pydicom.uid", None)
        assert dicom_header.transfer_syntax_name("1.2.3") == "1.2.3"
        assert dicom_header.transfer_syntax_name("") == "not given"


def test_itk_agrees(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path), UID_A))
    oracle = io.from_sitk(reader.Execute())
    assert len(paths) == SLICES
    volume = io.read(tmp_path).volume
    assert volume.same_grid(oracle)
    np.testing.assert_array_equal(volume.array, oracle.array)
