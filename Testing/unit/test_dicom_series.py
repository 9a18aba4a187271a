"""Which files of a folder are a series, and whether its slices are all there, in order."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isdmae import dicom, io

pydicom = pytest.importorskip("pydicom")
from pydicom.dataset import Dataset, FileMetaDataset  # noqa: E402
from pydicom.uid import (  # noqa: E402
    ExplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
    generate_uid,
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
