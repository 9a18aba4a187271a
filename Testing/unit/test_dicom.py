"""DICOM folders: the right series, complete, in order, in HU; everything else refused by name."""

from __future__ import annotations

import math
import os
import shutil
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import dicom, dicom_header, io
from isdmae.errors import InputError, ResourceError

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import (  # noqa: E402
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    MediaStorageDirectoryStorage,
    RLELossless,
    RTStructureSetStorage,
    generate_uid,
)

ROWS, COLUMNS, SLICES = 12, 10, 6
UID_A, UID_B = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"
HU = np.random.default_rng(0).integers(-1000, 400, (SLICES, ROWS, COLUMNS))


def dataset(stored: np.ndarray, height: float, **fields: Any) -> Dataset:
    """One CT slice of int16 or uint16 ``stored`` values at z = ``height``, in memory."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    made.PatientName = "Doe^Jane"
    made.Modality = "CT"
    made.SeriesInstanceUID = UID_A
    made.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.9"
    made.SeriesDescription = "thorax"
    made.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    made.Rows, made.Columns = stored.shape
    made.BitsAllocated = made.BitsStored = 16
    made.HighBit = 15
    made.PixelRepresentation = int(stored.dtype.kind == "i")
    made.SamplesPerPixel = 1
    made.PhotometricInterpretation = "MONOCHROME2"
    made.ImagePositionPatient = [-100.5, -90.25, height]
    made.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    made.PixelSpacing = [0.7, 0.8]
    made.SliceThickness = 2.5
    made.RescaleIntercept, made.RescaleSlope = -1024, 1
    made.PixelData = stored.tobytes()
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def save(made: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    made.save_as(path, enforce_file_format=True)
    return path


def write_series(
    folder: Path,
    hu: np.ndarray = HU,
    *,
    step: float = 2.5,
    names: str = "{:03d}.dcm",
    **fields: Any,
) -> list[Path]:
    """Write one file for each slice; file names run against the slice order."""
    stored = (hu + 1024).astype(np.uint16)
    return [
        save(
            dataset(stored[index], -300 + step * index, **fields),
            folder / names.format(len(hu) - index),
        )
        for index in range(len(hu))
    ]


def refused(folder: Path, **options: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        io.read(folder, **options)
    return caught.value


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


def test_too_little_memory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path)

    def fail(_reader: object) -> None:
        raise MemoryError

    monkeypatch.setattr(sitk.ImageSeriesReader, "Execute", fail)
    with pytest.raises(ResourceError, match="not enough memory to read the series"):
        io.read(tmp_path)


def test_a_failure_of_the_whole_stack_names_its_first_slice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path)

    def fail(_reader: object) -> None:
        raise RuntimeError("ITK ERROR")

    monkeypatch.setattr(sitk.ImageSeriesReader, "Execute", fail)
    assert "006.dcm cannot be decoded" in refused(tmp_path).message


class TestDamage:
    def test_a_rescale_that_is_no_number_is_refused(self, tmp_path: Path) -> None:
        """GDCM would read -102 from "-102<.0", and one slice were 922 HU too dense."""
        path = write_series(tmp_path)[2]
        data = path.read_bytes()
        path.write_bytes(data.replace(b"-1024", b"-102<"))
        assert path.name in refused(tmp_path).message

    @pytest.mark.parametrize(
        "frame",
        [bytes(64), b"\x02" + bytes(63), b"\x03\0\0\0\x40" + bytes(90), bytes(10)],
        ids=["nothing", "without places", "another number of segments", "too short"],
    )
    def test_run_lengths_that_are_none_are_refused(self, tmp_path: Path, frame: bytes) -> None:
        """GDCM would end the process."""
        path = write_series(tmp_path)[2]
        made = pydicom.dcmread(path)
        made.compress(RLELossless, encoding_plugin="pydicom")
        made.PixelData = encapsulate([frame])
        save(made, path)
        assert path.name in refused(tmp_path).message

    def test_a_cut_slice_is_not_left_out_silently(self, tmp_path: Path) -> None:
        """The last slice of a stack could vanish without leaving a gap."""
        path = write_series(tmp_path)[0]
        path.write_bytes(path.read_bytes()[:-50])
        error = refused(tmp_path)
        assert error.code == "undecodable-slice"
        assert path.name in error.message

    @pytest.mark.parametrize(
        "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian]
    )
    def test_what_is_cut_off_is_counted_without_gdcm(self, tmp_path: Path, syntax: str) -> None:
        """Up to SimpleITK 2.5.3 GDCM fills it up; an icon's pixels in the header are not meant."""
        big = HU[0].astype(">i2" if syntax == ExplicitVRBigEndian else "<i2")
        made = dataset(big, 0)
        icon = Dataset()
        icon.Rows = icon.Columns = 2
        icon.BitsAllocated = 8
        icon.PixelData = bytes(4)
        made.IconImageSequence = [icon]
        made.file_meta.TransferSyntaxUID = syntax
        path = tmp_path / "slice.dcm"
        made.save_as(path, enforce_file_format=True)
        whole, needed = path.read_bytes(), 2 * ROWS * COLUMNS
        assert dicom_header._missing_bytes(path, needed) == 0
        assert dicom_header._missing_bytes(path, needed + 2) is None
        path.write_bytes(whole[:-50])
        assert dicom_header._missing_bytes(path, needed) == 50
        assert dicom_header.read_header(path) is None

    def test_too_few_pixels(self, tmp_path: Path) -> None:
        """GDCM fills up a pixel element that is too short, without a word."""
        big = np.zeros((3, 64, 64), dtype=int)
        paths = write_series(tmp_path, big)
        made = pydicom.dcmread(paths[1])
        made.PixelData = made.PixelData[:500]
        save(made, paths[1])
        error = refused(tmp_path)
        assert error.code == "damaged-file"
        assert f"{paths[1].name} is cut short" in error.message

    @pytest.mark.parametrize(
        "fields",
        [
            {"Rows": 0},
            {"Columns": 0},
            {"NumberOfFrames": 0},
            {"PixelSpacing": [0, -1]},
            {"PixelSpacing": ["nan", "1"]},
        ],
    )
    def test_impossible_numbers(self, tmp_path: Path, fields: dict[str, Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            write_series(tmp_path, HU[:1], **fields)
        assert refused(tmp_path).code in ("damaged-file", "no-position", "undecodable-slice")

    def test_a_negative_thickness_is_not_believed(self, tmp_path: Path) -> None:
        write_series(tmp_path, HU[:1], SliceThickness=-2)
        assert io.read(tmp_path).volume.spacing_mm[2] == 1

    @pytest.mark.parametrize(
        ("sop_class", "damaged"),
        [
            ("1.2.840.10008.5.1.4.1.1.2", True),
            ("1.2.840.10008.5.1.4.1.1.2.1", True),
            ("1.2.840.10008.5.1.4.1.1.2.2", True),
            ("1.2.840.10008.5.1.4.1.1.20", False),  # nuclear medicine
        ],
    )
    def test_only_damaged_ct_counts(self, tmp_path: Path, sop_class: str, damaged: bool) -> None:
        write_series(tmp_path)
        other = dataset(np.zeros((ROWS, COLUMNS), np.uint16), 0)
        other.file_meta.MediaStorageSOPClassUID = other.SOPClassUID = sop_class
        path = save(other, tmp_path / "other.dcm")
        path.write_bytes(path.read_bytes()[:-50])
        if damaged:
            assert refused(tmp_path).code == "undecodable-slice"
        else:
            np.testing.assert_array_equal(io.read(tmp_path).volume.array, HU)

    def test_no_dicom(self, tmp_path: Path) -> None:
        assert refused(tmp_path).code == "no-dicom"
        assert dicom.list_series(tmp_path) == []
        (tmp_path / "notes.txt").write_text("hello")
        error = refused(tmp_path)
        assert "holds no DICOM image" in error.message
        (tmp_path / "fake.dcm").write_text("hello")
        assert "fake.dcm holds no DICOM image" in refused(tmp_path / "fake.dcm").message

    @pytest.mark.parametrize(
        "field", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"]
    )
    def test_slices_without_a_place(self, tmp_path: Path, field: str) -> None:
        for path in write_series(tmp_path):
            made = pydicom.dcmread(path)
            delattr(made, field)
            save(made, path)
        assert refused(tmp_path).code == "no-position"

    def test_enhanced_files_are_refused(self, tmp_path: Path) -> None:
        made = dataset(np.zeros((ROWS, COLUMNS), np.uint16), 0, NumberOfFrames=3)
        made.PixelData = bytes(ROWS * COLUMNS * 6)
        save(made, tmp_path / "a.dcm")
        assert "3 frames" in refused(tmp_path).message

    def test_a_negative_is_named(self, tmp_path: Path) -> None:
        write_series(tmp_path, PhotometricInterpretation="MONOCHROME1")
        error = refused(tmp_path)
        assert error.code == "inverted-slices"
        assert "--force" not in error.remedy

    def test_bits_that_do_not_begin_at_the_lowest_are_refused(self, tmp_path: Path) -> None:
        """GDCM reads the lowest ones."""
        hu = np.clip(HU, -1000, 0)
        write_series(tmp_path, hu, BitsStored=12, HighBit=11)
        np.testing.assert_array_equal(io.read(tmp_path).volume.array, hu)
        for index, path in enumerate(sorted(tmp_path.iterdir(), reverse=True)):
            stored = ((hu[index] + 1024) * 16).astype(np.uint16)
            save(dataset(stored, index, BitsStored=12, HighBit=15), path)
        assert refused(tmp_path).code == "undecodable-slice"

    def test_colour_is_refused(self, tmp_path: Path) -> None:
        made = dataset(np.zeros((ROWS, COLUMNS), np.uint16), 0, SamplesPerPixel=3)
        made.PhotometricInterpretation, made.PlanarConfiguration = "RGB", 0
        made.BitsAllocated = made.BitsStored = 8
        made.HighBit = 7
        made.PixelData = bytes(ROWS * COLUMNS * 3)
        save(made, tmp_path / "a.dcm")
        assert refused(tmp_path).code == "colour-image"

    def test_directions_that_are_not_square(self, tmp_path: Path) -> None:
        write_series(tmp_path, ImageOrientationPatient=[1, 0, 0, 0.5, 1, 0])
        assert refused(tmp_path).code == "not-orthonormal"

    def test_two_pixel_sizes(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path)
        made = pydicom.dcmread(paths[2])
        made.PixelSpacing = [0.9, 0.9]
        save(made, paths[2])
        error = refused(tmp_path)
        assert error.code == "mixed-spacing"
        assert "0.7 x 0.8 mm; 0.9 x 0.9 mm" in error.message

    def test_control_characters_do_not_reach_the_terminal(self, tmp_path: Path) -> None:
        write_series(tmp_path, SeriesDescription="thor\x1b[31max")
        assert io.read(tmp_path).source["series_description"] == "thor[31max"

    def test_other_character_sets(self, tmp_path: Path) -> None:
        write_series(tmp_path, SpecificCharacterSet="ISO_IR 100", SeriesDescription="Thorax früh")
        assert io.read(tmp_path).source["series_description"] == "Thorax früh"


@pytest.mark.skipif(os.name != "posix" or sys.platform == "darwin", reason="names are Unicode")
class TestNamesThatAreNotUnicode:
    """ITK ends the whole process on them."""

    def test_other_files_are_left_out(self, tmp_path: Path) -> None:
        write_series(tmp_path)
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.txt")).touch()
        np.testing.assert_array_equal(io.read(tmp_path).volume.array, HU)
        assert len(dicom.list_series(tmp_path)) == 1

    def test_nothing_else_there(self, tmp_path: Path) -> None:
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.txt")).touch()
        assert refused(tmp_path).code == "no-dicom"
        assert dicom.list_series(tmp_path) == []

    def test_a_folder_further_down(self, tmp_path: Path) -> None:
        folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9"))
        folder.mkdir()
        (folder / "notes.txt").touch()
        assert refused(tmp_path).code == "no-dicom"

    def test_a_slice_is_not_left_out_silently(self, tmp_path: Path) -> None:
        path = write_series(tmp_path)[-1]
        path.rename(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xe9.dcm")))
        error = refused(tmp_path)
        assert error.code == "bad-file-name"
        assert "not valid Unicode" in error.message
        error.message.encode()


class TestDisc:
    def disc(self, folder: Path) -> Path:
        write_series(folder / "DICOM" / "PT000000" / "ST000000" / "SE000000", names="IM{:06d}")
        made = Dataset()
        made.file_meta = FileMetaDataset()
        made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        made.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
        made.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        made.FileSetID = "CT"
        return save(made, folder / "DICOMDIR")

    def test_its_folder_and_its_contents_stand_for_the_series(self, tmp_path: Path) -> None:
        contents = self.disc(tmp_path)
        for given in (tmp_path, contents):
            np.testing.assert_array_equal(io.read(given).volume.array, HU)

    def test_a_second_ct_has_to_be_named(self, tmp_path: Path) -> None:
        contents = self.disc(tmp_path)
        write_series(tmp_path / "DICOM" / "PT000000" / "ST000001", SeriesInstanceUID=UID_B)
        assert refused(contents).code == "several-series"
        assert io.read(contents, series_uid=UID_B).source["series_uid"] == UID_B

    def test_folders_as_deep_elsewhere_are_left_alone(self, tmp_path: Path) -> None:
        self.disc(tmp_path).unlink()
        assert refused(tmp_path).code == "no-dicom"


class TestSlices:
    def test_a_missing_slice_is_refused(self, tmp_path: Path) -> None:
        write_series(tmp_path)[3].unlink()
        error = refused(tmp_path)
        assert error.code == "gap"
        assert "5 mm between slices 3 and 4 (004.dcm, 002.dcm), usual are 2.5 mm" in error.message

    def test_a_gap_is_interpolated_when_allowed(self, tmp_path: Path) -> None:
        hu = np.broadcast_to(np.arange(SLICES)[:, None, None] * 10, HU.shape)
        paths = write_series(tmp_path, hu)
        paths[2].unlink()
        paths[3].unlink()
        result = io.read(tmp_path, allow_gaps=True)
        np.testing.assert_array_equal(result.volume.array, hu)
        assert result.volume.array.dtype == np.int16
        assert result.volume.spacing_mm[2] == pytest.approx(2.5)
        assert [notice.code for notice in result.notices] == ["gap"]
        assert ".dcm" not in result.notices[0].message

    def test_two_distances_are_laid_where_they_belong_when_allowed(self, tmp_path: Path) -> None:
        places = [0, 4, 8, 12, 13, 14]
        hu = np.broadcast_to(np.array(places)[:, None, None] * 10, HU.shape)
        for path, height in zip(write_series(tmp_path, hu), places, strict=True):
            made = pydicom.dcmread(path)
            made.ImagePositionPatient[2] = height
            save(made, path)
        assert refused(tmp_path).code == "slices-off-grid"
        result = io.read(tmp_path, allow_gaps=True)
        assert [notice.code for notice in result.notices] == ["slices-off-grid"]
        volume = result.volume
        heights = volume.origin_mm[2] + np.arange(len(volume.array)) * volume.spacing_mm[2]
        np.testing.assert_allclose(volume.array[:, 0, 0], heights * 10, atol=0.5)
        assert heights[-1] == pytest.approx(14)

    def test_doubled_slices_are_named(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path)
        shutil.copy(paths[1], tmp_path / "copy.dcm")
        error = refused(tmp_path)
        assert error.code == "duplicate-slices"
        assert "005.dcm and copy.dcm" in error.message

    def test_uneven_slices_are_noticed(self, tmp_path: Path) -> None:
        paths = write_series(tmp_path)
        made = pydicom.dcmread(paths[2])
        made.ImagePositionPatient[2] += 0.3
        save(made, paths[2])
        result = io.read(tmp_path)
        assert [notice.code for notice in result.notices] == ["uneven-slices"]
        assert "after slice 2, 3" in result.notices[0].message
        assert result.volume.spacing_mm[2] == pytest.approx(2.5)

    @pytest.mark.parametrize("index", [0, 2, SLICES - 1])
    def test_a_slice_beside_the_others_is_refused(self, tmp_path: Path, index: int) -> None:
        path = write_series(tmp_path)[index]
        made = pydicom.dcmread(path)
        made.ImagePositionPatient[0] += 60
        made.ImagePositionPatient[1] -= 40
        save(made, path)
        error = refused(tmp_path)
        assert error.code == "displaced-slices"
        assert f"Slice {index + 1} of {SLICES}" in error.message
        assert f"72.1 mm ({path.name})" in error.message

    def test_gantry_tilt_is_refused_with_its_angle(self, tmp_path: Path) -> None:
        for index, path in enumerate(write_series(tmp_path)):
            made = pydicom.dcmread(path)
            made.ImagePositionPatient[1] += 2.5 * index * math.tan(math.radians(15))
            save(made, path)
        error = refused(tmp_path)
        assert error.code == "gantry-tilt"
        assert "15.0 degrees" in error.message
        assert "dcm2niix" in error.remedy


class TestChoice:
    def test_several_series_are_listed(self, tmp_path: Path) -> None:
        write_series(tmp_path)
        write_series(
            tmp_path, names="b{}.dcm", SeriesInstanceUID=UID_B, SeriesDescription="sharp kernel",
            ConvolutionKernel="B60f",
        )  # fmt: skip
        error = refused(tmp_path)
        assert error.code == "several-series"
        assert f"{UID_A} (CT, 6 slices of 10 x 12, 2.5 mm)" in error.message
        assert f"{UID_B} (CT, 6 slices of 10 x 12, 2.5 mm, kernel B60f)" in error.message
        assert "--series-uid" in error.remedy
        assert io.read(tmp_path, series_uid=UID_B).source["series_description"] == "sharp kernel"

    def test_an_unknown_uid_is_refused(self, tmp_path: Path) -> None:
        write_series(tmp_path)
        error = refused(tmp_path, series_uid="1.2.3")
        assert error.code == "unknown-series"
        assert UID_A in error.remedy

    @pytest.mark.parametrize(
        "fields",
        [
            {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]},
            {"Modality": "PT"},
            {"SeriesDescription": "dose report", "Modality": "OT"},
        ],
    )
    def test_scouts_and_other_modalities_are_left_out_by_name(
        self, tmp_path: Path, fields: dict[str, Any]
    ) -> None:
        write_series(tmp_path)
        write_series(tmp_path, names="b{}.dcm", SeriesInstanceUID=UID_B, **fields)
        result = io.read(tmp_path)
        assert result.source["series_uid"] == UID_A
        assert [notice.code for notice in result.notices] == ["other-series"]
        message = result.notices[0].message
        assert f"; left out {fields.get('Modality', 'CT')}, 6 slices of 10 x 12" in message
        assert not any(text in message for text in (UID_A, UID_B, "thorax", "dose"))

    def test_a_series_of_few_slices_loses_against_a_long_one(self, tmp_path: Path) -> None:
        write_series(tmp_path)
        write_series(tmp_path, HU[:3], names="b{}.dcm", SeriesInstanceUID=UID_B)
        assert io.read(tmp_path).volume.shape[0] == SLICES

    def test_two_short_series_are_listed(self, tmp_path: Path) -> None:
        write_series(tmp_path, HU[:3])
        write_series(tmp_path, HU[:2], names="b{}.dcm", SeriesInstanceUID=UID_B)
        assert refused(tmp_path).code == "several-series"

    def test_no_ct(self, tmp_path: Path) -> None:
        write_series(tmp_path, Modality="MR")
        error = refused(tmp_path)
        assert error.code == "no-ct-series"
        assert f"{UID_A} (MR, 6 slices of 10 x 12, 2.5 mm)" in error.message
        assert io.read(tmp_path, series_uid=UID_A).source["modality"] == "MR"

    def test_scouts_inside_the_series_are_left_out(self, tmp_path: Path) -> None:
        write_series(tmp_path)
        scout = dataset(np.zeros((30, 20), np.uint16), -200)
        scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
        save(scout, tmp_path / "scout.dcm")
        sagittal = dataset(np.zeros((ROWS, COLUMNS), np.uint16), -200)
        sagittal.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        save(sagittal, tmp_path / "sagittal.dcm")
        result = io.read(tmp_path)
        np.testing.assert_array_equal(result.volume.array, HU)
        assert [notice.code for notice in result.notices] == ["other-slices"]
        assert "2 of 8 files of the series" in result.notices[0].message
        assert ".dcm" not in result.notices[0].message

    def test_list_series(self, tmp_path: Path) -> None:
        write_series(tmp_path, HU[:2])
        write_series(
            tmp_path,
            names="b{}.dcm",
            SeriesInstanceUID=UID_B,
            SeriesDescription="",
            ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        )
        longer, shorter = dicom.list_series(tmp_path)
        assert longer == dicom.SeriesInfo(
            uid=UID_B,
            description="",
            kernel="",
            modality="CT",
            files=SLICES,
            rows=ROWS,
            columns=COLUMNS,
            thickness_mm=2.5,
            is_localizer=True,
        )
        assert str(longer) == f"{UID_B} (CT, 6 slices of 10 x 12, 2.5 mm)"
        assert (shorter.uid, shorter.files, shorter.is_localizer) == (UID_A, 2, False)


def test_itk_agrees(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path), UID_A))
    oracle = io.from_sitk(reader.Execute())
    assert len(paths) == SLICES
    volume = io.read(tmp_path).volume
    assert volume.same_grid(oracle)
    np.testing.assert_array_equal(volume.array, oracle.array)


def dicom_bytes(syntax: str, *elements: bytes) -> bytes:
    """A file of these elements with the meta group that names their syntax."""
    value = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = struct.pack("<HH2sH", 0x0002, 0x0010, b"UI", len(value)) + value
    return b"\0" * 128 + b"DICM" + meta + b"".join(elements)


EXPLICIT, IMPLICIT, BIG = ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian
SOUND = struct.pack("<HH2sH", 0x0008, 0x0060, b"CS", 2) + b"CT"


@pytest.mark.parametrize(
    ("data", "promises"),
    [
        (dicom_bytes(EXPLICIT, SOUND), False),
        (dicom_bytes(EXPLICIT, SOUND, struct.pack("<HH2sH", 8, 0x61, b"CS", 3) + b"CT"), True),
        (dicom_bytes(EXPLICIT, struct.pack("<HH2sHI", 8, 9, b"OB", 0, 1 << 31)), True),
        (dicom_bytes(EXPLICIT, struct.pack("<HH2sHI", 8, 9, b"OB", 0, 2) + b"ab"), False),
        (dicom_bytes(EXPLICIT, struct.pack("<HH2sHI", 8, 9, b"SQ", 0, 0xFFFFFFFF)), False),
        # No kind of value has these letters, so GDCM takes them for a part of the length.
        (dicom_bytes(EXPLICIT, struct.pack("<HH2sH", 8, 0x60, b"UA", 2) + b"CT"), True),
        (dicom_bytes(IMPLICIT, struct.pack("<HHI", 8, 0x60, 2) + b"CT"), False),
        (dicom_bytes(IMPLICIT, struct.pack("<HHI", 8, 0x60, 3) + b"CT"), True),
        (dicom_bytes(BIG, struct.pack(">HH2sH", 8, 0x60, b"CS", 2) + b"CT"), False),
        (dicom_bytes(BIG, struct.pack(">HH2sH", 8, 0x60, b"CS", 4) + b"CT"), True),
        (dicom_bytes(DeflatedExplicitVRLittleEndian, b"deflated, so nobody knows"), False),
        (dicom_bytes(EXPLICIT, struct.pack("<HH2sH", 8, 9, b"OB", 0)), True),
        (dicom_bytes(EXPLICIT).replace(b"\x02\0\x10\0UI", b"\x02\0\x10\0U8"), True),
    ],
)
def test_an_element_longer_than_the_file_never_reaches_gdcm(
    tmp_path: Path, data: bytes, promises: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """GDCM takes the promised memory, and keeps it."""
    path = tmp_path / "slice.dcm"
    path.write_bytes(data)
    assert dicom_header._promises_more(path) is promises
    if promises:
        monkeypatch.setattr(dicom_header.sitk, "ImageFileReader", None)
        assert dicom_header.read_header(path) is None
