"""Labelmaps out: same grid, same values, never half a file, readable by 3D Slicer."""

from __future__ import annotations

import gzip
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import io, labelmap_file
from isdmae.errors import InputError, ResourceError
from isdmae.job import PredictJob, refuse_outputs
from isdmae.labels import LEFT_LUNG, LUNGS, NODULE, RIGHT_LUNG
from isdmae.volume import Volume

FORMATS = ("nii.gz", "nii", "nrrd", "mha", "seg.nrrd")
ANGLE = 0.01234567


def labelmap() -> Volume:
    array = np.zeros((6, 7, 8), dtype=np.uint8)
    array[1:3, 2:6, 1:4] = LEFT_LUNG.value
    array[2:5, 0:2, 5:8] = RIGHT_LUNG.value
    c, s = math.cos(ANGLE), math.sin(ANGLE)
    return Volume(
        array=array,
        spacing_mm=(0.7031251234567, 0.7031251234567, 2.1234567890123),
        origin_mm=(-350.123456789, -123.4567890123, 1432.98765432101),
        direction=np.array([[c, -s, 0], [s, c, 0], [0, 0, -1]]),
        is_hu=False,
    )


def nrrd_fields(path: Path) -> dict[str, str]:
    header = path.read_bytes().partition(b"\n\n")[0].decode()
    return dict(line.split(":=", 1) for line in header.splitlines() if ":=" in line)


class TestWriteLabelmap:
    @pytest.mark.parametrize("suffix", FORMATS)
    def test_same_grid_and_values(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"lungs.{suffix}"
        io.write_labelmap(path, labelmap(), LUNGS)
        again = io.read(path).volume
        assert again.array.dtype == np.uint8
        np.testing.assert_array_equal(again.array, labelmap().array)
        # NIfTI keeps its origin as float32: half a unit in the last place at 1433 mm is 6e-5 mm.
        assert again.same_grid(labelmap(), tolerance=6.2e-5 if "nii" in suffix else 1e-9)
        assert [file.name for file in tmp_path.iterdir()] == [path.name]

    @pytest.mark.parametrize("suffix", FORMATS)
    def test_one_slice(self, tmp_path: Path, suffix: str) -> None:
        whole = labelmap()
        one = Volume(
            array=whole.array[2:3], spacing_mm=whole.spacing_mm, origin_mm=(1, 2, 3), is_hu=False
        )
        io.write_labelmap(tmp_path / f"a.{suffix}", one, LUNGS)
        again = io.read(tmp_path / f"a.{suffix}").volume
        assert again.same_grid(one, tolerance=1e-6)
        np.testing.assert_array_equal(again.array, one.array)

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_picture(self, tmp_path: Path, suffix: str) -> None:
        array = np.zeros((1, 20, 30), dtype=np.int64)
        array[0, 3:9, 4:20] = 6
        io.write_labelmap(tmp_path / f"a.{suffix}", Volume(array=array, is_hu=False), [NODULE])
        again = io.read(tmp_path / f"a.{suffix}").volume
        assert again.array.dtype == np.uint8
        np.testing.assert_array_equal(again.array, array)

    def test_a_volume_is_no_picture(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"6 slices does not fit into the picture a.png"):
            io.write_labelmap(tmp_path / "a.png", labelmap(), LUNGS)

    @pytest.mark.parametrize("name", ["a.jpg", "a.nhdr", "a.dcm", "a"])
    def test_other_formats_are_refused(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(InputError, match="no format that can be written") as caught:
            io.write_labelmap(tmp_path / name, labelmap(), LUNGS)
        assert ".nii.gz" in caught.value.remedy
        assert ".png" not in caught.value.remedy
        assert list(tmp_path.iterdir()) == []

    def test_a_single_slice_may_be_a_picture(self, tmp_path: Path) -> None:
        flat = Volume(array=labelmap().array[:1])
        with pytest.raises(InputError, match=r"single slice \.png, \.tif, \.tiff"):
            io.write_labelmap(tmp_path / "a.jpg", flat, LUNGS)
        with pytest.raises(InputError, match="no format that can be written"):
            io.write_image_atomic(tmp_path / "a.jpg", io.to_sitk(flat))
        assert list(tmp_path.iterdir()) == []

    def test_unknown_values_are_a_defect(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"holds \[2\], which no label has"):
            io.write_labelmap(tmp_path / "a.nii.gz", labelmap(), [LEFT_LUNG])
        assert not (tmp_path / "a.nii.gz").exists()

    def test_value_255_survives(self, tmp_path: Path) -> None:
        label = labelmap_file.Label(
            value=255, name="last", colour=(1, 2, 3), category=NODULE.category, type=NODULE.type
        )
        array = np.zeros((3, 4, 5), dtype=np.int32)
        array[1] = 255
        for number, suffix in enumerate(FORMATS):
            io.write_labelmap(tmp_path / f"{number}.{suffix}", Volume(array=array), [label])
            assert io.read(tmp_path / f"{number}.{suffix}").volume.array.max() == 255

    def test_existing_files_and_missing_folders(self, tmp_path: Path) -> None:
        io.write_labelmap(tmp_path / "a.nii.gz", labelmap(), LUNGS)
        with pytest.raises(InputError, match="exists already"):
            io.write_labelmap(tmp_path / "a.nii.gz", labelmap(), LUNGS)
        io.write_labelmap(tmp_path / "a.nii.gz", labelmap(), LUNGS, overwrite=True)
        with pytest.raises(InputError, match="does not exist"):
            io.write_labelmap(tmp_path / "no" / "a.nii.gz", labelmap(), LUNGS)

    @pytest.mark.parametrize(
        ("there", "target"),
        [("ct.nii.gz", "ct.nii"), ("CT.NII", "ct.nii.gz"), ("ct.img", "ct.nii"),
         ("ct.hdr", "ct.nii.gz")],
    )  # fmt: skip
    def test_no_nifti_beside_one_of_its_stem(self, tmp_path: Path, there: str, target: str) -> None:
        (tmp_path / there).write_bytes(b"of the user")
        with pytest.raises(InputError, match=f"Beside {there}") as caught:
            io.write_labelmap(tmp_path / target, labelmap(), LUNGS, overwrite=True)
        assert caught.value.code == "same-stem"
        assert [path.name for path in tmp_path.iterdir()] == [there]
        io.write_labelmap(tmp_path / "ct.nrrd", labelmap(), LUNGS)

    def test_a_job_whose_outputs_share_a_stem_is_refused_before_it_begins(
        self, tmp_path: Path
    ) -> None:
        scan = tmp_path / "ct.nii.gz"
        scan.write_bytes(b"of the user")
        for names in (["ct.nii"], ["a.nii.gz", "a.nrrd", "a.nii"]):
            outputs = tuple(tmp_path / name for name in names)
            with pytest.raises(InputError, match="other programs would read wrong voxels"):
                refuse_outputs(PredictJob(input=scan, outputs=outputs))
        refuse_outputs(PredictJob(input=scan, outputs=(tmp_path / "a.nii", tmp_path / "b.nii.gz")))

    def test_nifti_cannot_hold_a_slightly_sheared_grid(self, tmp_path: Path) -> None:
        sheared = Volume(
            array=labelmap().array, direction=np.array([[1, 9e-4, 0], [0, 1, 0], [0, 0, 1]])
        )
        with pytest.raises(InputError) as caught:
            io.write_labelmap(tmp_path / "a.nii.gz", sheared, LUNGS)
        assert caught.value.code == "grid-not-kept"
        assert ".nrrd" in caught.value.remedy
        io.write_labelmap(tmp_path / "a.mha", sheared, LUNGS)
        # The file holds it as it is; reading makes it the nearest rotation.
        assert io.read(tmp_path / "a.mha").volume.same_grid(sheared, tolerance=1e-3)


class TestFaults:
    @pytest.mark.parametrize("suffix", FORMATS)
    def test_a_full_disk_leaves_nothing(self, tmp_path: Path, suffix: str) -> None:
        """A limit on the size of files stands for the full disk; ITK itself does not notice."""
        resource = pytest.importorskip("resource", reason="needs a POSIX system")
        array = np.random.default_rng(0).integers(0, 3, (40, 64, 64)).astype(np.uint8)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
        try:
            with pytest.raises(ResourceError, match="could not be written") as caught:
                io.write_labelmap(tmp_path / f"a.{suffix}", Volume(array=array), LUNGS)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caught.value.exit_code == 3
        # The disk itself has room.
        assert caught.value.code == "write-failed"
        assert "limit on the size of files" in caught.value.remedy
        assert list(tmp_path.iterdir()) == []

    def test_little_space_is_called_a_full_disk(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = shutil.disk_usage(tmp_path)._replace(free=10)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)

        def fail(*_args: object, **_kwargs: object) -> None:
            raise RuntimeError("ITK ERROR")

        monkeypatch.setattr(sitk, "WriteImage", fail)
        with pytest.raises(ResourceError, match="0 MiB are free") as caught:
            io.write_labelmap(tmp_path / "a.nii.gz", labelmap(), LUNGS)
        assert caught.value.code == "disk-full"

    @pytest.mark.parametrize("suffix", ["nii.gz", "png"])
    def test_other_values_are_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
    ) -> None:
        write = sitk.WriteImage

        def write_other(image: sitk.Image, path: str, **kwargs: bool) -> None:
            write(image + 1, path, **kwargs)

        monkeypatch.setattr(sitk, "WriteImage", write_other)
        one = Volume(array=labelmap().array[2:3])
        with pytest.raises(ResourceError, match="could not be written completely"):
            io.write_labelmap(tmp_path / f"a.{suffix}", one, LUNGS)
        assert list(tmp_path.iterdir()) == []

    def test_another_grid_is_noticed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write = sitk.WriteImage

        def write_shifted(image: sitk.Image, path: str, **kwargs: bool) -> None:
            shifted = sitk.Image(image)
            shifted.SetOrigin([value + 1e-5 for value in image.GetOrigin()])
            write(shifted, path, **kwargs)

        monkeypatch.setattr(sitk, "WriteImage", write_shifted)
        with pytest.raises(InputError, match="cannot hold the exact grid"):
            io.write_labelmap(tmp_path / "a.nrrd", labelmap(), LUNGS)


class TestSegmentation:
    def test_the_fields_that_slicer_reads(self, tmp_path: Path) -> None:
        path = tmp_path / "lungs.seg.nrrd"
        io.write_labelmap(path, labelmap(), [*LUNGS, NODULE])
        fields = nrrd_fields(path)
        assert fields["Segmentation_MasterRepresentation"] == "Binary labelmap"
        assert fields["Segmentation_ContainedRepresentationNames"] == "Binary labelmap|"
        assert fields["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
        assert fields["Segment0_ID"] == "left_lung"
        assert fields["Segment0_Name"] == "left lung"
        assert fields["Segment0_Color"] == "0.337255 0.627451 0.827451"
        assert fields["Segment0_Extent"] == "1 3 2 5 1 2"
        assert fields["Segment1_Extent"] == "5 7 0 1 2 4"
        assert fields["Segment2_Extent"] == "0 -1 0 -1 0 -1"
        assert [fields[f"Segment{n}_LabelValue"] for n in range(3)] == ["1", "2", "6"]
        assert [fields[f"Segment{n}_Layer"] for n in range(3)] == ["0"] * 3
        assert fields["Segment2_NameAutoGenerated"] == "0"
        assert fields["Segment2_ColorAutoGenerated"] == "0"
        assert fields["Segment0_Tags"] == f"TerminologyEntry:{LEFT_LUNG.terminology()}|"

    def test_the_grid_of_the_ct_is_kept(self, tmp_path: Path) -> None:
        path = tmp_path / "lungs.seg.nrrd"
        small = Volume(
            array=np.zeros((2, 3, 4), np.uint8), spacing_mm=(0.5, 1, 2), origin_mm=(10, 20, 30)
        )
        io.write_labelmap(path, small, LUNGS)
        assert nrrd_fields(path)["Segmentation_ConversionParameters"] == (
            "Reference image geometry|-0.5;0;0;-10;0;-1;0;-20;0;0;2;30;0;0;0;1;0;3;0;2;0;1;|&"
        )

    def test_the_header_is_lps_and_compressed(self, tmp_path: Path) -> None:
        path = tmp_path / "lungs.seg.nrrd"
        io.write_labelmap(path, labelmap(), LUNGS)
        header, _, data = path.read_bytes().partition(b"\n\n")
        assert b"space: left-posterior-superior" in header
        assert b"encoding: gzip" in header
        assert gzip.decompress(data) == labelmap().array.tobytes()


class TestWriteImage:
    @pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
    def test_a_ct(self, tmp_path: Path, suffix: str) -> None:
        array = np.random.default_rng(0).normal(0, 500, (5, 6, 7)).astype(np.float32)
        array[0, 0, 0] = np.nan
        ct = labelmap_file.Volume(array=array, spacing_mm=(1, 2, 3))
        io.write_image_atomic(tmp_path / f"ct.{suffix}", io.to_sitk(ct))
        np.testing.assert_array_equal(io.read(tmp_path / f"ct.{suffix}").volume.array, array)

    @pytest.mark.parametrize("shear", [0.002, 0.1])
    def test_a_sheared_image_does_not_fit_into_nifti(self, tmp_path: Path, shear: float) -> None:
        image = sitk.Image([4, 4, 4], sitk.sitkInt16)
        image.SetDirection((1, shear, 0, 0, 1, 0, 0, 0, 1))
        with pytest.raises(InputError) as caught:
            io.write_image_atomic(tmp_path / "a.nii.gz", image)
        assert caught.value.code == "grid-not-kept"

    def test_a_colour_picture(self, tmp_path: Path) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (9, 8, 3)).astype(np.uint8)
        image = sitk.GetImageFromArray(pixels, isVector=True)
        io.write_image_atomic(tmp_path / "a.png", image)
        again = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "a.png")))
        np.testing.assert_array_equal(again, pixels)

    @pytest.mark.parametrize(
        ("kind", "colour", "name", "others"),
        [
            ("int16", False, "a.png", ".nii.gz, .nii, .nrrd, .mha, .seg.nrrd"),
            ("float32", False, "a.png", ".tif, .tiff, .nii.gz"),
            ("float64", False, "a.tif", ".nii.gz, "),
            ("uint8", True, "a.nii.gz", ".png, .tif, .tiff."),
            ("int16", True, "a.png", "8-bit colours"),
        ],
    )
    def test_what_a_format_cannot_hold_is_refused_before_writing(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        kind: str,
        colour: bool,
        name: str,
        others: str,
    ) -> None:
        monkeypatch.setattr(sitk, "WriteImage", None)
        pixels = np.zeros((9, 8, 3) if colour else (9, 8), kind)
        with pytest.raises(InputError, match=f"{name} cannot hold .* of type {kind}") as caught:
            io.write_image_atomic(tmp_path / name, sitk.GetImageFromArray(pixels, isVector=colour))
        assert caught.value.code == "unknown-format"
        assert others in caught.value.remedy
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("kind", "suffix"),
        [(kind, end) for end, kinds in labelmap_file.PICTURE_TYPES.items() for kind in kinds],
    )
    def test_what_a_picture_can_hold(self, tmp_path: Path, kind: str, suffix: str) -> None:
        pixels = (np.random.default_rng(0).random((9, 8)) * 200).astype(kind)
        path = tmp_path / f"a{suffix}"
        io.write_image_atomic(path, sitk.GetImageFromArray(pixels))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), pixels)
