"""Grey pictures in; colour, transparency and damage refused."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from isdmae import io
from isdmae.errors import InputError

GREY = np.random.default_rng(0).integers(0, 256, (20, 30)).astype(np.uint8)


def picture(path: Path, pixels: np.ndarray) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=pixels.ndim == 3), str(path))
    return path


def tiff(path: Path, order: str, *, big: bool, photometric: int, samples: int = 1) -> Path:
    """Write the grey picture as a TIFF of one strip."""
    data = np.repeat(GREY[..., np.newaxis], samples, axis=-1).tobytes()
    size, count, layout = ("Q", "Q", "HHQI4x") if big else ("I", "H", "HHII")
    head = (b"II" if order == "<" else b"MM") + struct.pack(
        order + ("HHHQ" if big else "HI"), *((43, 8, 0, 16) if big else (42, 8))
    )
    fields = {
        256: GREY.shape[1], 257: GREY.shape[0], 258: 8, 259: 1, 262: photometric, 273: 0,
        277: samples, 278: GREY.shape[0], 279: len(data),
    }  # fmt: skip
    if samples == 2:
        fields |= {258: 8 << 16 | 8, 338: 2}
    table = struct.calcsize(order + count + len(fields) * layout + size)
    fields[273] = len(head) + table
    body = struct.pack(order + count, len(fields))
    for tag in sorted(fields):
        kind, number = (3, 2) if tag == 258 and samples == 2 else (4, 1)
        body += struct.pack(order + layout, tag, kind, number, fields[tag])
    path.write_bytes(head + body + struct.pack(order + size, 0) + data)
    return path


class TestPictures:
    @pytest.mark.parametrize("suffix", ["png", "tif", "tiff", "bmp"])
    def test_grey_8_bit(self, tmp_path: Path, suffix: str) -> None:
        result = io.read(picture(tmp_path / f"a.{suffix}", GREY))
        np.testing.assert_array_equal(result.volume.array, GREY[np.newaxis])
        assert result.volume.array.dtype == np.uint8
        assert not result.volume.is_hu
        assert result.volume.spacing_mm == (1, 1, 1)

    @pytest.mark.parametrize("suffix", ["jpg", "jpeg"])
    def test_jpeg(self, tmp_path: Path, suffix: str) -> None:
        smooth = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)
        result = io.read(picture(tmp_path / f"a.{suffix}", smooth))
        assert np.abs(result.volume.array[0].astype(int) - smooth).max() <= 8

    @pytest.mark.parametrize("suffix", ["png", "tif"])
    def test_grey_16_bit(self, tmp_path: Path, suffix: str) -> None:
        pixels = GREY.astype(np.uint16) * 257
        result = io.read(picture(tmp_path / f"a.{suffix}", pixels))
        assert result.volume.array.dtype == np.uint16
        np.testing.assert_array_equal(result.volume.array[0], pixels)

    def test_equal_channels_are_grey(self, tmp_path: Path) -> None:
        rgb = np.stack([GREY] * 3, axis=-1)
        opaque = np.full_like(GREY, 255)
        for name, pixels in (("a.png", rgb), ("b.png", np.dstack([rgb, opaque]))):
            result = io.read(picture(tmp_path / name, pixels))
            np.testing.assert_array_equal(result.volume.array[0], GREY)
            assert result.notices == ()

    @pytest.mark.parametrize("scale", [1, 257])
    def test_a_tint_as_jpeg_leaves_it_is_grey(self, tmp_path: Path, scale: int) -> None:
        rgb = np.stack([GREY // 2 + 9] * 3, axis=-1).astype(np.uint16) * scale
        rgb[0, 0] = 255 * scale
        rgb[5, 5] = np.array([100, 105, 108]) * scale
        kind = np.uint8 if scale == 1 else np.uint16
        result = io.read(picture(tmp_path / "a.png", rgb.astype(kind)))
        assert result.volume.array.dtype == kind
        assert result.volume.array[0, 5, 5] == round(313 / 3 * scale)
        np.testing.assert_array_equal(result.volume.array[0, 6:], rgb[6:, :, 0])
        assert [notice.code for notice in result.notices] == ["nearly-grey"]
        assert "by up to 3.1 %" in result.notices[0].message
        rgb[5, 5, 2] += scale
        with pytest.raises(InputError, match="colour image"):
            io.read(picture(tmp_path / "b.png", rgb.astype(kind)))

    def test_colour_is_refused(self, tmp_path: Path) -> None:
        rgb = np.stack([GREY] * 3, axis=-1)
        rgb[5, 5] = (100, 100, 109)
        with pytest.raises(InputError, match="colour image with 3 channels, not CT"):
            io.read(picture(tmp_path / "a.png", rgb))

    def test_transparency_is_refused(self, tmp_path: Path) -> None:
        pixels = np.stack([GREY] * 4, axis=-1)
        with pytest.raises(InputError, match="transparent in parts"):
            io.read(picture(tmp_path / "a.png", pixels))

    def test_grey_with_opacity_is_refused(self, tmp_path: Path) -> None:
        """ITK reads opacity and grey of a TIFF as neighbouring pixels, and none of a PNG."""
        pillow = pytest.importorskip("PIL.Image")
        grey = pillow.fromarray(GREY)
        grey.convert("LA").save(tmp_path / "a.png")
        grey.save(tmp_path / "b.png", transparency=0)
        grey.convert("LA").save(tmp_path / "c.tif")
        tiff(tmp_path / "d.tif", ">", big=False, photometric=1, samples=2)
        for name in ("a.png", "b.png", "c.tif", "d.tif"):
            with pytest.raises(InputError, match=f"{name} holds opacity") as caught:
                io.read(tmp_path / name)
            assert caught.value.code == "transparent-picture"

    @pytest.mark.parametrize("big", [False, True])
    @pytest.mark.parametrize("order", ["<", ">"])
    def test_an_inverted_tiff_is_refused(self, tmp_path: Path, order: str, big: bool) -> None:
        """ITK reads it as its negative."""
        plain = tiff(tmp_path / "a.tif", order, big=big, photometric=1)
        np.testing.assert_array_equal(io.read(plain).volume.array[0], GREY)
        with pytest.raises(InputError, match="stores white as zero") as caught:
            io.read(tiff(tmp_path / "b.tif", order, big=big, photometric=0))
        assert caught.value.code == "inverted-picture"

    @pytest.mark.parametrize("kept", [8, 12, 20, 30])
    def test_headers_that_end_too_soon_are_refused(self, tmp_path: Path, kept: int) -> None:
        tiff(tmp_path / "a.tif", "<", big=True, photometric=1)
        far = bytearray((tmp_path / "a.tif").read_bytes())
        far[8:16] = b"\xff" * 8
        (tmp_path / "far.tif").write_bytes(far)
        for path in (tmp_path / "a.tif", picture(tmp_path / "a.png", GREY)):
            path.write_bytes(path.read_bytes()[:kept])
        for name in ("a.tif", "a.png", "far.tif"):
            with pytest.raises(InputError, match="cannot be read"):
                io.read(tmp_path / name)

    def test_a_folder_of_pictures_is_a_stack(self, tmp_path: Path) -> None:
        for number in (10, 9, 2, 100):
            picture(tmp_path / f"slice{number}.png", np.full((20, 30), number, np.uint8))
        (tmp_path / "notes.txt").write_text("no picture")
        (tmp_path / ".hidden.png").write_text("no picture")
        result = io.read(tmp_path)
        assert result.volume.shape == (4, 20, 30)
        assert result.volume.array[:, 0, 0].tolist() == [2, 9, 10, 100]
        assert not result.volume.is_hu
        assert result.source["format"] == "PNG"
        with pytest.raises(InputError, match="no DICOM image"):
            io.read(tmp_path, series_uid="1.2.3")
        picture(tmp_path / "slice11.png", GREY[:, :29])
        with pytest.raises(InputError, match=r"slice11\.png has another size") as caught:
            io.read(tmp_path)
        assert caught.value.code == "sizes-differ"

    def test_a_folder_says_once_that_its_pictures_are_tinted(self, tmp_path: Path) -> None:
        rgb = np.stack([GREY // 2] * 3, axis=-1)
        rgb[0, 0, 0] += 3
        for number in (1, 2):
            picture(tmp_path / f"{number}.png", rgb)
        assert [notice.code for notice in io.read(tmp_path).notices] == ["nearly-grey"]

    def test_several_pages_are_refused(self, tmp_path: Path) -> None:
        stack = sitk.GetImageFromArray(np.stack([GREY] * 3))
        sitk.WriteImage(stack, str(tmp_path / "a.tif"))
        with pytest.raises(InputError, match="holds 3 pages"):
            io.read(tmp_path / "a.tif")

    def test_nan_is_refused(self, tmp_path: Path) -> None:
        pixels = np.full((20, 20), np.nan, dtype=np.float32)
        with pytest.raises(InputError, match="NaN"):
            io.read(picture(tmp_path / "a.tif", pixels))

    def test_tiny_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="30 x 7 voxels"):
            io.read(picture(tmp_path / "a.png", GREY[:7]))

    @pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "bmp"])
    @pytest.mark.parametrize("kept", [0.0, 0.5, 0.9])
    def test_cut_files_are_refused(self, tmp_path: Path, suffix: str, kept: float) -> None:
        path = picture(tmp_path / f"a.{suffix}", np.tile(GREY, (4, 4)))
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * kept)])
        with pytest.raises(InputError) as caught:
            io.read(path)
        assert caught.value.code in ("damaged-file", "unreadable-file")
        assert f"a.{suffix}" in caught.value.message

    def test_no_pixel_is_refused(self, tmp_path: Path) -> None:
        path = picture(tmp_path / "a.bmp", GREY)
        data = bytearray(path.read_bytes())
        data[18:22] = bytes(4)
        path.write_bytes(data)
        with pytest.raises(InputError, match="holds no pixel"):
            io.read(path)

    def test_an_empty_image_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = picture(tmp_path / "a.png", GREY)
        empty = sitk.Image([0, 5], sitk.sitkUInt8)
        monkeypatch.setattr(sitk, "ReadImage", lambda _path: empty)
        with pytest.raises(InputError, match="holds no pixel"):
            io.read(path)

    def test_a_palette_of_greys(self, tmp_path: Path) -> None:
        pillow = pytest.importorskip("PIL.Image")
        pillow.fromarray(GREY).save(tmp_path / "a.bmp")
        np.testing.assert_array_equal(io.read(tmp_path / "a.bmp").volume.array[0], GREY)

    def test_real_pictures(self, data_dir: Path) -> None:
        for path in ("covid20-2d/images/0000.png", "infnet-train50/Imgs/0.jpg"):
            volume = io.read(data_dir / path).volume
            assert volume.shape[0] == 1
            assert volume.array.dtype == np.uint8
            assert volume.array.std() > 10

    @pytest.mark.parametrize(
        ("offset", "layout", "value"),
        [
            (10, "I", 20),  # voxels inside the header
            (10, "I", 10**6),
            (14, "I", 12),  # OS/2
            (18, "i", 0),
            (18, "i", -30),
            (18, "i", 2**30),
            (22, "i", 0),
            (22, "i", 2**30),
            (28, "H", 7),
            (30, "I", 1),  # run-length
            (46, "I", 2**31),
            (0, "H", 0),
        ],
    )
    def test_bmp_headers_that_itk_must_not_see(
        self, tmp_path: Path, offset: int, layout: str, value: int
    ) -> None:
        path = picture(tmp_path / "a.bmp", GREY)
        data = bytearray(path.read_bytes())
        struct.pack_into("<" + layout, data, offset, value)
        path.write_bytes(data)
        with pytest.raises(InputError) as caught:
            io.read(path)
        assert caught.value.code in ("damaged-file", "unreadable-file")
