"""Read grey pictures: PNG, TIFF, JPEG or BMP, one or all of a folder."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk

from .atomic import suffix_of
from .checks import Notice, refuse_channels
from .errors import InputError
from .itk import damaged_file, quiet_itk
from .volume import Array

FORMATS = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
}
JPEG_END = b"\xff\xd9"
JPEG_TAIL_BYTES = 4096
BMP_HEADER_BYTES = 54
BMP_INFO_BYTES = (40, 108, 124)
BMP_DEPTHS = (8, 24, 32)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
PNG_GREY, PNG_GREY_AND_OPACITY = 0, 4
TIFF_ORDERS = {b"II": "<", b"MM": ">"}
TIFF_NUMBERS = {1: "B", 3: "H", 4: "I"}
PHOTOMETRIC, SAMPLES = 262, 277
WHITE_IS_ZERO = 0
MOST_TAGS = 1000
MOST_TINT = 8 / 255
"""Share of the brightest value by which the colours of a grey picture may differ."""
GREY_REMEDY = "Save it again as an 8- or 16-bit grey PNG."


def load_picture(path: Path) -> tuple[Array, tuple[Notice, ...]]:
    """Read a picture whose colours, if it has any, are all grey, or as nearly as JPEG leaves it.

    Parameters
    ----------
    path : Path
        An existing file whose suffix is in ``FORMATS``.

    Returns
    -------
    numpy.ndarray
        Shape (j, i), in the file's own dtype; finite.
    tuple of Notice
        ``nearly-grey`` where the mean of slightly different colours was taken.

    Raises
    ------
    InputError
        Where it is damaged, in colour, transparent in parts, inverted, or of several pages.
    """
    _refuse_cut(path)
    _refuse_misread(path)
    try:
        with quiet_itk():
            image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise _unreadable(path) from error
    if 0 in image.GetSize():
        raise damaged_file(path, "holds no pixel")
    if image.GetDimension() != 2:
        # ITK reads a page of another depth or colour than the first, or the pages that a cut file
        # has left, without a word.
        raise InputError(
            "several-pages",
            f"{path.name} holds {image.GetSize()[2]} pages; one picture is needed.",
            "Save each page as a picture, all in one folder, or give the CT as DICOM or NIfTI.",
        )
    grey, notices = _to_grey(sitk.GetArrayFromImage(image), path.name)
    if grey.dtype.kind == "f" and not np.isfinite(grey).all():
        raise InputError(
            "not-finite", f"{path.name} holds NaN or infinite values.", "Save the picture again."
        )
    return grey, notices


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures of a folder in the natural order of their names: 2 before 10."""
    pictures = [
        path
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and suffix_of(path) in FORMATS
    ]
    return sorted(pictures, key=_natural)


def load_stack(paths: Sequence[Path]) -> tuple[Array, tuple[Notice, ...]]:
    """Read pictures of one size as slices.

    Parameters
    ----------
    paths : sequence of Path
        At least one, in the order of the slices.

    Returns
    -------
    numpy.ndarray
        Shape (k, j, i).
    tuple of Notice
        As of `load_picture`, each kind once.

    Raises
    ------
    InputError
        ``sizes-differ`` where one has another size or number of bits than the first; or as
        `load_picture`.
    """
    slices: list[Array] = []
    notices: dict[str, Notice] = {}
    for path in paths:
        pixels, found = load_picture(path)
        if slices and (pixels.shape, pixels.dtype) != (slices[0].shape, slices[0].dtype):
            raise InputError(
                "sizes-differ",
                f"{path.name} has another size or number of bits than {paths[0].name}.",
                "Keep the pictures of one scan, all of one size, in a folder of their own.",
            )
        slices.append(pixels)
        notices |= {notice.code: notice for notice in found}
    return np.stack(slices), tuple(notices.values())


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return what sorts digits by their number and all else by its letters."""
    parts = re.split(r"([0-9]+)", path.name.lower())
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _to_grey(pixels: Array, name: str) -> tuple[Array, tuple[Notice, ...]]:
    """Return (j, i) from (j, i) or (j, i, channels), the colours alike, the opacity constant."""
    if pixels.ndim == 2:
        return pixels, ()
    colours, alpha = pixels[..., :3], pixels[..., 3:]
    tint = colours.max(axis=-1) - colours.min(axis=-1)
    brightest = 255 if pixels.dtype == np.uint8 else colours.max()
    if colours.shape[-1] != 3 or not (tint <= MOST_TINT * brightest).all():
        refuse_channels(pixels.shape[-1], name)
    if alpha.size and (alpha != alpha.flat[0]).any():
        raise InputError("transparent-picture", f"{name} is transparent in parts.", GREY_REMEDY)
    if not tint.any():
        return np.ascontiguousarray(colours[..., 0]), ()
    mean = colours.mean(axis=-1)
    grey = (mean if pixels.dtype.kind == "f" else np.rint(mean)).astype(pixels.dtype)
    return grey, (_nearly_grey(float(tint.max() / brightest)),)


def _nearly_grey(share: float) -> Notice:
    return Notice(
        "nearly-grey",
        f"The colours of the picture differ by up to {100 * share:.1f} % of its range; their mean "
        "is taken for grey.",
        "Nothing to do if it is a grey picture that was saved in colour, as JPEG often is.",
    )


def _refuse_misread(path: Path) -> None:
    """Raise ``InputError`` for PNG and TIFF files that ITK takes for others than they are.

    It cannot read grey with opacity from PNG; from TIFF it reads the two as neighbouring pixels,
    and white stored as zero as black.
    """
    with path.open("rb") as file:
        head = file.read(8)
        try:
            tags = _tiff_tags(file, head) if head[:2] in TIFF_ORDERS else {}
            has_opacity = tags.get(SAMPLES) == 2 or (
                head == PNG_SIGNATURE and _png_is_grey_with_opacity(file)
            )
        except struct.error:
            return  # cut short or damaged, which ITK itself reports
    if has_opacity:
        raise InputError(
            "transparent-picture", f"{path.name} holds opacity beside its greys.", GREY_REMEDY
        )
    if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
        raise InputError(
            "inverted-picture", f"{path.name} stores white as zero, as a negative.", GREY_REMEDY
        )


def _png_is_grey_with_opacity(file: BinaryIO) -> bool:
    """Tell whether a PNG has an opacity of each grey, or a grey that stands for transparent."""
    colour = None
    while True:
        length, kind = struct.unpack(">I4s", file.read(8))
        if kind in (b"IDAT", b"IEND"):
            return False
        if kind == b"IHDR":
            (colour,) = struct.unpack("9xB", file.read(10))
            file.seek(-10, os.SEEK_CUR)
        if colour == PNG_GREY_AND_OPACITY or (colour == PNG_GREY and kind == b"tRNS"):
            return True
        file.seek(length + 4, os.SEEK_CUR)


def _tiff_tags(file: BinaryIO, head: bytes) -> dict[int, int]:
    """Return the whole numbers in the tags of the first page; TIFF 6.0, and BigTIFF (43)."""
    order = TIFF_ORDERS[head[:2]]
    (version,) = struct.unpack_from(order + "H", head, 2)
    if version == 43:
        (start,) = struct.unpack(order + "Q", file.read(8))
        count, entry, place = "Q", 20, 12
    else:
        (start,) = struct.unpack_from(order + "I", head, 4)
        count, entry, place = "H", 12, 8
    file.seek(min(start, file.seek(0, os.SEEK_END)))
    (entries,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
    tags = {}
    for _ in range(min(entries, MOST_TAGS)):
        data = file.read(entry)
        tag, kind = struct.unpack_from(order + "2H", data)
        if kind in TIFF_NUMBERS:
            (tags[tag],) = struct.unpack_from(order + TIFF_NUMBERS[kind], data, place)
    return tags


def _refuse_cut(path: Path) -> None:
    """Raise ``InputError`` for cut JPEG and BMP files, which ITK fills up without an error."""
    with path.open("rb") as file:
        head = file.read(BMP_HEADER_BYTES)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - JPEG_TAIL_BYTES))
        tail = file.read()
    if head[:2] == b"\xff\xd8" and JPEG_END not in tail:
        raise damaged_file(path, "is cut short")
    if suffix_of(path) == ".bmp":
        _refuse_bad_bmp(path, head, size)


def _refuse_bad_bmp(path: Path, head: bytes, size: int) -> None:
    """Raise ``InputError`` for headers that would lead ITK outside its memory."""
    if len(head) < BMP_HEADER_BYTES or head[:2] != b"BM":
        raise _unreadable(path)
    start, info, width, height, _, depth, packing = struct.unpack_from("<IIiiHHI", head, 10)
    (colours,) = struct.unpack_from("<I", head, 46)
    palette = 4 * (colours or 256) if depth == 8 else 0
    if width <= 0 or height == 0:
        raise damaged_file(path, "holds no pixel")
    if info not in BMP_INFO_BYTES or depth not in BMP_DEPTHS or packing != 0 or colours > 256:
        raise _unreadable(path)
    row_bytes = (width * depth // 8 + 3) // 4 * 4
    if start < 14 + info + palette or start + row_bytes * abs(height) > size:
        raise damaged_file(path, "is cut short")


def _unreadable(path: Path) -> InputError:
    return InputError(
        "unreadable-file",
        f"{path.name} cannot be read as {FORMATS[suffix_of(path)]}: it is damaged, cut short, or "
        "another kind of file.",
        GREY_REMEDY,
    )
