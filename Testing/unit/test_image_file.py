"""NIfTI, NRRD and MetaImage: what ITK would read wrongly is refused or read rightly."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import image_file, io
from isdmae.errors import InputError

NOISE = np.random.default_rng(0).integers(-1000, 400, (20, 64, 64)).astype(np.int16)
SUFFIXES = ("nii", "nii.gz", "nrrd", "mha")


def write(path: Path, array: np.ndarray = NOISE, *, compress: bool = False) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path), compress)
    return path


def nifti_header(path: Path, offset: int, layout: str, *values: float) -> None:
    """Overwrite fields of an uncompressed NIfTI-1 header."""
    data = bytearray(path.read_bytes())
    struct.pack_into("<" + layout, data, offset, *values)
    path.write_bytes(data)


class TestDamage:
    @pytest.mark.parametrize("compress", [False, True])
    @pytest.mark.parametrize("suffix", SUFFIXES)
    @pytest.mark.parametrize("kept", [0.0, 0.001, 0.5, 0.9999])
    def test_a_cut_file_is_refused(
        self, tmp_path: Path, suffix: str, compress: bool, kept: float
    ) -> None:
        """ITK reads the cut NIfTI files without a word and fills them with zeros."""
        path = write(tmp_path / f"scan.{suffix}", compress=compress)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * kept)])
        with pytest.raises(InputError) as caught:
            io.read(path)
        assert caught.value.code in ("damaged-file", "unreadable-file")
        assert path.name in caught.value.message
        assert "again" in caught.value.remedy

    @pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha", "mhd"])
    @pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
    def test_a_damaged_compressed_file_is_refused(
        self, tmp_path: Path, suffix: str, place: float
    ) -> None:
        """ITK reads the damaged .nii.gz and .mha, with other values."""
        path = write(tmp_path / f"scan.{suffix}", compress=True)
        pixels = path.with_suffix(".zraw") if suffix == "mhd" else path
        data = bytearray(pixels.read_bytes())
        data[int(len(data) * place)] ^= 0x10
        pixels.write_bytes(data)
        with pytest.raises(InputError):
            io.read(path)

    @pytest.mark.parametrize("suffix", ["nrrd", "seg.nrrd", "nhdr", "nii.gz", "mha"])
    def test_no_flipped_bit_changes_a_voxel_silently(self, tmp_path: Path, suffix: str) -> None:
        """ITK reads one in five of the damaged NRRD files with other voxels."""
        path = write(tmp_path / f"scan.{suffix}", NOISE[:6], compress=True)
        place = path.with_suffix(".raw.gz") if suffix == "nhdr" else path
        whole = place.read_bytes()
        start = 0 if suffix in ("nhdr", "nii.gz") else len(whole) * 2 // 100 + 500
        refused = 0
        for number, byte in enumerate(np.linspace(start, len(whole) - 1, 60).astype(int)):
            data = bytearray(whole)
            data[byte] ^= 1 << number % 8
            place.write_bytes(data)
            try:
                found = io.read(path).volume.array
            except InputError:
                refused += 1
            else:
                np.testing.assert_array_equal(found, NOISE[:6])
        assert refused >= 55

    @pytest.mark.parametrize("extra", [-2, 2])
    def test_packed_nrrd_of_another_size_is_refused(self, tmp_path: Path, extra: int) -> None:
        path = write(tmp_path / "scan.nrrd", compress=True)
        header, _, packed = path.read_bytes().partition(b"\n\n")
        voxels = gzip.decompress(packed)
        voxels = voxels + bytes(extra) if extra > 0 else voxels[:extra]
        path.write_bytes(header + b"\n\n" + gzip.compress(voxels))
        with pytest.raises(InputError, match=f"holds {163840 + extra} of 163840 bytes") as caught:
            io.read(path)
        assert caught.value.code == "damaged-file"

    def test_packed_nrrd_with_skipped_lines_and_bytes(self, tmp_path: Path) -> None:
        header = (
            "NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 64 64 20\nendian: little\n"
            "space directions: (1,0,0) (0,1,0) (0,0,1)\n# a: comment\nkey:=value\n"
            "encoding: gz\nline skip: 2\nbyte skip: 3\ndatafile: voxels.gz\n"
        )
        (tmp_path / "scan.nhdr").write_text(header)
        packed = gzip.compress(b"abc" + NOISE.tobytes())
        (tmp_path / "voxels.gz").write_bytes(b"one\ntwo\n" + packed)
        np.testing.assert_array_equal(io.read(tmp_path / "scan.nhdr").volume.array, NOISE)
        (tmp_path / "scan.nhdr").write_text(header.replace("line skip: 2", "line skip: 2.5"))
        with pytest.raises(InputError):
            io.read(tmp_path / "scan.nhdr")
        (tmp_path / "scan.nhdr").write_text(header)
        (tmp_path / "voxels.gz").unlink()
        with pytest.raises(InputError, match="cannot be read as NRRD"):
            io.read(tmp_path / "scan.nhdr")

    @pytest.mark.parametrize(
        "files", ["LIST\nv1.gz\nv2.gz\nv3.gz", "v%d.gz 1 3 1", "v%01d.gz 1 3 1 2"]
    )
    def test_packed_nrrd_in_several_files(self, tmp_path: Path, files: str) -> None:
        header = (
            "NRRD0004\ntype: short\ndimension: 3\nspace: LPS\nsizes: 64 64 3\nendian: little\n"
            "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: gzip\n"
        )
        path = tmp_path / "scan.nhdr"
        path.write_text(f"{header}data file: {files}\n")
        for number in (1, 2, 3):
            packed = gzip.compress(NOISE[number].tobytes())
            (tmp_path / f"v{number}.gz").write_bytes(packed)
        np.testing.assert_array_equal(io.read(path).volume.array, NOISE[1:4])
        data = bytearray((tmp_path / "v2.gz").read_bytes())
        data[-6] ^= 1  # its checksum
        (tmp_path / "v2.gz").write_bytes(data)
        with pytest.raises(InputError, match="compressed and damaged"):
            io.read(path)
        (tmp_path / "v2.gz").unlink()
        with pytest.raises(InputError, match="cannot be read as NRRD"):
            io.read(path)

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_a_text_file_is_refused(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"scan.{suffix}"
        path.write_text("<html>404 not found</html>")
        with pytest.raises(InputError, match=f"scan.{suffix} cannot be read as") as caught:
            io.read(path)
        assert caught.value.code == "unreadable-file"

    def test_another_format_under_the_name_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path / "scan.nrrd").rename(tmp_path / "scan.mha")
        with pytest.raises(InputError, match="another kind of file"):
            io.read(tmp_path / "scan.mha")

    def test_a_header_that_promises_too_much_is_refused(self, tmp_path: Path) -> None:
        path = write(tmp_path / "scan.nii")
        nifti_header(path, 42, "hhh", 32000, 32000, 32000)
        path.with_suffix(".nii.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
        with pytest.raises(InputError, match="promises 65536000000000 bytes"):
            io.read(tmp_path / "scan.nii.gz")

    def test_missing_data_file(self, tmp_path: Path) -> None:
        path = write(tmp_path / "scan.mhd")
        (tmp_path / "scan.raw").unlink()
        with pytest.raises(InputError, match=r"names scan.raw as the file of its voxels"):
            io.read(path)
        path = write(tmp_path / "other.nhdr")
        (tmp_path / "other.raw").unlink()
        with pytest.raises(InputError, match="cannot be read as NRRD"):
            io.read(path)

    def test_short_data_file(self, tmp_path: Path) -> None:
        path = write(tmp_path / "scan.mhd")
        (tmp_path / "scan.raw").write_bytes(bytes(100))
        with pytest.raises(InputError, match="holds 100 of 163840 bytes"):
            io.read(path)

    def test_one_file_for_each_slice(self, tmp_path: Path) -> None:
        path = write(tmp_path / "scan.mhd", NOISE[:3])
        (tmp_path / "scan.raw").unlink()
        for number in range(3):
            NOISE[number].tofile(tmp_path / f"slice{number}.raw")
        for listed in ("slice%d.raw 0 2 1", "LIST\nslice0.raw\nslice1.raw\nslice2.raw"):
            text = path.read_text().partition("ElementDataFile")[0]
            (tmp_path / "series.mhd").write_text(f"{text}ElementDataFile = {listed}\n")
            np.testing.assert_array_equal(io.read(tmp_path / "series.mhd").volume.array, NOISE[:3])

    def test_a_header_without_voxels(self, tmp_path: Path) -> None:
        path = write(tmp_path / "scan.mha")
        header = path.read_bytes().partition(b"ElementDataFile")[0]
        path.write_bytes(header)
        with pytest.raises(InputError):
            io.read(path)

    def test_nothing_reaches_stderr(self, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
        path = write(tmp_path / "scan.mha")
        path.write_bytes(path.read_bytes()[:-9])
        for victim in (path, tmp_path / "scan.nii.gz"):
            victim.touch()
            with pytest.raises(InputError):
                io.read(victim)
        assert capfd.readouterr().err == ""


class TestSibling:
    def test_each_file_keeps_its_own_voxels(self, tmp_path: Path) -> None:
        """ITK takes the header of scan.nii.gz and the pixels of scan.nii."""
        write(tmp_path / "scan.nii.gz", NOISE)
        write(tmp_path / "scan.nii", NOISE * 0 + 7)
        assert (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "scan.nii.gz"))) == 7).all()
        np.testing.assert_array_equal(io.read(tmp_path / "scan.nii.gz").volume.array, NOISE)
        assert (io.read(tmp_path / "scan.nii").volume.array == 7).all()

    def test_where_links_are_not_allowed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path / "scan.nii.gz", NOISE)
        write(tmp_path / "scan.nii", NOISE * 0 + 7)

        def refuse(*_args: object) -> None:
            raise OSError("privilege not held")

        monkeypatch.setattr(Path, "symlink_to", refuse)
        np.testing.assert_array_equal(io.read(tmp_path / "scan.nii.gz").volume.array, NOISE)

    def test_relative_paths(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write(tmp_path / "scan.nii.gz", NOISE)
        write(tmp_path / "scan.nii", NOISE * 0 + 7)
        monkeypatch.chdir(tmp_path)
        np.testing.assert_array_equal(io.read("scan.nii.gz").volume.array, NOISE)


class TestHeader:
    @pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
    def test_time_series_are_refused(self, tmp_path: Path, suffix: str) -> None:
        image = sitk.JoinSeries([sitk.GetImageFromArray(NOISE)] * 3)
        sitk.WriteImage(image, str(tmp_path / f"scan.{suffix}"))
        with pytest.raises(InputError, match=f"scan.{suffix} is a time series of 3 frames"):
            io.read(tmp_path / f"scan.{suffix}")

    @pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
    def test_a_series_of_one_frame_is_a_volume(self, tmp_path: Path, suffix: str) -> None:
        image = sitk.JoinSeries([sitk.GetImageFromArray(NOISE)])
        sitk.WriteImage(image, str(tmp_path / f"scan.{suffix}"))
        np.testing.assert_array_equal(io.read(tmp_path / f"scan.{suffix}").volume.array, NOISE)

    @pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
    def test_colour_is_refused(self, tmp_path: Path, suffix: str) -> None:
        grey = sitk.GetImageFromArray(NOISE.astype(np.uint8))
        sitk.WriteImage(sitk.Compose(grey, grey, grey), str(tmp_path / f"scan.{suffix}"))
        with pytest.raises(InputError, match="colour image with 3 channels, not CT"):
            io.read(tmp_path / f"scan.{suffix}")

    def test_complex_is_refused(self, tmp_path: Path) -> None:
        real = sitk.GetImageFromArray(NOISE.astype(np.float32))
        sitk.WriteImage(sitk.RealAndImaginaryToComplex(real, real), str(tmp_path / "scan.nii"))
        with pytest.raises(InputError, match="2 values in each voxel"):
            io.read(tmp_path / "scan.nii")

    @pytest.mark.parametrize("suffix", ["nii.gz", "nrrd", "mha"])
    def test_2d_is_one_slice(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"scan.{suffix}", NOISE[3])
        np.testing.assert_array_equal(io.read(path).volume.array, NOISE[3:4])

    @pytest.mark.parametrize("suffix", ["nii.gz", "nii", "nrrd", "mha"])
    def test_one_slice_keeps_its_place(self, tmp_path: Path, suffix: str) -> None:
        image = sitk.GetImageFromArray(NOISE[3:4])
        image.SetOrigin((1, 2, 300))
        image.SetSpacing((0.5, 0.5, 4))
        sitk.WriteImage(image, str(tmp_path / f"scan.{suffix}"))
        volume = io.read(tmp_path / f"scan.{suffix}").volume
        assert volume.origin_mm == (1, 2, 300)
        assert volume.spacing_mm == (0.5, 0.5, 4)

    def test_a_plain_file_named_gz_is_read(self, tmp_path: Path) -> None:
        write(tmp_path / "scan.nii").rename(tmp_path / "scan.nii.gz")
        np.testing.assert_array_equal(io.read(tmp_path / "scan.nii.gz").volume.array, NOISE)

    def test_slope_and_intercept(self, tmp_path: Path) -> None:
        """Stored as int16, read as float: the size check must go by the stored type."""
        path = write(tmp_path / "scan.nii")
        nifti_header(path, 112, "ff", 0.5, -10.0)
        np.testing.assert_allclose(io.read(path).volume.array, NOISE * 0.5 - 10)

    @pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8"])
    @pytest.mark.parametrize("suffix", ["nii", "nii.gz", "nrrd", "mha"])
    def test_nan_and_infinity_stay_visible(self, tmp_path: Path, suffix: str, dtype: str) -> None:
        """ITK reads them as 0 from NIfTI, which is soft tissue."""
        array = NOISE.astype(dtype)
        array[1, 2, 3], array[4, 5, 6], array[7, 8, 9] = np.nan, np.inf, -np.inf
        path = tmp_path / f"scan.{suffix}"
        if suffix.startswith("nii"):
            nibabel = pytest.importorskip("nibabel")
            header = nibabel.Nifti1Header(endianness=dtype[0])
            header.set_data_dtype(dtype)
            nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4), header), path)
        else:
            write(path, array.astype(dtype.replace(">", "<")))
        found = io.read(path).volume.array
        assert not np.isfinite(found[[1, 4, 7], [2, 5, 8], [3, 6, 9]]).any()
        finite = np.isfinite(array)
        assert finite.sum() == array.size - 3
        np.testing.assert_array_equal(found[finite], array[finite])

    def test_sheared_nifti_is_refused(self, tmp_path: Path) -> None:
        path = write(tmp_path / "scan.nii")
        nifti_header(path, 252, "hh", 0, 1)
        nifti_header(path, 280, "4f4f4f", -1, 0.3, 0, 0, 0, -1, 0, 0, 0, 0, 1, 0)
        with pytest.raises(
            InputError, match=r"axes of scan\.nii are not at right angles"
        ) as caught:
            io.read(path)
        assert caught.value.code == "not-orthonormal"

    def test_sheared_nrrd_is_refused(self, tmp_path: Path) -> None:
        image = sitk.GetImageFromArray(NOISE)
        image.SetDirection((1, 0.1, 0, 0, 1, 0, 0, 0, 1))
        sitk.WriteImage(image, str(tmp_path / "scan.nrrd"))
        with pytest.raises(InputError, match="not at right angles"):
            io.read(tmp_path / "scan.nrrd")

    def test_no_orientation_is_noticed(self, tmp_path: Path) -> None:
        path = write(tmp_path / "scan.nii")
        assert io.read(path).notices == ()
        nifti_header(path, 252, "hh", 0, 0)
        assert [notice.code for notice in io.read(path).notices] == ["unknown-orientation"]
        path = tmp_path / "scan.nrrd"
        header = (
            "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nspacings: 1 2 3\nencoding: raw\n\n"
        )
        path.write_bytes(header.encode() + bytes(8))
        result = io.read(path)
        assert result.volume.spacing_mm == (1, 2, 3)
        assert "left and right may be swapped" in result.notices[0].message

    @pytest.mark.parametrize(
        ("space", "known"),
        [
            ("left-posterior-superior", True),
            ("RAS", True),
            ("left-anterior-superior", True),
            ("scanner-xyz", False),
            ("3D-right-handed", False),
            ("3D-left-handed", False),
        ],
    )
    def test_spaces_beside_the_patient_are_noticed(
        self, tmp_path: Path, space: str, known: bool
    ) -> None:
        header = (
            f"NRRD0004\ntype: uchar\ndimension: 3\nspace: {space}\nsizes: 2 2 2\n"
            "space directions: (1,0,0) (0,1,0) (0,0,1)\nencoding: raw\n\n"
        )
        (tmp_path / "Doe_Jane.nrrd").write_bytes(header.encode() + bytes(8))
        notices = io.read(tmp_path / "Doe_Jane.nrrd").notices
        assert [notice.code for notice in notices] == ([] if known else ["unknown-orientation"])
        assert "Doe" not in "".join(notice.message for notice in notices)

    @pytest.mark.parametrize(
        ("lines", "words"),
        [
            ("kinds: space space space", "does not say how large"),
            ("spacings: 1 2 nan", "does not say how large"),
            ("axis mins: 0 0 0", "does not say how large"),
            ("space: LPS\nspace directions: (1,0,0) (0,1,0) none", "does not say how large"),
            ('spacings: 1 2 3\nunits: "mm" "mm" "cm"', "in 'cm'"),
            (
                "space: LPS\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n"
                'space units: "um" "um" "um"',
                "in 'um'",
            ),
        ],
    )
    def test_nrrd_without_a_voxel_size_in_mm_is_refused(
        self, tmp_path: Path, lines: str, words: str
    ) -> None:
        """ITK takes 1 mm for what is missing, and any unit for mm."""
        path = tmp_path / "scan.nrrd"
        header = f"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\n{lines}\nencoding: raw\n\n"
        path.write_bytes(header.encode() + bytes(8))
        with pytest.raises(InputError, match=words) as caught:
            io.read(path)
        assert caught.value.code == "no-voxel-size"

    def test_nrrd_may_say_its_unit_is_mm(self, tmp_path: Path) -> None:
        path = tmp_path / "scan.nrrd"
        header = (
            "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 2 2\nspace: LPS\n"
            'space directions: (1, 0, 0) (0, 2, 0) (0, 0, 3)\nspace units: "mm" "mm" "mm"\n'
            "encoding: raw\n\n"
        )
        path.write_bytes(header.encode() + bytes(8))
        assert io.read(path).volume.spacing_mm == (1, 2, 3)

    def test_bad_spacing_is_refused(self, tmp_path: Path) -> None:
        image = sitk.GetImageFromArray(NOISE)
        sitk.WriteImage(image, str(tmp_path / "scan.mhd"))
        text = (tmp_path / "scan.mhd").read_text()
        (tmp_path / "scan.mhd").write_text(
            text.replace("ElementSpacing = 1 1 1", "ElementSpacing = 1 1 nan")
        )
        with pytest.raises(InputError):
            io.read(tmp_path / "scan.mhd")


def test_axes_that_itk_itself_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "scan.nii")

    def fail(_reader: object) -> None:
        raise RuntimeError("ITK ERROR: ITK only supports orthonormal direction cosines.")

    monkeypatch.setattr(sitk.ImageFileReader, "Execute", fail)
    with pytest.raises(InputError, match=r"axes of scan\.nii are not at right angles\."):
        io.read(path)


def test_too_little_memory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "scan.nii")

    def fail(_reader: object) -> None:
        raise RuntimeError("ITK ERROR: Failed to allocate memory for image.")

    monkeypatch.setattr(sitk.ImageFileReader, "Execute", fail)
    with pytest.raises(image_file.ResourceError, match=r"not enough memory to read scan\.nii"):
        io.read(path)


class TestShear:
    """Up to 0.1 degrees off right angles is rounding in a header; more is a tilted gantry."""

    def sheared(self, path: Path, degrees: float) -> Path:
        image = sitk.GetImageFromArray(NOISE)
        image.SetSpacing((0.7, 0.8, 2.5))
        image.SetOrigin((-100, 50, 300))
        if "nii" in path.name:
            sitk.WriteImage(image, str(path))
            bend = 0.8 * np.tan(np.radians(degrees))
            rows = (-0.7, bend, 0, 100, 0, -0.8, 0, -50, 0, 0, 2.5, 300)
            nifti_header(path, 252, "hh", 0, 1)
            nifti_header(path, 280, "12f", *rows)
        else:
            image.SetDirection((1, np.tan(np.radians(degrees)), 0, 0, 1, 0, 0, 0, 1))
            sitk.WriteImage(image, str(path))
        return path

    @pytest.mark.parametrize("suffix", ["nii", "nrrd", "mha"])
    @pytest.mark.parametrize("degrees", [0.005, 0.02, 0.09])
    def test_a_small_one_is_straightened_and_said(
        self, tmp_path: Path, suffix: str, degrees: float
    ) -> None:
        path = self.sheared(tmp_path / f"scan.{suffix}", degrees)
        (notice,) = image_file.load_image(path).notices
        assert notice.code == "slightly-sheared"
        assert f"{degrees:.3f} degrees" in notice.message
        volume = io.read(path).volume
        np.testing.assert_array_equal(volume.array, NOISE)
        np.testing.assert_allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-12)
        np.testing.assert_allclose(volume.spacing_mm, (0.7, 0.8, 2.5), rtol=2e-6)
        assert volume.origin_mm == (-100, 50, 300)
        # Half of the angle goes to each of the two axes.
        assert volume.obliquity_deg == pytest.approx(degrees / 2, rel=0.01)
        for other in ("nii.gz", "nii", "nrrd", "mha", "seg.nrrd"):
            labelmap = volume.with_array(np.ones(volume.shape, np.uint8), is_hu=False)
            out = tmp_path / other / f"out.{other}"
            out.parent.mkdir()
            io.write_image_atomic(out, io.to_sitk(labelmap))
            again = io.read(out).volume
            assert again.same_grid(volume, tolerance=1e-5)

    @pytest.mark.parametrize("suffix", ["nii", "nrrd", "mha"])
    @pytest.mark.parametrize("degrees", [0.11, 1, 20])
    def test_a_larger_one_is_refused(self, tmp_path: Path, suffix: str, degrees: float) -> None:
        path = self.sheared(tmp_path / f"scan.{suffix}", degrees)
        with pytest.raises(InputError, match=f"off by {degrees:.2g} degrees") as caught:
            io.read(path)
        assert caught.value.code == "not-orthonormal"

    @pytest.mark.parametrize("suffix", ["nii", "nrrd", "mha"])
    def test_rounding_is_not_worth_a_word(self, tmp_path: Path, suffix: str) -> None:
        path = self.sheared(tmp_path / f"scan.{suffix}", 0.0005)
        assert image_file.load_image(path).notices == ()
        volume = io.read(path).volume
        np.testing.assert_allclose(volume.direction.T @ volume.direction, np.eye(3), atol=1e-12)

    def test_direction_vectors_of_another_length(self, tmp_path: Path) -> None:
        path = write(tmp_path / "scan.mha")
        text = path.read_bytes()
        for length, near in ((b"1.0005", True), (b"2", False)):
            matrix = b"TransformMatrix = " + length + b" 0 0 0 1"
            path.write_bytes(text.replace(b"TransformMatrix = 1 0 0 0 1", matrix))
            if near:
                assert io.read(path).volume.spacing_mm == pytest.approx((1.0005, 1, 1))
            else:
                with pytest.raises(InputError, match="length 2 x 1 x 1, not 1"):
                    io.read(path)
