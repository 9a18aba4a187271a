"""DICOM files that are damaged, cut short or promise too much: named, and nothing worse."""

from __future__ import annotations

import os
import struct
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import dicom, dicom_header, io
from isdmae.errors import ResourceError

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.uid import (  # noqa: E402
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicom_files import (  # noqa: E402
    COLUMNS,
    HU,
    ROWS,
    dataset,
    refused,
    save,
    write_series,
)


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
